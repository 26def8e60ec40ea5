"""Processing of motion: resampling against analytic sines, constants of the training set, lengths, missing channels."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modalign.errors import ModelError, ReadError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.base import Signal
from modalign.modalities.motion.fields import STANDARD
from modalign.modalities.motion.processing import MotionProcessing
from modalign.modalities.resampling import ratio, resample

motion = get_modality("motion")


def sine(frequency: float, rate: float, seconds: float = 4.0, offset: float = 0.0) -> Tensor:
    moments = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (offset + torch.sin(2 * math.pi * frequency * moments)).float().unsqueeze(0)


def signal(length: int = 100, rate: float = 50.0, channels: tuple[str, ...] = STANDARD, seed: int = 0) -> Signal:
    generator = torch.Generator().manual_seed(seed)
    return Signal(torch.randn(len(channels), length, generator=generator) * 2 + 3, rate, channels)


@pytest.mark.parametrize(("source", "target"), [(100, 50), (200, 50), (20, 50), (64, 50), (99.62, 50), (44.1, 50)])
@pytest.mark.parametrize("frequency", [0.5, 2.0, 5.0])
def test_a_resampled_sine_is_the_analytic_one(source: float, target: float, frequency: float) -> None:
    done = resample(sine(frequency, source, offset=9.81), source, target)
    up, down = ratio(source, target)
    truth = sine(frequency, source * up / down, 5.0, offset=9.81)[:, : done.shape[1]]
    margin = math.ceil(16 / min(source, target) * target)  # as far as the filter reaches
    interior = (done - truth)[:, margin:-margin]
    assert interior.abs().max() < 1e-3
    # The ends are continued, not faded to zero.
    known = math.floor(4.0 * target) - math.ceil(target / source)
    assert (done - truth)[:, :known].abs().max() < 0.15


@pytest.mark.parametrize("frequency", [26.0, 30.0, 40.0, 49.0])
def test_what_is_above_the_new_nyquist_rate_is_removed(frequency: float) -> None:
    done = resample(sine(frequency, 100), 100, 50)
    interior = done[:, 25:-25]
    assert 20 * math.log10(float(interior.abs().max())) < -60


@pytest.mark.parametrize("frequency", [1.0, 10.0, 15.0])
def test_what_is_below_passes(frequency: float) -> None:
    interior = resample(sine(frequency, 100), 100, 50)[:, 25:-25]
    assert float(interior.square().mean().sqrt()) == pytest.approx(math.sqrt(0.5), rel=2e-3)


def test_gravity_survives_resampling_to_the_very_ends() -> None:
    for source in (20.0, 64.0, 100.0, 200.0):
        done = resample(torch.full((1, round(2 * source)), 9.81), source, 50.0)
        assert (done - 9.81).abs().max() < 5e-3, source


def test_resampling_has_no_delay() -> None:
    impulse = torch.zeros(1, 401)
    impulse[0, 200] = 1
    assert int(resample(impulse, 100, 50).argmax()) == 100


def test_equal_rates_are_left_alone() -> None:
    values = sine(1, 50)
    assert resample(values, 50.0, 50.0) is values
    assert resample(values, 49.96, 50.0) is values


def test_masked_channels_stay_masked_in_resampling() -> None:
    values = torch.randn(3, 200)
    masked = values.clone()
    masked[1] = float("nan")
    done = resample(masked, 100, 50)
    assert done[1].isnan().all()
    assert torch.equal(done[[0, 2]], resample(values, 100, 50)[[0, 2]])


def test_a_single_sample_is_resampled() -> None:
    assert resample(torch.ones(6, 1), 100, 50).shape == (6, 1)


@pytest.mark.parametrize("offset", [0.0, 9.81, 1e4])
def test_fit_gives_the_constants_of_all_samples(offset: float) -> None:
    signals = [Signal(signal(50 + 30 * i, seed=i).data + offset, 50.0, STANDARD) for i in range(5)]
    fitted = MotionProcessing().fit(iter(signals))
    everything = torch.cat([s.data for s in signals], 1).double().numpy()
    assert fitted.mean is not None
    assert fitted.std is not None
    np.testing.assert_allclose(fitted.mean, everything.mean(1), rtol=1e-9)
    np.testing.assert_allclose(fitted.std, everything.std(1), rtol=1e-6)
    joined = torch.cat([fitted(s)["values"] for s in signals], 1)
    if offset < 100:  # float32 itself rounds beyond
        torch.testing.assert_close(joined.mean(1), torch.zeros(6), atol=1e-4, rtol=0)
        torch.testing.assert_close(joined.std(1), torch.ones(6), atol=1e-2, rtol=0)


def test_fit_leaves_out_what_is_missing_or_masked() -> None:
    only = signal(channels=STANDARD[:3])
    other = signal(seed=1)
    other.data[4] = float("nan")
    fitted = MotionProcessing().fit([only, other])
    assert fitted.mean is not None
    assert fitted.std is not None
    np.testing.assert_allclose(fitted.mean[:3], torch.cat([only.data, other.data[:3]], 1).double().mean(1), rtol=1e-9)
    np.testing.assert_allclose(fitted.mean[3], other.data[3].double().mean(), rtol=1e-9)
    assert (fitted.mean[4], fitted.std[4]) == (0.0, 1.0)


def test_fit_without_signals_is_refused_and_constant_channels_get_one() -> None:
    with pytest.raises(ReadError, match="no training signal"):
        MotionProcessing().fit([])
    fitted = MotionProcessing().fit([Signal(torch.full((6, 20), 9.81), 50.0, STANDARD)])
    assert fitted.std == (1.0,) * 6


def test_before_fit_nothing_is_scaled_and_gravity_stays() -> None:
    given = signal()
    assert torch.equal(MotionProcessing()(given)["values"], given.data)
    fitted = MotionProcessing(mean=(0.0,) * 6, std=(2.0,) * 6)
    # No window is standardised by itself: an offset stays an offset.
    torch.testing.assert_close(fitted(Signal(given.data + 4, 50.0, STANDARD))["values"], given.data / 2 + 2)


def test_missing_and_masked_channels_are_the_training_mean() -> None:
    fitted = MotionProcessing(mean=(1.0,) * 6, std=(2.0,) * 6)
    whole = signal()
    part = Signal(whole.data[[2, 0]], 50.0, ("acc_z", "acc_x"))
    values = fitted(part)["values"]
    assert torch.equal(values[[0, 2]], (whole.data[[0, 2]] - 1) / 2)
    assert torch.equal(values[[1, 3, 4, 5]], torch.zeros(4, 100))
    masked = Signal(whole.data.clone(), 50.0, STANDARD)
    masked.data[3:] = float("nan")
    assert torch.equal(fitted(masked)["values"][3:], torch.zeros(3, 100))
    with pytest.raises(ReadError, match=r"the model wants acc_x.*motion.columns"):
        fitted(Signal(whole.data, 50.0, tuple(f"wrist/{c}" for c in STANDARD)))
    with pytest.raises(ReadError, match="the model wants acc_y, gyro_x"):
        MotionProcessing(missing="refuse")(part)


def test_order_and_extra_channels() -> None:
    given = signal(channels=(*STANDARD, "wrist/acc_x"))
    values = MotionProcessing(channels=("gyro_x", "wrist/acc_x", "acc_x"))(given)["values"]
    assert torch.equal(values, given.data[[3, 6, 0]])


def test_windows_are_cut_about_the_centre() -> None:
    given = Signal(torch.arange(11.0).expand(6, 11), 50.0, STANDARD)
    assert MotionProcessing(window=0.1)(given)["values"][0].tolist() == [3, 4, 5, 6, 7]


def test_short_windows() -> None:
    given = Signal(torch.arange(1.0, 31.0).expand(6, 30), 50.0, STANDARD)
    with pytest.raises(ReadError, match=r"0.6 s is shorter than processing.window \(1 s\).*processing.short"):
        MotionProcessing(window=1)(given)
    wrapped = MotionProcessing(window=1, short="wrap")(given)["values"]
    assert wrapped[0].tolist() == [*range(1, 31), *range(1, 21)]
    zeroed = MotionProcessing(window=1, short="zero", mean=(5.0,) * 6, std=(1.0,) * 6)(given)["values"]
    assert zeroed[0].tolist() == [*range(-4, 26), *[0] * 20]
    # One sample that rounding takes is no reason to refuse.
    nearly = MotionProcessing(window=0.62)(given)["values"]
    assert nearly[0].tolist() == [*range(1, 31), 30]


@pytest.mark.parametrize("rate", [12.5, 20.0, 33.3, 49.9, 60.0, 99.62, 104.0, 128.0])
@pytest.mark.parametrize("window", [1.0, 2.01, 2.56])
def test_a_window_read_at_any_rate_fits_the_model(rate: float, window: float) -> None:
    process = MotionProcessing(window=window)
    assert process(signal(round(window * rate), rate))["values"].shape == (6, round(window * 50))


def test_ragged_batches_are_refused_unless_the_encoder_is_exact() -> None:
    items = [{"values": torch.zeros(6, n)} for n in (100, 90)]
    with pytest.raises(ModelError, match=r"windows of 90 to 100 samples; set processing.window"):
        MotionProcessing().collate(items)
    batch = MotionProcessing(padding="exact").collate(items)
    assert batch["values"].shape == (2, 6, 100)
    assert batch["mask"].sum(1).tolist() == [100, 90]
    assert MotionProcessing().collate(items[:1] * 3)["mask"].all()


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"channels": ["accx"]}, "did you mean 'acc_x'"),
        ({"channels": []}, "names no channel"),
        ({"channels": ["acc_x", "acc_x"]}, "given twice"),
        ({"rate": 0}, "rate"),
        ({"window": 0.001}, "holds no sample"),
        ({"mean": [0.0]}, "mean has 1 values for 6 channels"),
        ({"std": [0.0] * 6}, "std must be finite and above 0"),
        ({"short": "repeat"}, "short"),
        ({"rte": 3}, "rte is not a key"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        motion.build_processing(**parameters)


def test_parameters_survive_json() -> None:
    fitted = MotionProcessing(window=2).fit([signal(200), signal(100, 100.0, seed=1)])
    loaded = MotionProcessing.model_validate_json(fitted.model_dump_json())
    assert loaded == fitted
    assert torch.equal(loaded(signal(200))["values"], fitted(signal(200))["values"])


def test_a_signal_without_a_rate_is_refused() -> None:
    with pytest.raises(ReadError, match="no rate"):
        MotionProcessing()(Signal(torch.zeros(6, 10), None, STANDARD))


def test_processing_a_window_is_cheap_and_leaves_the_signal() -> None:
    given = signal()
    before = given.data.clone()
    process = MotionProcessing(window=2).fit([given])
    took = []
    for _ in range(50):
        begun = time.perf_counter()
        process(given)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.15e-3
    assert torch.equal(given.data, before)


def test_summary_features() -> None:
    given = signal(channels=("acc_x", "gyro_x"))
    features = motion.summary_features(given)
    assert features is not None
    assert (features.shape, features.dtype) == ((10,), np.float64)
    x = given.data.double().numpy()
    np.testing.assert_allclose(features, np.concatenate([x.mean(1), x.std(1), x.min(1), x.max(1), (x**2).mean(1)]))
    given.data[1] = float("nan")
    features = motion.summary_features(given)
    assert features is not None
    assert np.isfinite(features).all()
    one = motion.summary_features(Signal(torch.ones(2, 1), 50.0, ("acc_x", "acc_y")))
    assert one is not None
    assert np.isfinite(one).all()


def test_training_takes_random_windows_of_what_is_longer():
    long = Signal(torch.arange(1500.0).reshape(1, 1500).expand(6, -1).contiguous(), 100.0, STANDARD)
    processing = MotionProcessing(rate=100, window=2)
    starts = {int(processing.crop(long, torch.Generator().manual_seed(s)).data[0, 0]) for s in range(200)}
    assert min(starts) < 60
    assert max(starts) > 1240
    assert all(processing.crop(long, torch.Generator().manual_seed(s)).data.shape == (6, 200) for s in range(5))
    short = Signal(long.data[:, :200], 100.0, STANDARD)
    assert processing.crop(short, torch.Generator()) is short


@pytest.mark.parametrize(
    ("hop", "starts"), [(1.5, [*range(0, 1300, 150), 1300]), (2.0, [*range(0, 1300, 200), 1300]), (None, [0])]
)
def test_inference_covers_what_is_longer(hop, starts):
    long = Signal(torch.arange(1500.0).reshape(1, 1500).expand(6, -1).contiguous(), 100.0, STANDARD)
    processing = MotionProcessing(rate=100, window=2, hop=hop)
    assert [int(s.data[0, 0]) for s in processing.segments(long)] == starts


def test_a_hop_that_leaves_parts_out_is_refused():
    with pytest.raises(ValueError, match="parts would be left out"):
        MotionProcessing(rate=100, window=2, hop=13)
