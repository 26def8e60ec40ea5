"""X-ray augmentations: deterministic, in range, and what each one breaks is what it changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modalign.errors import RecipeError
from modalign.modalities import get_modality
from modalign.modalities.base import Signal, augment
from modalign.modalities.xray.augment import blur

modality = get_modality("xray")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(name: str, **options: Any) -> Any:
    return modality.build_augmentations([{"name": name, **options}])[0]


def scene(height: int = 80, width: int = 60) -> Signal:
    """Dark, with one bright square in the upper left."""
    data = torch.full((1, height, width), 0.2)
    data[:, 10:20, 8:18] = 0.9
    return Signal(data, None, ("grey",), {"view": "PA"})


BREAKS = {
    "random_resized_crop": {"location"},
    "brightness_contrast": {"amplitude"},
    "gaussian_blur": {"spectrum"},
    "horizontal_flip": {"laterality"},
    "shift": set(),
}


@pytest.mark.parametrize("name", modality.augmentations)
def test_each_says_what_it_breaks_and_is_a_function_of_its_generator(name: str) -> None:
    augmentation, signal = build(name), scene()
    assert augmentation.breaks == BREAKS[name]
    before = signal.data.clone()
    one, same, other = (augmentation.apply(signal, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.data, same.data)
    assert name == "horizontal_flip" or one.data.shape != other.data.shape or not torch.equal(one.data, other.data)
    assert torch.equal(signal.data, before)
    assert one.data.dtype == torch.float32
    assert float(one.data.min()) >= 0
    assert float(one.data.max()) <= 1
    assert one.meta == signal.meta


def test_mores_policy() -> None:
    """METHODS section 1: crop scale 0.2 to 1 with p 0.8, jitter 0.4 with p 0.8, blur 23 with p 0.5, flip with p 0.5."""
    crop, jitter, smooth, flip = (build(n) for n in list(BREAKS)[:4])
    assert (crop.p, crop.scale) == (0.8, (0.2, 1.0))
    assert (jitter.p, jitter.brightness, jitter.contrast) == (0.8, 0.4, 0.4)
    assert (smooth.p, smooth.kernel, flip.p) == (0.5, 23, 0.5)


def test_crops_have_the_areas_and_aspects_that_were_asked_for() -> None:
    crop, signal = build("random_resized_crop", scale=[0.3, 0.6]), scene(200, 200)
    shapes = [crop.apply(signal, generator(seed)).data.shape for seed in range(200)]
    areas = [h * w / 40_000 for _, h, w in shapes]
    aspects = [w / h for _, h, w in shapes]
    assert 0.28 < min(areas) < 0.35
    assert 0.55 < max(areas) < 0.62
    assert 0.73 < min(aspects) < 0.85
    assert 1.2 < max(aspects) < 1.36
    whole = build("random_resized_crop", scale=[1, 1], ratio=[1, 1]).apply(signal, generator())
    assert torch.equal(whole.data, signal.data)


def test_flip_is_an_involution_and_moves_the_square() -> None:
    flip, signal = build("horizontal_flip"), scene()
    mirrored = flip.apply(signal, generator())
    assert float(mirrored.data[0, 15, 60 - 1 - 12]) == pytest.approx(0.9)
    assert torch.equal(flip.apply(mirrored, generator()).data, signal.data)


def test_brightness_and_contrast() -> None:
    signal = scene()
    dim = build("brightness_contrast", brightness=0.4, contrast=0)
    factors = [float(dim.apply(signal, generator(s)).data[0, 0, 0]) / 0.2 for s in range(100)]
    assert 0.6 <= min(factors) < 0.7
    assert 1.3 < max(factors) <= 1.4001
    flat = build("brightness_contrast", brightness=0, contrast=0.1)  # so that nothing is clipped
    for seed in range(20):
        changed = flat.apply(signal, generator(seed)).data
        assert float(changed.mean()) == pytest.approx(float(signal.data.mean()), abs=1e-5)
    none = build("brightness_contrast", brightness=0, contrast=0)
    torch.testing.assert_close(none.apply(signal, generator()).data, signal.data)


def test_blur_is_a_gaussian() -> None:
    point = torch.zeros(1, 41, 41)
    point[0, 20, 20] = 1
    spread = blur(point, 2.0, 12)[0]
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    y = torch.arange(41.0) - 20
    assert float((spread.sum(1) * y**2).sum()) == pytest.approx(4, rel=0.01), "variance"
    torch.testing.assert_close(spread, spread.T)
    torch.testing.assert_close(blur(torch.full((1, 30, 30), 0.3), 2.0, 11), torch.full((1, 30, 30), 0.3))


def test_a_larger_image_is_blurred_in_proportion() -> None:
    smooth = build("gaussian_blur", sigma=[2.0, 2.0])
    for side, variance in ((224, 4.0), (448, 16.0)):
        line = torch.zeros(1, side, side)
        line[:, :, side // 2] = 1
        profile = smooth.apply(Signal(line), generator()).data[0].mean(0)
        places = torch.arange(side) - side // 2
        assert float((profile * places**2).sum() / profile.sum()) == pytest.approx(variance, rel=0.02)


def test_shift_turns_in_pixels_and_stays_small() -> None:
    signal = scene(120, 60)
    still = build("shift", degrees=0, translate=0, zoom=0).apply(signal, generator())
    torch.testing.assert_close(still.data, signal.data, atol=1e-5, rtol=0)
    turn = build("shift", degrees=45, translate=0, zoom=0)
    line = torch.zeros(1, 120, 60)
    line[:, 40:80, 28:32] = 1
    for seed in range(5):
        turned = turn.apply(Signal(line), generator(seed)).data[0]
        assert float(turned.sum()) == pytest.approx(160, rel=0.05), "a turn keeps areas, whatever the aspect"
        y, x = (turned > 0.5).nonzero().float().unbind(1)
        assert float((y.max() - y.min()) ** 2 + (x.max() - x.min()) ** 2) == pytest.approx(40**2 + 4**2, rel=0.2)
    move = build("shift", degrees=0, translate=0.05, zoom=0)
    for seed in range(20):
        moved = move.apply(signal, generator(seed)).data[0]
        y, x = (moved > 0.6).nonzero().float().mean(0).tolist()
        assert abs(y - 14.5) <= 6.6
        assert abs(x - 12.5) <= 3.6


def test_each_is_applied_with_its_probability() -> None:
    flip, signal = build("horizontal_flip"), scene()
    flipped = sum(not torch.equal(augment(signal, [flip], generator(s)).data, signal.data) for s in range(200))
    assert 75 < flipped < 125


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("random_resized_crop", {"scale": [0.5, 0.2]}, "lower one first"),
        ("random_resized_crop", {"scale": [0.5, 1.5]}, "1 at most"),
        ("random_resized_crop", {"ratio": [0, 1]}, "ratio"),
        ("gaussian_blur", {"kernel": 22}, "odd"),
        ("gaussian_blur", {"sigma": [2, 1]}, "lower one first"),
        ("brightness_contrast", {"contrast": 1.2}, "contrast"),
        ("shift", {"degrees": 90}, "degrees"),
        ("vertical_flip", {}, "no augmentation"),
    ],
)
def test_options_that_are_wrong(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build(name, **options)
