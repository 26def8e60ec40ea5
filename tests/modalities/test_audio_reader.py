"""Reading audio: every format gives the same Signal, and whatever is damaged or ambiguous is refused with its mend."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities import get_modality
from modalign.modalities.audio import containers, reader
from modalign.modalities.audio.fields import AudioFields
from modalign.modalities.audio.reader import read_audio

audio = get_modality("audio")
RATE = 8000


def tone(seconds: float = 1.0, channels: int = 1, rate: int = RATE) -> np.ndarray[Any, Any]:
    t = np.arange(round(seconds * rate)) / rate
    waves = [0.5 * np.sin(2 * np.pi * 220 * (k + 1) * t) for k in range(channels)]
    return np.stack(waves, 1).astype(np.float32)


def write(path: Path, data: np.ndarray[Any, Any] | None = None, rate: int = RATE, **options: Any) -> Path:
    soundfile.write(path, tone() if data is None else data, rate, **options)
    return path


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.1), ("oga", 0.1), ("mp3", 0.1)]
)
def test_every_format_gives_the_same_signal(suffix: str, tolerance: float, tmp_path: Path) -> None:
    options = {"format": "OGG"} if suffix == "oga" else {}
    signal = audio.load(write(tmp_path / f"a.{suffix}", **options))
    assert signal.data.dtype == torch.float32
    assert signal.data.shape == (1, RATE)
    assert signal.rate == RATE
    assert signal.channels == ("mono",)
    assert signal.meta["source_channels"] == 1
    middle = slice(1000, 7000)
    assert np.abs(signal.data[0].numpy() - tone()[:, 0])[middle].max() < tolerance


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"])
def test_every_coding_of_wav(subtype: str, tmp_path: Path) -> None:
    signal = audio.load(write(tmp_path / "a.wav", subtype=subtype))
    assert np.abs((signal.data[0].numpy()[:RATE] - tone()[:, 0])[500:7500]).max() < 0.05


def test_channels(tmp_path: Path) -> None:
    data = tone(channels=2)
    path = write(tmp_path / "a.wav", data, subtype="FLOAT")
    chosen = {
        channel: audio.load(path, channel=channel).data[0].numpy()
        for channel in ("mix", "left", "right", "0", 1, "1.0")
    }
    np.testing.assert_allclose(chosen["mix"], data.mean(1), atol=1e-6)
    np.testing.assert_array_equal(chosen["left"], data[:, 0])
    np.testing.assert_array_equal(chosen["0"], data[:, 0])
    for name in ("right", 1, "1.0"):
        np.testing.assert_array_equal(chosen[name], data[:, 1])
    assert audio.load(path).meta["source_channels"] == 2


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_window_is_what_the_whole_has_there(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{suffix}", tone(3.0))
    whole = audio.load(path).data
    part = audio.load(path, start="0.5", end="1.25").data
    torch.testing.assert_close(part, whole[:, 4000:10_000], rtol=0, atol=1e-6)
    assert audio.load(path, start=2.5).data.shape[1] == 4000
    assert audio.load(path, end=3.0004).data.shape[1] == 24_000, "a duration rounded up to milliseconds"


def test_a_window_of_a_long_file_is_not_a_whole_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", tone(60.0))
    asked = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, n, **k: asked.append(n) or read(self, n, **k))
    audio.load(path, start=30, end=31)
    assert asked == [RATE]


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "int32", "uint8", "float16"])
def test_arrays_of_every_type(kind: str) -> None:
    data = tone()[:, 0]
    scale = {"int16": 32767, "int32": 2**31 - 1, "uint8": 127}.get(kind, 1)
    array = (np.round(data * scale) + (128 if kind == "uint8" else 0)).astype(kind) if scale > 1 else data.astype(kind)
    for source in (array, array[:, None], array[None], torch.from_numpy(array)):
        signal = audio.load(source, rate=RATE)
        assert signal.data.shape == (1, RATE)
        assert np.abs(signal.data[0].numpy() - data).max() < 0.01
    assert audio.load(np.stack([array, array]), rate="8000", start=0.5).data.shape == (1, 4000)


# What is damaged


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


def patch(at: int, form: str, value: int) -> Callable[[bytes], bytes]:
    return lambda c: c[:at] + struct.pack(form, value) + c[at + struct.calcsize(form) :]


DAMAGED = [
    ("wav", cut(0.5), "cut short.*header promises"),
    ("wav", cut(0.002), "cut short|cannot be decoded|begin"),
    ("wav", patch(40, "<I", 10**6), "cut short.*samples"),
    ("wav", patch(40, "<I", 1000), "lies about the length|no chunk"),
    ("wav", patch(40, "<I", 0), "no samples"),
    ("wav", patch(22, "<H", 2), "contradicts itself.*2 channels"),
    ("wav", patch(22, "<H", 0), "0 channels"),
    ("wav", patch(24, "<I", 0), "at 0 Hz"),
    ("wav", patch(24, "<I", 44_100), "contradicts itself"),
    ("wav", patch(34, "<H", 24), "contradicts itself"),
    ("wav", patch(20, "<H", 0x1234), "cannot be decoded"),
    ("wav", lambda c: b"JUNK" + c[4:], "does not begin as a WAV"),
    ("flac", cut(0.5), "cut short|cannot be decoded"),
    ("flac", lambda c: b"fLaC" + c[100:], "cannot be decoded|cut short|how long"),
    ("ogg", cut(0.6), "cut short.*last Ogg page"),
    ("ogg", lambda c: c[:-1], "cut short.*last Ogg page"),
    ("ogg", lambda c: b"OggS" + b"\x00" * 400, "cut short|cannot be decoded"),
    ("mp3", lambda c: c[:60], "cannot be decoded|cut short|no samples"),
    ("mp3", cut(0.5), "cut short|cannot be decoded"),
    ("wav", lambda c: b"", "is empty"),
    ("flac", lambda c: b"\x89PNG" + c[4:], "does not begin as a FLAC"),
    ("flac", patch(22, ">I", 1000), "lies about the length .1,000 samples, and 16,000 are there"),
    ("flac", lambda c: c[:21] + bytes([c[21] | 0x0F]) + b"\xff" * 4 + c[26:], "cut short.*promises 68,719,476,735"),
    ("mp3", lambda c: patch(c.find(b"Xing") + 8, ">I", 5)(c), "lies about the length .5 frames"),
    ("mp3", lambda c: patch(c.find(b"Xing") + 8, ">I", 1 << 28)(c), "cut short.*promises 268,435,456"),
    ("ogg", lambda c: granule(c, 1 << 38), "cut short.*promises 274,877,906,944"),
    ("ogg", lambda c: granule(c, 300), "lies about the length .300 samples"),
    ("wav", lambda c: c + b"\0" * 511 + b"\1", "lies about the length"),
]


def granule(content: bytes, value: int) -> bytes:
    """Another end in the last Ogg page, with the checksum that goes with it."""
    at = content.rfind(b"OggS")
    page = bytearray(content[at:])
    page[6:14], page[22:26] = struct.pack("<q", value), bytes(4)
    check = 0
    for byte in page:
        check ^= byte << 24
        for _ in range(8):
            check = ((check << 1) ^ (0x04C11DB7 if check & 0x80000000 else 0)) & 0xFFFFFFFF
    page[22:26] = struct.pack("<I", check)
    return content[:at] + bytes(page)


@pytest.mark.parametrize(("suffix", "damage", "says"), DAMAGED)
def test_damaged_files_are_refused(suffix: str, damage: Callable[[bytes], bytes], says: str, tmp_path: Path) -> None:
    sound = tone(2.0) + 0.01 * np.random.default_rng(0).normal(size=(2 * RATE, 1)).astype(np.float32)
    path = write(tmp_path / f"whole.{suffix}", sound)
    audio.load(path)
    broken = tmp_path / f"broken.{suffix}"
    broken.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ReadError, match=says) as caught:
        audio.load(broken)
    assert "broken" in str(caught.value)


@pytest.mark.parametrize(("kind", "endian"), [("WAV", "BIG"), ("RF64", "FILE"), ("WAVEX", "FILE"), ("WAV", "FILE")])
def test_every_container_of_wav_is_whole_or_refused(kind: str, endian: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", format=kind, endian=endian)
    assert audio.load(path).data.shape == (1, RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ReadError, match="cut short"):
        audio.load(path)


def test_a_wav_of_a_pipe_and_one_with_zeros_after_it_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav")
    whole, content = audio.load(path).data, path.read_bytes()
    unknown = b"\xff" * 4
    for other in (content[:4] + unknown + content[8:40] + unknown + content[44:], content + b"\0" * 512):
        path.write_bytes(other)
        assert torch.equal(audio.load(path).data, whole)


def test_a_lying_length_gets_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.ogg")
    path.write_bytes(granule(path.read_bytes(), 1 << 38))
    asked = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, n, **k: asked.append(n) or read(self, min(n, 9), **k))
    with pytest.raises(ReadError, match="cut short"):
        audio.load(path)
    assert max(asked) <= 1 << 24


def test_long_files_are_decoded_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.flac", tone(2.0))
    whole = audio.load(path).data
    monkeypatch.setattr(reader, "BLOCK", 3001)
    assert torch.equal(audio.load(path).data, whole)


@pytest.mark.parametrize("blocks", [192, 1000, 4096])
@pytest.mark.parametrize("channels", [1, 2])
def test_flac_and_mp3_say_their_length_by_frames(blocks: int, channels: int, tmp_path: Path) -> None:
    noisy = np.random.default_rng(blocks).normal(size=(blocks * 7 + 5, channels)) * 0.1
    for suffix, options in (("flac", {}), ("mp3", {"bitrate_mode": "CONSTANT"}), ("mp3", {"bitrate_mode": "VARIABLE"})):
        for rate in (8000, 22_050, 44_100):
            audio.load(write(tmp_path / f"a.{suffix}", noisy, rate, **options))


@pytest.mark.parametrize("rate", [100_000_000, 999])
def test_rates_that_are_none_of_sound_are_refused(rate: int, tmp_path: Path) -> None:
    for source, fields in ((write(tmp_path / "a.wav", rate=rate), {}), (np.zeros(9000, np.float32), {"rate": rate})):
        with pytest.raises(ReadError, match="is no rate of sound"):
            audio.load(source, **fields)
    assert np.isfinite(audio.summary_features(audio.load(tone(rate=1000), rate=1000))).all()


def test_opus_by_its_own_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.opus", tone(rate=48_000), 48_000, format="OGG", subtype="OPUS")
    assert audio.load(path).data.shape == (1, 48_000)


def rename(tmp_path: Path) -> Path:
    return write(tmp_path / "a.flac").rename(tmp_path / "a.wav")


def zero_samples(tmp_path: Path) -> Path:
    return write(tmp_path / "a.wav", np.zeros((0, 1), np.float32))


def not_a_number(tmp_path: Path) -> Path:
    data = tone()
    data[77] = np.nan
    return write(tmp_path / "a.wav", data, subtype="FLOAT")


def unscaled(tmp_path: Path) -> Path:
    return write(tmp_path / "a.wav", tone() * 30_000, subtype="FLOAT")


def two_in_three(tmp_path: Path) -> Path:
    # A header of three channels, consistent in itself, over samples that are not whole frames of three.
    path = write(tmp_path / "a.wav", tone()[:7999])
    content = bytearray(path.read_bytes())
    content[22:36] = struct.pack("<HIIHH", 3, RATE, RATE * 6, 6, 16)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "fields", "says"),
    [
        (rename, {}, "is a FLAC file by its content and WAV by its name; rename"),
        (zero_samples, {}, "no samples"),
        (not_a_number, {}, "1 of 8000 values are NaN"),
        (unscaled, {}, r"reach 15,000.*divide"),
        (two_in_three, {}, "not whole frames of 6 bytes"),
        (lambda p: write(p / "a.wav"), {"rate": 16_000}, "audio.rate says 16000 Hz and the file's header 8000 Hz"),
        (lambda p: write(p / "a.wav"), {"start": 1.0}, r"at or after its end \(1\.000 s\)"),
        (lambda p: write(p / "a.wav"), {"end": 1.5}, "after its end"),
        (lambda p: write(p / "a.wav"), {"start": 0.5, "end": 0.5}, "must come after start"),
        (lambda p: write(p / "a.wav"), {"start": 0.5, "end": 0.50001}, "holds no sample"),
        (lambda p: write(p / "a.wav"), {"start": -1}, "audio.start"),
        (lambda p: write(p / "a.wav"), {"channel": "left"}, "needs two channels, and there are 1"),
        (lambda p: write(p / "a.wav"), {"channel": 1}, "there are 1 channels, numbered from 0"),
        (lambda p: write(p / "a.wav"), {"channel": "centre"}, "mix, left, right"),
        (lambda p: write(p / "a.wav"), {"sr": 8000}, "not a field"),
        (lambda p: write(p / "a.aiff", format="AIFF"), {}, r"'\.aiff' cannot be read; convert"),
        (lambda p: p, {}, "is a folder"),
        (lambda p: p / "no.wav", {}, "no such file"),
    ],
)
def test_wrong_files_and_fields_are_refused(make: Any, fields: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=says):
        audio.load(make(tmp_path), **fields)


@pytest.mark.parametrize(
    ("source", "fields", "says"),
    [
        (np.zeros(100, np.float32), {}, "set audio.rate"),
        (np.zeros((20, 20), np.float32), {"rate": 8000}, "which axis"),
        (np.zeros((100, 100), np.float32), {"rate": 8000}, "which axis"),
        (np.zeros((2, 3, 100), np.float32), {"rate": 8000}, "reshape"),
        (np.zeros(0, np.float32), {"rate": 8000}, "no samples"),
        (np.zeros(100, np.int64), {"rate": 8000}, "no known range"),
        (np.array(["a"] * 50), {"rate": 8000}, "no known range"),
        (np.full(100, np.inf, np.float32), {"rate": 8000}, "infinite"),
        (np.full(100, 12_000.0, np.float32), {"rate": 8000}, "divide integers"),
        (np.zeros(100, np.float32), {"rate": 0}, "audio.rate"),
        ([0.0, 1.0], {"rate": 8000}, "numpy or torch array"),
    ],
)
def test_wrong_arrays_are_refused(source: Any, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ReadError, match=says):
        audio.load(source, **fields)


@given(content=st.binary(max_size=200), suffix=st.sampled_from(sorted(containers.SUFFIXES)), magic=st.booleans())
@settings(max_examples=120, deadline=None)
def test_no_bytes_give_a_traceback(content: bytes, suffix: str, magic: bool, tmp_path_factory: Any) -> None:
    heads = {".wav": b"RIFF\x64\x00\x00\x00WAVEfmt ", ".flac": b"fLaC", ".mp3": b"\xff\xfb\x90\x44"}
    path = tmp_path_factory.mktemp("fuzz") / f"a{suffix}"
    path.write_bytes((heads.get(suffix, b"OggS\x00") if magic else b"") + content)
    try:
        signal = audio.load(path)
    except ReadError as error:
        said = str(error)
    else:
        said = path.name if signal.data.numel() else ""
    assert path.name in said


@given(at=st.integers(0, 60), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_wav_header_with_one_wrong_byte_is_read_or_refused(at: int, value: int, tmp_path_factory: Any) -> None:
    path = write(tmp_path_factory.mktemp("byte") / "a.wav", tone(0.1))
    content = bytearray(path.read_bytes())
    content[at] = value
    path.write_bytes(content)
    try:
        signal = audio.load(path)
    except ReadError:
        return
    assert signal.data.shape[0] == 1


def test_without_soundfile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = write(tmp_path / "a.wav")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'modalign\[audio\]'"):
        read_audio(path, AudioFields())
    assert audio.load(tone()[:, 0], rate=RATE).data.shape == (1, RATE), "arrays need nothing"


def test_real_files_are_read_whole(real_data: Path) -> None:
    clips = sorted((real_data / "audio_esc10").glob("*/*.ogg"))[::12]
    digits = sorted((real_data / "audio_fsdd600" / "recordings").glob("*.wav"))[::20]
    assert clips
    assert digits
    for path in (*clips, *digits):
        signal = audio.load(path)
        seconds = signal.data.shape[1] / (signal.rate or 1)
        assert (3.6 < seconds < 7.3) if path.suffix == ".ogg" else (0.1 < seconds < 1.4)
        assert signal.rate == (44_100 if path.suffix == ".ogg" else 8000)


def test_every_ogg_of_esc10_is_whole(real_data: Path) -> None:
    for path in sorted((real_data / "audio_esc10").glob("*/*.ogg")):
        assert containers.check_container(path) == "Ogg"


def test_real_files_that_are_cut_are_refused(real_data: Path, tmp_path: Path) -> None:
    clip = sorted((real_data / "audio_esc10").glob("*/*.ogg"))[0]
    digit = sorted((real_data / "audio_fsdd600" / "recordings").glob("*.wav"))[0]
    for path in (clip, digit):
        broken = tmp_path / path.name
        broken.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ReadError, match="cut short"):
            audio.load(broken)
