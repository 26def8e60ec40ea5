"""Audio processing: windows, masks, constants, saving; augmentation and mixing."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from modalign.align.signal_cache import SignalCache, load_prepared
from modalign.errors import ReadError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.audio.augment import Gain, Noise, SpecAugment, TimeShift, coloured_noise
from modalign.modalities.audio.mixing import a_weighted_gain, a_weighting, concatenate, mix
from modalign.modalities.audio.processing import AudioProcessing
from modalign.modalities.base import Augmentation, Signal

audio = get_modality("audio")


def sound(seconds: float, rate: float = 22_050, seed: int = 0) -> Signal:
    wave = torch.randn(1, round(seconds * rate), generator=torch.Generator().manual_seed(seed)) * 0.1
    return Signal(wave, rate, ("mono",))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_windows_cover_a_long_recording() -> None:
    process = AudioProcessing(seconds=2.0, hop=1.5)
    signal = sound(7.3)
    windows = process.segments(signal)
    assert [w.data.shape[1] for w in windows] == [44_100] * 5
    starts = [int((signal.data[0] == w.data[0, 0]).nonzero()[0]) for w in windows]
    assert starts == [0, 33_075, 66_150, 99_225, signal.data.shape[1] - 44_100]
    assert torch.equal(windows[-1].data[0, -10:], signal.data[0, -10:])
    assert len(AudioProcessing(seconds=2.0).segments(signal)) == 4, "by default windows touch"
    assert process.segments(sound(2.0)) != []
    assert len(process.segments(sound(2.0))) == len(process.segments(sound(0.5))) == 1
    assert len(process.segments(sound(2.01))) == 1, "under a hundredth of a window is left out"
    assert len(process.segments(sound(2.1))) == 2
    assert len(AudioProcessing(frontend="waveform").segments(sound(30))) == 1


def test_a_recording_embeds_as_the_mean_of_its_windows(text_checkpoint: Any) -> None:
    from modalign import AlignmentModel

    cnn = {"encoder": "cnn", "options": {"mels": 16, "channels": [4, 8], "width": 12}, "processing": {"seconds": 1.0}}
    text = {"options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen"}
    model = AlignmentModel({"towers": {"text": text, "audio": cnn}, "dim": 8}).eval()
    tower = model.tower("audio")
    whole = sound(3.0)
    parts = [Signal(whole.data[:, k * 22_050 : (k + 1) * 22_050], 22_050.0, ("mono",)) for k in range(3)]
    together = tower.encode_whole([whole])
    torch.testing.assert_close(together[0], tower.encode_whole(parts).mean(0), rtol=1e-4, atol=1e-5)


def test_crop_is_one_window_drawn_from_the_generator() -> None:
    process = AudioProcessing(seconds=2.0)
    signal = sound(5.0, rate=44_100)
    one, same, other = (process.crop(signal, seeded(s)).data for s in (1, 1, 2))
    assert one.shape == (1, 44_100)  # at the front end's rate
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert process.crop(sound(1.0), seeded()).data.shape == (1, 22_050)
    short = sound(5.0, rate=16_000)
    assert torch.equal(AudioProcessing(frontend="waveform").crop(short, seeded()).data, short.data)


def test_resampling_is_done_once_and_kept_in_memory_alone(tmp_path: Path) -> None:
    process, signal = AudioProcessing(seconds=2.0), sound(5.0, rate=44_100)
    prepared = process.prepare(signal)
    assert prepared.rate == 22_050
    assert torch.equal(process.prepare(prepared).data, prepared.data)
    assert torch.equal(process(prepared)["wave"], process(signal)["wave"])
    assert torch.equal(process.crop(prepared, seeded()).data, process.crop(signal, seeded()).data)
    ends = [process.segments(s)[-1].data for s in (prepared, signal)]
    assert torch.equal(*ends)
    source = tmp_path / "a.npy"  # never opened: only what is kept on disk is looked up there
    cache = SignalCache(tmp_path / "cache")
    read = SimpleNamespace(name="audio", load=lambda source, **fields: signal)
    assert torch.equal(load_prepared(cache, source, {}, read, process).data, prepared.data)
    assert not (tmp_path / "cache").exists()


def test_items_of_many_rates_and_lengths_make_one_batch() -> None:
    process = AudioProcessing(seconds=1.0, shorter="pad")
    signals = [sound(0.2, 8000), sound(1.0, 44_100), sound(3.0, 16_000)]
    batch = process.collate([process(s) for s in signals])
    assert batch["values"].shape == (3, 1, 51, 64)
    assert batch["mask"].sum(1).tolist() == [11, 51, 51]
    assert batch["values"].dtype == torch.float32


def test_kept_lengths_are_masked_and_exact() -> None:
    process = AudioProcessing(shorter="keep").fit([sound(1.0, seed=9)])
    items = [process(sound(s, seed=i)) for i, s in enumerate((0.3, 1.0, 0.3))]
    batch = process.collate(items)
    for i, item in enumerate(items):
        alone = process.collate([item])
        frames = alone["values"].shape[2]
        torch.testing.assert_close(batch["values"][i, :, :frames], alone["values"][0], rtol=1e-4, atol=1e-4)
        assert batch["mask"][i].sum() == frames
        assert not batch["values"][i, :, frames:].any()


def test_constants_come_from_the_training_signals() -> None:
    signals = [sound(1.0, seed=s) for s in range(3)]
    process = AudioProcessing(seconds=1.0).fit(signals)
    assert process.mean is not None
    assert process.std is not None
    assert len(process.mean) == len(process.std) == 64
    values = process.collate([process(s) for s in signals])["values"]
    assert values.mean((0, 1, 2)).abs().max() < 1e-3
    assert (values.std((0, 1, 2), correction=0) - 1).abs().max() < 1e-3
    assert process.fit([sound(1.0, seed=7)]) == process, "given constants stay"
    again = AudioProcessing(**process.parameters())
    assert again == process
    assert AudioProcessing(frontend="clap").fit(iter(())).mean is None
    with pytest.raises(ReadError, match="no training signal"):
        AudioProcessing().fit([])
    silent = AudioProcessing(seconds=1.0).fit([Signal(torch.zeros(1, 22_050), 22_050.0, ("mono",))])
    assert silent.std == (1.0,) * 64


def test_quantize_moves_quiet_bands_and_is_off() -> None:
    quiet = Signal(sound(1.0, 48_000).data * 1e-4, 48_000.0, ("mono",))
    plain, rounded = (AudioProcessing(frontend="clap", quantize=on) for on in (False, True))
    a, b = (p.collate([p(quiet)])["values"] for p in (plain, rounded))
    assert AudioProcessing(frontend="clap").quantize is False
    assert (a - b).abs().max() > 0.5
    wave = rounded(Signal(torch.tensor([[0.5, -2.0, 2.0] * 300]), 48_000.0, ("mono",)))["wave"]
    assert wave[1] == -1
    assert wave[2] == 1
    assert math.isclose(wave[0].item() * 32767, 16383, abs_tol=1e-2)


def test_any_length_gives_finite_features() -> None:
    for frontend in ("clap", "msclap2023", "fbank", "whisper", "logmel", "waveform"):
        process = AudioProcessing(frontend=frontend)  # type: ignore[arg-type]
        for samples in (1, 2, 399, 5000):
            for wave in (torch.zeros(1, samples), torch.ones(1, samples)):
                batch = process.collate([process(Signal(wave, 16_000.0, ("mono",)))])
                assert torch.isfinite(batch["values"]).all(), (frontend, samples)
                assert batch["mask"].any()


def test_signals_without_rate_or_samples_are_refused() -> None:
    process = AudioProcessing()
    with pytest.raises(ReadError, match=r"audio\.rate"):
        process(Signal(torch.zeros(1, 10), None))
    with pytest.raises(ReadError, match="no samples"):
        process(Signal(torch.zeros(1, 0), 16_000.0))


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"frontend": "mfcc"}, "frontend"),
        ({"fmax": 20_000}, "above half the rate"),
        ({"frontend": "clap", "fmin": 15_000}, "not below fmax"),
        ({"frontend": "fbank", "longer": "fusion"}, "fusion is for CLAP"),
        ({"frontend": "fbank", "mel_scale": "htk"}, "one mel scale"),
        ({"normalize": True}, "normalize is for"),
        ({"seconds": 0.001}, "holds no frame"),
        ({"seconds": -1}, "seconds"),
        ({"mean": [0.0]}, "go together"),
        ({"mean": [0.0, 1.0], "std": [1.0, 1.0]}, "2 values for 64 bands"),
        ({"mean": [0.0], "std": [0.0]}, "std must be finite and above 0"),
        ({"shorter": "wrap"}, "shorter"),
        ({"windows": 3}, "not a key"),
        ({"frontend": "clap", "hop": 30}, "parts would be left out"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        audio.build_processing(**parameters)


def test_the_small_front_end_follows_the_rate() -> None:
    assert AudioProcessing(rate=8000).spec.fmax == 3600
    assert AudioProcessing(rate=22_050).spec == AudioProcessing().spec
    assert AudioProcessing(rate=8000).spec.hop_length == 160
    assert AudioProcessing(rate=8000).spec.n_fft == 512  # 2^round(log2 368)
    assert AudioProcessing(frontend="clap").spec.scale == "slaney"
    assert AudioProcessing(frontend="clap", longer="fusion").spec.scale == "htk"
    assert AudioProcessing(frontend="clap", mel_scale="htk").spec.scale == "htk"


def test_long_waveforms_are_cut_into_windows_of_half_a_minute() -> None:
    windows = AudioProcessing(frontend="waveform").segments(Signal(torch.zeros(1, 95 * 1000), 1000.0, ("mono",)))
    assert [w.data.shape[1] for w in windows] == [480_000] * 4


# Augmentation


def test_noise_is_measured_against_the_sound_and_not_its_offset() -> None:
    signal = sound(2.0)
    offset = Signal(signal.data + 0.3, signal.rate, signal.channels)
    added = [Noise(low=10, high=10).apply(s, seeded()).data - s.data for s in (signal, offset)]
    torch.testing.assert_close(added[0], added[1], rtol=1e-3, atol=1e-5)


def test_gain_and_noise_have_the_levels_they_say() -> None:
    signal = sound(2.0)
    louder = Gain(low=6, high=6).apply(signal, seeded())
    torch.testing.assert_close(louder.data, signal.data * 10**0.3)
    assert Gain.breaks == {"amplitude"}
    for colour in ("white", "pink"):
        added = Noise(colour=colour, low=12, high=12).apply(signal, seeded()).data - signal.data
        snr = 10 * (signal.data.var(correction=0) / added.square().mean()).log10()
        assert math.isclose(snr, 12, abs_tol=1e-3)
    silent = Signal(torch.zeros(1, 100), 8000.0, ("mono",))
    assert not Noise().apply(silent, seeded()).data.any()
    with pytest.raises(RecipeError, match="above high"):
        audio.build_augmentations([{"name": "gain", "low": 3, "high": -3}])


def test_pink_noise_falls_by_three_decibels_an_octave() -> None:
    noise = coloured_noise(1 << 17, "pink", seeded())
    power = torch.fft.rfft(noise).abs().square()
    octaves = [power[1 << k : 2 << k].mean().log2() for k in range(6, 15)]
    slope = (octaves[-1] - octaves[0]) / 8
    assert abs(slope + 1) < 0.05
    white = torch.fft.rfft(coloured_noise(1 << 17, "white", seeded())).abs().square()
    assert abs((white[1 << 14 : 2 << 14].mean() / white[1 << 6 : 2 << 6].mean()).log2()) < 0.6


def test_time_shift_is_no_roll() -> None:
    signal = Signal(torch.arange(1.0, 101.0)[None], 100.0, ("mono",))
    seen = set()
    for seed in range(30):
        moved = TimeShift(max_share=0.3).apply(signal, seeded(seed)).data[0]
        kept = moved[moved > 0]
        assert (kept.diff() == 1).all(), "what was first stays before what was last"
        seen.add(len(kept))
    assert min(seen) >= 70
    assert len(seen) > 5


def test_spec_augment_blanks_stripes_of_the_features() -> None:
    process = AudioProcessing(seconds=1.0).fit([sound(1.0)])
    plain, marked = sound(1.0), SpecAugment(time_masks=1, time_share=1.0, band_masks=1, band_share=1.0)
    drawn = marked.apply(plain, seeded(3))
    assert torch.equal(drawn.data, plain.data)
    a, b = (process.collate([process(s)])["values"][0, 0] for s in (plain, drawn))
    blank = b == a.mean()
    time, bands = blank.all(1), blank.all(0)
    assert time.any() or bands.any()
    assert torch.equal(a[~time][:, ~bands], b[~time][:, ~bands])
    # One clip of a batch without stripes is left alone.
    both = process.collate([process(plain), process(drawn)])["values"][:, 0]
    torch.testing.assert_close(both[0], a)
    again = process.collate([process(marked.apply(plain, seeded(3)))])["values"][0, 0]
    assert torch.equal(again, b)
    with pytest.raises(ReadError, match="has none; leave it out"):
        AudioProcessing(frontend="waveform")(drawn)


def test_defaults_of_spec_augment_are_htsats() -> None:
    assert round(SpecAugment().time_share * 1001) == 64
    assert SpecAugment().band_share * 64 == 8
    assert SpecAugment().time_masks == SpecAugment().band_masks == 2
    assert {name: cls.breaks for name, cls in audio.augmentations.items()} == {
        "spec_augment": {"spectrum"},
        "gain": {"amplitude"},
        "noise": frozenset(),
        "time_shift": {"timing"},
        "mix_background": {"amplitude"},
    }
    assert all(issubclass(cls, Augmentation) for cls in audio.augmentations.values())


# Mixing


def test_equal_gains_mix_at_a_half() -> None:
    x = sound(1.0).data[0]
    torch.testing.assert_close(mix(x, x, 22_050), math.sqrt(2) * x)  # sqrt 2 on the mean
    torch.testing.assert_close(mix(x, -x, 22_050), torch.zeros_like(x))


def test_mixing_makes_both_sound_as_loud() -> None:
    x, y = sound(1.0, seed=1).data[0], sound(1.0, seed=2).data[0]
    g1, g2 = a_weighted_gain(x, 22_050), a_weighted_gain(y * 10, 22_050)
    t = 1 / (1 + 10 ** ((g1 - g2) / 20))
    expected = (t * x + (1 - t) * y * 10) / math.sqrt(t**2 + (1 - t) ** 2)
    torch.testing.assert_close(mix(x, y * 10, 22_050), expected)
    assert t > 0.85, "the quieter one gets the larger weight"
    third = mix(x, x.clone(), 22_050, r=0.25)
    torch.testing.assert_close(third, x / math.sqrt(0.25**2 + 0.75**2))
    louder = mix(x, -x, 22_050, r=0.8)
    torch.testing.assert_close(louder, 0.6 * x / math.sqrt(0.8**2 + 0.2**2))
    shorter = mix(x[:1000], y, 22_050)
    assert len(shorter) == len(y)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mix(x, y, 22_050, r=1)


def test_a_weighting_is_the_standards() -> None:
    hertz = torch.tensor([31.5, 63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0])
    expected = torch.tensor([-39.4, -26.2, -16.1, -8.6, -3.2, 0.0, 1.2, 1.0, -1.1]).double()
    assert (a_weighting(hertz) - expected).abs().max() < 0.15
    t = torch.arange(22_050) / 22_050
    low, middle = (a_weighted_gain(torch.sin(2 * math.pi * f * t), 22_050) for f in (100.0, 1000.0))
    assert abs((middle - low) - 19.1) < 0.5
    assert a_weighted_gain(torch.zeros(5), 8000) == -120


def test_concatenation_fades_and_has_its_peak() -> None:
    x, y = torch.ones(1000), torch.ones(500) * 3
    out = concatenate(x, y, peak=None)
    assert len(out) == 1450
    assert torch.equal(out[:950], x[:950])
    assert torch.equal(out[1000:], y[50:])
    assert (out[950:1000].diff() > 0).all()
    assert concatenate(x, y).abs().max() == 0.5
    assert len(concatenate(x, y, overlap=0, peak=None)) == 1500
    assert not concatenate(torch.zeros(10), torch.zeros(10)).any()
    with pytest.raises(ValueError, match="overlap"):
        concatenate(x, y, overlap=1.5)


def test_a_background_is_mixed_in_and_drawn_from_the_generator(tmp_path: Path) -> None:
    import soundfile

    for name, hertz in (("low.wav", 200.0), ("deep/high.flac", 2000.0)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * np.arange(8000) / 8000), 8000)
    (augmentation,) = audio.build_augmentations([{"name": "mix_background", "folder": str(tmp_path)}])
    given = Signal(0.1 * torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0)), 16_000.0, ("mono",))
    draws = [augmentation.apply(given, torch.Generator().manual_seed(seed)).data for seed in (1, 1, 2, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert {d.shape for d in draws} == {given.data.shape}  # a clip of a second is repeated over two
    peaks = {int(torch.fft.rfft(d[0]).abs().argmax()) / 2 for d in draws}
    assert peaks == {200.0, 2000.0}
    for spec in ({"folder": str(tmp_path / "none")}, {"folder": str(tmp_path), "low": 0.9, "high": 0.5}):
        with pytest.raises(RecipeError, match=r"no folder with recordings|is above high"):
            audio.build_augmentations([{"name": "mix_background", **spec}])
