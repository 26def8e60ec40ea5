"""Audio front ends beside the reference implementations, and the numbers that METHODS states."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from modalign.modalities import get_modality
from modalign.modalities.audio import frontends
from modalign.modalities.audio.frontends import FRONTENDS, features, frame_count, mel_power
from modalign.modalities.audio.lengths import fill, fuse, thirds
from modalign.modalities.audio.mel import hertz_to_mel, mel_filterbank, mel_to_hertz
from modalign.modalities.audio.processing import AudioProcessing
from modalign.modalities.audio.resample import ratio, resample
from modalign.modalities.base import Signal

audio = get_modality("audio")
RATE = 48_000


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def ours(wave: torch.Tensor, rate: int = RATE, **parameters: Any) -> dict[str, torch.Tensor]:
    process = AudioProcessing(**parameters)
    return process.collate([process(Signal(wave[None], float(rate), ("mono",)))])


def theirs(wave: torch.Tensor, **options: Any) -> tuple[np.ndarray[Any, Any], bool]:
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor(frequency_min=50, **options)
    mel, longer = extractor._get_input_mel(
        wave.numpy().astype(np.float64), extractor.nb_max_samples, extractor.truncation, extractor.padding
    )
    return mel, longer


@pytest.fixture(scope="module")
def clips(real_data: Any) -> list[torch.Tensor]:
    """Real clips at 48 kHz; the first two were 0.03 dB off in float32 alone."""
    folder = real_data / "audio_esc10"
    names = [
        "001_-_Dog_bark/3-155312-A",
        "007_-_Helicopter/2-37806-A",
        "002_-_Rain/1-17367-A",
        "009_-_Rooster/3-134049-A",
    ]
    signals = [audio.load(folder / f"{name}.ogg") for name in names if (folder / f"{name}.ogg").is_file()]
    assert len(signals) >= 2
    return [resample(s.data[0], float(s.rate or 0), RATE) for s in signals]


@pytest.mark.parametrize("shorter", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("longer", ["rand_trunc", "fusion"])
def test_clap_agrees_with_transformers_on_real_clips(shorter: str, longer: str, clips: list[torch.Tensor]) -> None:
    for wave in (clips[0][:100_003], *clips):
        expected, flag = theirs(wave, truncation=longer, padding=shorter)
        found = ours(wave, frontend="clap", longer=longer, shorter=shorter)
        assert found["values"].shape[1:] == expected.shape == ((4 if longer == "fusion" else 1), 1001, 64)
        assert np.abs(found["values"][0].numpy() - expected).max() < 1e-3
        assert not flag
        if longer == "fusion":
            assert found["longer"].tolist() == [False]


def test_clap_fusion_of_a_long_clip_agrees_at_the_same_starts(clips: list[torch.Tensor], monkeypatch: Any) -> None:
    wave = torch.cat([*clips, *clips])[: 12 * RATE + 777]
    monkeypatch.setattr(np.random, "choice", lambda starts: starts[(len(starts) - 1) // 2])
    expected, flag = theirs(wave, truncation="fusion")
    found = ours(wave, frontend="clap", longer="fusion")
    assert flag
    assert found["longer"].tolist() == [True]
    assert found["mask"].all()
    assert np.abs(found["values"][0].numpy() - expected).max() < 1e-3


def test_a_clip_a_little_longer_than_ten_seconds_is_not_fused() -> None:
    for extra, longer in ((0, False), (479, False), (480, True)):
        wave = noise(480_000 + extra)
        expected, flag = theirs(wave, truncation="fusion")
        found = ours(wave, frontend="clap", longer="fusion")
        assert found["longer"].tolist() == [flag] == [longer]
        if not longer:
            assert np.abs(found["values"][0].numpy() - expected).max() < 1e-3


def test_frame_counts() -> None:
    assert frame_count(480_000, FRONTENDS["clap"]) == 1001
    assert features(noise(480_000)[None], FRONTENDS["clap"]).shape == (1, 1001, 64)
    for name, spec in FRONTENDS.items():
        samples = round((spec.seconds or 1.0) * spec.rate)
        assert features(noise(samples)[None], spec).shape[1] == frame_count(samples, spec), name
    assert frame_count(164_080, FRONTENDS["fbank"]) == 1024
    assert frame_count(480_000, FRONTENDS["whisper"]) == 3000
    assert frame_count(7 * 44_100, FRONTENDS["msclap2023"]) == 965


def test_filling() -> None:
    wave = noise(200_000) + 1.0
    filled, real = fill(wave, 480_000, "repeatpad")
    assert real == 400_000
    assert torch.equal(filled[:200_000], filled[200_000:400_000])
    assert not filled[400_000:].any()
    assert filled[399_999] != 0
    filled, real = fill(wave, 480_000, "repeat")
    assert real == 480_000
    assert torch.equal(filled[400_000:], wave[:80_000])
    filled, real = fill(wave, 480_000, "pad")
    assert real == 200_000
    assert not filled[200_000:].any()
    assert fill(wave, 480_000, "keep")[0] is wave
    assert fill(wave[:160_000], 480_000, "repeatpad")[1] == 480_000


def test_fusion_order_and_starts() -> None:
    mel = torch.arange(30.0)[:, None].expand(-1, 3)
    views, longer = fuse(mel, 10)
    assert longer
    assert thirds(30, 10) == [3, 10, 17]
    assert [view[0, 0].item() for view in views[1:]] == [3, 10, 17]
    assert views[0, 0, 0] == 1.0  # the whole clip, shrunk three times: the mean place of frames 0 to 2
    assert thirds(11, 10) == [0, 1, 0]  # an empty part falls back to 0
    assert thirds(30, 10, torch.zeros(3)) == [0, 7, 14]
    assert thirds(30, 10, torch.full((3,), 0.999999)) == [6, 13, 20]
    splits = [part.tolist() for part in np.array_split(np.arange(21), 3)]
    assert all(start in part for start, part in zip(thirds(30, 10, torch.rand(3)), splits))


def test_only_training_draws_chunks() -> None:
    process = AudioProcessing(frontend="clap", longer="fusion", seconds=2.0)
    long = Signal(noise(5 * RATE)[None], float(RATE), ("mono",))
    plain = process.collate([process(long)])["values"]
    assert torch.equal(plain, process.collate([process(long)])["values"])
    assert len(process.segments(long)) == 1
    drawn = [process.crop(long, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    values = [process.collate([process(one)])["values"] for one in drawn]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    assert torch.equal(values[0][:, 0], plain[:, 0])


def test_fbank_agrees_with_kaldi_and_ast() -> None:
    from torchaudio.compliance import kaldi
    from transformers import ASTFeatureExtractor

    waves = torch.stack([noise(16_000), noise(16_000, 1) + 0.3])
    for mels in (128, 126, 40):
        spec = AudioProcessing(frontend="fbank", mels=mels).spec
        for wave, found in zip(waves, features(waves, spec)):
            expected = kaldi.fbank(wave[None], sample_frequency=16_000, window_type="hanning", num_mel_bins=mels)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-3)
            # LanguageBind takes the mean off first, which changes nothing.
            torch.testing.assert_close(features((wave - wave.mean())[None], spec)[0], found, rtol=1e-3, atol=5e-3)
    extractor = ASTFeatureExtractor()
    for wave in (noise(20_000), noise(164_080)):
        expected = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
        found = ours(wave, 16_000, frontend="fbank")
        assert found["values"].shape == (1, 1, 1024, 128)
        torch.testing.assert_close(found["values"][:, 0], expected, rtol=1e-4, atol=1e-3)
        assert int(found["mask"].sum()) == min(1024, 1 + (len(wave) - 400) // 160)


def test_whisper_and_wav2vec2_agree_with_transformers() -> None:
    from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    wave = noise(20_001)
    expected = WhisperFeatureExtractor()(wave.numpy(), sampling_rate=16_000, return_tensors="pt")["input_features"]
    found = ours(wave, 16_000, frontend="whisper")
    torch.testing.assert_close(found["values"][:, 0].transpose(1, 2), expected, rtol=1e-4, atol=1e-4)
    assert found["mask"].shape == (1, 3000)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    both = [noise(3000, 2) + 0.1, noise(5000, 3)]
    reference = extractor([w.numpy() for w in both], sampling_rate=16_000, return_tensors="pt", padding=True)
    process = AudioProcessing(frontend="waveform", normalize=True)
    batch = process.collate([process(Signal(w[None], 16_000.0, ("mono",))) for w in both])
    torch.testing.assert_close(batch["values"], reference["input_values"], rtol=1e-4, atol=1e-4)
    assert torch.equal(batch["mask"], reference["attention_mask"].bool())


def test_msclap_is_a_centred_slaney_log_mel() -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    for name, fmax in (("msclap2022", 14_000), ("msclap2023", 8_000)):
        filters = mel_filter_bank(513, 64, 50, fmax, 44_100, norm="slaney", mel_scale="slaney")
        wave = noise(30_000)
        expected = spectrogram(
            wave.numpy(), window_function(1024, "hann"), 1024, 320, power=2.0, mel_filters=filters, log_mel="dB"
        )
        found = features(wave[None], FRONTENDS[name])[0].numpy()  # type: ignore[index]
        assert np.abs(found - expected.T).max() < 1e-3
        window = ours(wave, 44_100, frontend=name)["values"]
        assert window.shape[2] == {"msclap2022": 690, "msclap2023": 965}[name]


@pytest.mark.parametrize(("scale", "norm"), [("htk", None), ("slaney", "slaney"), ("kaldi", None)])
def test_filterbanks(scale: Any, norm: str | None) -> None:
    from transformers.audio_utils import mel_filter_bank

    expected = mel_filter_bank(
        257, 40, 20, 8000, 16_000, norm=norm, mel_scale=scale, triangularize_in_mel_space=scale == "kaldi"
    )
    found = mel_filterbank(16_000, 512, 40, 20, 8000, scale)
    assert np.abs(found[:-1] - expected[:-1]).max() < 1e-12
    hertz = np.array([30.0, 999.0, 1000.0, 5000.0])
    assert np.allclose(mel_to_hertz(hertz_to_mel(hertz, scale), scale), hertz)


def test_quiet_bands_are_done_in_float64() -> None:
    t = torch.arange(96_000, dtype=torch.float64) / RATE
    wave = torch.sin(2 * np.pi * 60 * t).float() + 1e-7 * noise(96_000)
    exact = mel_power(wave.double()[None], FRONTENDS["clap"])
    plain, careful = (mel_power(wave[None], FRONTENDS["clap"], exact=on).double() for on in (False, True))
    decibel = [(10 * (p.clamp_min(1e-10) / exact.clamp_min(1e-10)).log10()).abs().max() for p in (plain, careful)]
    assert decibel[0] > 1e-3 > decibel[1]


def test_a_batch_gives_what_each_gives_alone_and_on_its_own_device() -> None:
    waves = torch.stack([noise(30_000, seed) for seed in range(20)])
    for name, spec in FRONTENDS.items():
        together = features(waves, spec)
        torch.testing.assert_close(together[19], features(waves[19:], spec)[0], rtol=1e-4, atol=1e-4, msg=name)
        if spec.kind != "db":  # a data-dependent choice of frames has no meta form
            assert features(waves.to("meta"), spec).device.type == "meta"


def test_a_long_clip_is_done_in_blocks_of_frames(monkeypatch: Any) -> None:
    wave = noise(50_000)[None]
    asked = []
    rfft = torch.fft.rfft
    monkeypatch.setattr(torch.fft, "rfft", lambda frames: asked.append(frames.shape[1]) or rfft(frames))
    for samples in (49_919, 49_920, 49_921, 50_000, 48_480):  # the last block: one frame, or in the reflection
        whole = features(wave[:, :samples], FRONTENDS["logmel"])
        with monkeypatch.context() as patch:
            patch.setattr(frontends, "FRAMES", 13)
            asked.clear()
            torch.testing.assert_close(features(wave[:, :samples], FRONTENDS["logmel"]), whole, rtol=1e-4, atol=1e-3)
        assert max(asked) == 13


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_features_of_any_dtype(dtype: torch.dtype) -> None:
    wave = noise(30_000)[None].to(dtype)
    for spec in FRONTENDS.values():
        assert torch.equal(features(wave, spec), features(wave.float(), spec))


def test_resampling() -> None:
    assert ratio(8_000, 22_050).numerator == 441
    for source, target in ((44_100, 48_000), (44_100, 16_000), (8_000, 16_000), (44_099, 48_000), (22_050.5, 16_000)):
        t = torch.arange(round(source)) / source
        found = resample(torch.sin(2 * np.pi * 440 * t), source, target)
        assert len(found) == math.ceil(len(t) * target / source)
        expected = torch.sin(2 * np.pi * 440 * torch.arange(len(found)) / target)
        middle = slice(len(found) // 4, -len(found) // 4)
        assert (found - expected)[middle].abs().max() < 1e-3
    tone = torch.sin(2 * np.pi * 12_000 * torch.arange(44_100).double() / 44_100).float()
    assert resample(tone, 44_100, 16_000)[2000:-2000].abs().max() < 1e-3, "what is above half the rate is taken out"


def test_the_benchmark_reports_what_it_is_judged_by() -> None:
    from benchmarks.audio_frontend import measure

    figures = measure(count=3, runs=3)
    assert figures["max_abs_db"] < 1e-3
    assert figures["ratio"] > 0  # a busy machine says nothing of speed: `python -m benchmarks.audio_frontend` does
    assert figures["ratio"] == figures["theirs_seconds"] / figures["ours_seconds"]
