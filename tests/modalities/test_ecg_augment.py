"""ECG augmentations: what each changes, what it leaves, and that it says what it breaks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modalign.errors import RecipeError
from modalign.modalities import get_modality
from modalign.modalities.base import Signal
from modalign.modalities.ecg.augment import WarpOrPermute, permute, warp
from tests.modalities.ecg_files import LEADS, ecg

modality = get_modality("ecg")
given = Signal(torch.from_numpy(ecg(10)).float(), 100.0, LEADS)
BREAKS = {
    "time_warp": {"rate", "rhythm", "timing", "amplitude"},
    "segment_permutation": {"rhythm", "order"},
    "warp_or_permute": {"rate", "rhythm", "order", "timing", "amplitude"},
    "lead_dropout": {"location"},
    "baseline_wander": {"amplitude"},
    "noise": set(),
    "scaling": {"amplitude"},
    "time_shift": set(),
}


def apply(name: str, seed: int = 0, source: Signal = given, **options: Any) -> torch.Tensor:
    (augmentation,) = modality.build_augmentations([{"name": name, **options}])
    return augmentation.apply(source, torch.Generator().manual_seed(seed)).data


def test_each_says_what_it_breaks() -> None:
    assert {name: set(cls.breaks) for name, cls in modality.augmentations.items()} == BREAKS


def test_time_warp_keeps_length_ends_and_range() -> None:
    out = apply("time_warp")
    assert out.shape == given.data.shape
    torch.testing.assert_close(out[:, [0, -1]], given.data[:, [0, -1]], atol=1e-4, rtol=0)
    assert not torch.allclose(out, given.data, atol=0.1)
    assert out.max() <= given.data.max()
    torch.testing.assert_close(warp(given.data, 4, 0.0, torch.Generator()), given.data, atol=1e-4, rtol=0)


def test_permutation_keeps_every_sample() -> None:
    moved = False
    for seed in range(5):
        out = permute(given.data, 4, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(out.sort(1).values, given.data.sort(1).values)
        moved |= not torch.equal(out, given.data)
    assert moved


def test_exactly_one_of_three() -> None:
    kinds = []
    for seed in range(90):
        out = WarpOrPermute().apply(given, torch.Generator().manual_seed(seed)).data
        same = torch.equal(out, given.data)
        kept = torch.allclose(out.sort(1).values, given.data.sort(1).values)
        kinds.append("none" if same else "permuted" if kept else "warped")
    assert all(18 <= kinds.count(kind) <= 42 for kind in ("none", "permuted", "warped"))


def test_lead_dropout_never_drops_all() -> None:
    counts = []
    for seed in range(40):
        out = apply("lead_dropout", seed, probability=0.9)
        dropped = torch.isnan(out).all(1)
        assert torch.equal(torch.isnan(out).any(1), dropped)
        assert torch.equal(out[~dropped], given.data[~dropped])
        counts.append(int(dropped.sum()))
    assert 9 < sum(counts) / 40 < 12
    assert max(counts) == 11
    alone = Signal(torch.where(torch.arange(12)[:, None] == 4, given.data, float("nan")), 100.0, LEADS)
    assert torch.isfinite(apply("lead_dropout", source=alone, probability=1.0)[4]).all()


def test_baseline_wander_is_slow_and_small() -> None:
    drift = apply("baseline_wander", millivolts=0.2) - given.data
    assert 0 < drift.abs().max() <= 0.2
    assert drift.diff(dim=1).abs().max() < 0.2 * 2 * 3.15 * 0.5 / 100 + 1e-5


@pytest.mark.parametrize("kind", ["white", "powerline"])
def test_noise_has_its_ratio(kind: str) -> None:
    source = Signal(torch.from_numpy(ecg(10, 500)).float(), 500.0, LEADS)
    for wanted in (0.0, 20.0):
        noise = apply("noise", source=source, kind=kind, low=wanted, high=wanted) - source.data
        power = (source.data - source.data.mean(1, keepdim=True)).square().mean()
        assert 10 * torch.log10(power / noise.square().mean()) == pytest.approx(wanted, abs=0.3)
    spectrum = torch.fft.rfft(noise).abs().mean(0)
    if kind == "powerline":
        assert set(spectrum.topk(2).indices.tolist()) == {500, 1500}


def test_scaling_is_one_factor_for_all_leads() -> None:
    out = apply("scaling", amplitude=0.3)
    factor = out / given.data
    assert float(factor.std()) < 1e-4
    assert 0.7 <= float(factor.mean()) <= 1.3


def test_time_shift_moves_and_holds() -> None:
    out = apply("time_shift", 3, max_seconds=1.0)
    shifts = [s for s in range(-100, 101) if torch.equal(out[:, 100:-100], given.data[:, 100 - s : 900 - s])]
    assert len(shifts) == 1


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "time_warp", "strength": 1}, {"name": "segment_permutation", "segments": 1},
        {"name": "lead_dropout", "probability": 2}, {"name": "noise", "kind": "pink"},
        {"name": "noise", "low": 30, "high": 10}, {"name": "warp"},
    ],
)  # fmt: skip
def test_bad_options_are_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        modality.build_augmentations([spec])
