"""Processing: order and masks of leads, length, filters that keep ST, the normalisations of MERL and MoRE."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modalign.errors import ModelError, ReadError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.base import Signal
from modalign.modalities.ecg import filters, normalise
from modalign.modalities.ecg.leads import MERL, STANDARD
from modalign.modalities.ecg.processing import EcgProcessing
from modalign.modalities.resampling import resample
from tests.modalities.ecg_files import LEADS, ecg

modality = get_modality("ecg")


def signal(seconds: float = 4.0, rate: float = 100.0, leads: tuple[str, ...] = LEADS) -> Signal:
    data = torch.from_numpy(ecg(seconds, rate)).float()
    return Signal(data[[LEADS.index(name) for name in leads]], rate, leads)


def sine(frequency: float, rate: float, seconds: float = 10.0) -> torch.Tensor:
    t = torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    return torch.sin(2 * np.pi * frequency * t)[None].float()


def test_leads_are_put_in_the_models_order() -> None:
    given = signal(leads=("V1", "II", "I"))
    values = EcgProcessing(leads="I, avr, ii")(given)["values"]
    assert torch.equal(values[0], given.data[2])
    assert torch.equal(values[2], given.data[1])
    assert not values[1].any()
    merl = EcgProcessing(leads="merl")(signal())["values"]
    assert torch.equal(merl[4], signal().data[STANDARD.index("aVF")])
    assert EcgProcessing(leads="merl").leads == MERL


def test_missing_leads_are_zeros_with_a_mask_after_any_normalisation() -> None:
    given = signal(leads=("I", "V1"))
    for name in ("constant", "merl", "more", "none"):
        process = EcgProcessing(leads=("I", "II", "V1"), lead_mask=True, normalise=name)
        values = process(given)["values"]
        assert values.shape == (6, 400)
        assert not values[1].any()
        assert values[3:].mean(1).tolist() == [1, 0, 1]
        assert values[0].any()
    assert process.notes() == ["1 of 1 recordings lack leads, which are zeros"]
    with pytest.raises(ReadError, match="the model wants V9"):
        EcgProcessing(leads="V9")(given)


def test_limb_leads_are_derived_when_asked() -> None:
    whole = EcgProcessing()(signal())["values"]
    values = EcgProcessing(derive=True)(signal(leads=("I", "II")))["values"]
    torch.testing.assert_close(values[:6], whole[:6], atol=1e-6, rtol=0)
    assert not values[6:].any()


def test_flat_leads() -> None:
    data = signal().data.clone()
    data[3] = 0.7
    flat = Signal(data, 100.0, LEADS)
    process = EcgProcessing()
    assert not process(flat)["values"][3].any()
    assert "flat" in process.notes()[0]
    assert EcgProcessing(flat="keep")(flat)["values"][3, 0] == pytest.approx(0.7)
    with pytest.raises(ReadError, match="flat leads: aVR"):
        EcgProcessing(flat="refuse")(flat)


def test_real_flat_leads(real_data: Path) -> None:
    given = modality.load(real_data / "ecg_cinc2021_mini/records/JS20004.hea")
    values = EcgProcessing(lead_mask=True)(given)["values"]
    assert values[12:].mean(1).tolist() == [1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(("source", "target"), [(500, 100), (257, 100), (1000, 500), (100, 500), (360, 250)])
def test_resampling_keeps_waves_in_place(source: float, target: float) -> None:
    out = resample(sine(5, source), source, target)
    expected = sine(5, target, 11)[:, : out.shape[1]]
    assert out.shape[1] == pytest.approx(10 * target, abs=1)
    inner = slice(int(target), int(9 * target))
    torch.testing.assert_close(out[:, inner], expected[:, inner], atol=2e-3, rtol=0)


def test_resampling_does_not_alias() -> None:
    out = resample(sine(63, 500), 500, 100)[:, 50:-50]
    assert out.abs().max() < 2e-3


def test_notch_takes_mains_out_and_leaves_the_rest() -> None:
    hum, beat = sine(50, 500), sine(10, 500)
    out = filters.notch(hum + beat, 500, 50)[:, 1000:4000]
    assert (out - beat[:, 1000:4000]).abs().max() < 0.01
    with pytest.raises(ValueError, match="above 111 Hz"):
        filters.notch(hum, 100, 50)


def test_notch_is_made_before_resampling_or_left_out_with_a_note() -> None:
    noisy = Signal(signal(10, 500).data + 0.5 * sine(50, 500), 500.0, LEADS)
    process = EcgProcessing(rate=500, notch=50)
    clean = EcgProcessing(rate=500)(signal(10, 500))["values"]
    assert (process(noisy)["values"] - clean)[:, 1000:4000].abs().max() < 0.06
    assert process.notes() == []
    late = EcgProcessing(rate=500, notch=50)
    late(signal(10, 100))
    assert late.notes() == ["1 of 1 recordings without the notch at 50 Hz, since their rate is 100 Hz"]


@pytest.mark.parametrize("cutoff", [0.5, 0.67])
def test_highpass_keeps_st_and_takes_drift_out(cutoff: float) -> None:
    """A 200 ms ST step of 0.2 mV in each beat at 60/min keeps its height over the PR level within 10 %."""
    rate, step = 100.0, 0.2
    t = torch.arange(1000) / rate
    beat = ((t % 1.0 >= 0.45) & (t % 1.0 < 0.65)).float() * step
    drift = 1.0 * torch.sin(2 * np.pi * 0.05 * t)
    out = filters.highpass((beat + drift)[None], rate, cutoff)[0]
    heights = []
    for start in range(2, 8):
        st = out[start * 100 + 48 : start * 100 + 62].mean()
        pr = out[start * 100 + 25 : start * 100 + 40].mean()
        heights.append(float(st - pr))
    assert np.allclose(heights, step, atol=0.1 * step), heights
    assert filters.highpass(drift[None], rate, cutoff)[0, 200:800].abs().max() < 0.02
    with pytest.raises(RecipeError, match="cutoff"):
        modality.build_processing(cutoff=1.0)


def test_filters_do_not_move_waves() -> None:
    given = signal(10)
    for baseline in ("none", "highpass", "median"):
        values = EcgProcessing(baseline=baseline)(given)["values"]
        assert values[1, 300:360].argmax() == given.data[1, 300:360].argmax()


def test_median_cascade_is_mores() -> None:
    from scipy.signal import medfilt

    rows = signal(10).data[:2]
    out = filters.median_baseline(rows, 100)
    for row, mine in zip(rows.double().numpy(), out):
        theirs = medfilt(medfilt(row, 21), 61)
        np.testing.assert_allclose(mine[50:-50].numpy(), theirs[50:-50], atol=1e-6)
    drift = 0.3 * sine(0.1, 100) + 2
    flattened = rows + drift - filters.median_baseline(rows + drift, 100)
    assert flattened[:, 100:-100].median(1).values.abs().max() < 0.05


def test_constant_keeps_voltage_and_is_one_number_of_the_training_set() -> None:
    parts = [signal(4), signal(7, 500), Signal(3 * signal(5).data, 100.0, LEADS)]
    process = EcgProcessing().fit(iter(parts))
    everything = torch.cat([resample(p.data, p.rate or 0, 100).reshape(-1) for p in parts])
    assert process.scale == pytest.approx(float(everything.std()), rel=1e-3)
    small, large = process(parts[0])["values"], process(parts[2])["values"]
    assert large.std() / small.std() == pytest.approx(3, rel=0.05)
    assert process.parameters()["scale"] == process.scale
    with pytest.raises(ReadError, match="no training signal"):
        EcgProcessing().fit([])


def test_merl_and_more_normalisation() -> None:
    values = signal().data
    joint, single = normalise.merl(values), normalise.more(values)
    assert float(joint.min()) == 0
    assert float(joint.max()) == pytest.approx(1, abs=1e-6)
    assert (joint.amax(1) < 0.9).any()  # jointly: not every lead fills the range
    torch.testing.assert_close(single.amax(1), torch.ones(12))
    torch.testing.assert_close(single.amin(1), -torch.ones(12))
    for function in (normalise.merl, normalise.more):
        torch.testing.assert_close(function(7.5 * values), function(values), atol=1e-5, rtol=0)
    torch.testing.assert_close(joint, (values - values.min()) / (values.max() - values.min() + 1e-8))


def test_length_is_cut_about_the_centre_held_or_filled() -> None:
    process = EcgProcessing(seconds=2)
    assert torch.equal(process(signal())["values"], signal().data[:, 100:300])
    short = Signal(signal().data[:, :150], 100.0, LEADS)
    values = process(short)["values"]
    assert values.shape == (12, 200)
    assert not values[:, 150:].any()
    assert "shorter" in process.notes()[0]
    assert EcgProcessing(seconds=2, padding="exact")(short)["values"].shape == (12, 150)
    with pytest.raises(ReadError, match=r"shorter than processing\.seconds"):
        EcgProcessing(seconds=2, short="refuse")(short)
    held = Signal(signal().data[:, :199], 100.0, LEADS)
    assert torch.equal(EcgProcessing(seconds=2, short="refuse")(held)["values"][:, -1], held.data[:, -1])


@pytest.mark.parametrize(("hop", "starts"), [(None, [0, 200, 400, 500]), (1.0, [0, 100, 200, 300, 400, 500])])
def test_segments_cover_the_whole(hop: float | None, starts: list[int]) -> None:
    long = Signal(torch.arange(700.0).expand(12, -1), 100.0, LEADS)
    windows = EcgProcessing(seconds=2, hop=hop).segments(long)
    assert [int(w.data[0, 0]) for w in windows] == starts
    assert {w.data.shape[1] for w in windows} == {200}
    assert len(EcgProcessing(seconds=7).segments(long)) == 1
    assert len(EcgProcessing().segments(long)) == 1


def test_crop_is_drawn_from_the_generator() -> None:
    long = Signal(torch.arange(700.0).expand(12, -1), 100.0, LEADS)
    process = EcgProcessing(seconds=2)
    firsts = {int(process.crop(long, torch.Generator().manual_seed(s)).data[0, 0]) for s in range(40)}
    assert len(firsts) > 20
    assert min(firsts) >= 0
    assert max(firsts) <= 500
    assert process.crop(signal(1), torch.Generator()).data.shape[1] == 100


def test_lengths_must_agree_for_a_fixed_encoder() -> None:
    items = [EcgProcessing()(signal(s)) for s in (3, 4)]
    with pytest.raises(ModelError, match=r"processing\.seconds"):
        EcgProcessing().collate(items)
    batch = EcgProcessing(padding="exact").collate(items)
    assert batch["mask"].sum(1).tolist() == [300, 400]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"leads": "I, Q"}, "'Q' is no lead"),
        ({"leads": "I, i"}, "twice"),
        ({"leads": []}, "names no lead"),
        ({"seconds": 0.001}, "no sample"),
        ({"hop": 1}, "needs seconds"),
        ({"hop": 3, "seconds": 2}, "at most seconds"),
        ({"notch": 55}, "notch"),
        ({"normalise": "z"}, "normalise"),
        ({"rate": 0}, "rate"),
        ({"scale": 0}, "scale"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        modality.build_processing(**parameters)


def test_a_ten_second_record_takes_under_two_milliseconds() -> None:
    process, given = EcgProcessing(seconds=10).fit([signal(10)]), signal(10)
    process(given)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        process(given)
        times.append(time.perf_counter() - start)
    assert min(times) < 2e-3


def test_summary_features() -> None:
    for bpm in (50, 75, 120):
        given = Signal(torch.from_numpy(ecg(10, 500, bpm)).float(), 500.0, LEADS)
        features = modality.summary_features(given)
        assert features is not None
        assert features.shape == (137,)
        assert features[0] == pytest.approx(bpm, abs=2)
        assert np.isfinite(features).all()
    for odd in (signal(0.2), signal(leads=("II",)), Signal(torch.zeros(12, 500), 100.0, LEADS)):
        assert np.isfinite(modality.summary_features(odd)).all()
