"""X-ray processing: CLAHE against other implementations, sizes and aspect, constants, and what the encoder is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modalign.errors import ModelError, ReadError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.base import Signal
from modalign.modalities.xray.clahe import clahe, mappings
from modalign.modalities.xray.processing import fitted_size, resize
from tests.modalities.xray_files import picture

modality = get_modality("xray")


def process(**parameters: Any) -> Any:
    return modality.build_processing(**parameters)


def image(height: int = 60, width: int = 40, seed: int = 0) -> Signal:
    rng = torch.Generator().manual_seed(seed)
    slope = torch.linspace(0.1, 0.6, height)[:, None]
    return Signal((slope + 0.3 * torch.rand(1, height, width, generator=rng)).clamp(0, 1), None, ("grey",))


def slow_clahe(pixels: Any, clip: float, tiles: int, bins: int) -> Any:
    """Pixel by pixel, part by part: the definition, without numpy's tricks. Sides are multiples of `tiles`."""
    height, width = pixels.shape
    rows, columns = height // tiles, width // tiles
    maps = {}
    for i in range(tiles):
        for j in range(tiles):
            part = pixels[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns].ravel()
            histogram = [0.0] * bins
            for value in part:
                histogram[min(int(value * bins), bins - 1)] += 1
            limit, total = max(clip * len(part), 1.0), float(len(part))
            excess = sum(max(h - limit, 0) for h in histogram)
            histogram = [min(h, limit) for h in histogram]
            while excess > 1e-9 * total and any(h < limit for h in histogram):
                share = excess / sum(h < limit for h in histogram)
                for k, h in enumerate(histogram):
                    if h < limit:
                        histogram[k] = min(h + share, limit)
                        excess -= histogram[k] - h
            maps[i, j] = np.cumsum([h + excess / bins for h in histogram]) / total
    out = np.zeros_like(pixels)
    for y in range(height):
        for x in range(width):
            v, u = (y + 0.5) / rows - 0.5, (x + 0.5) / columns - 0.5
            top, left = int(np.floor(v)), int(np.floor(u))
            level = min(int(pixels[y, x] * bins), bins - 1)
            for i, a in ((top, 1 - (v - top)), (top + 1, v - top)):
                for j, b in ((left, 1 - (u - left)), (left + 1, u - left)):
                    part = min(max(i, 0), tiles - 1), min(max(j, 0), tiles - 1)
                    out[y, x] += a * b * maps[part][level]
    return out


@pytest.mark.parametrize(("clip", "tiles", "bins"), [(0.01, 4, 64), (0.05, 2, 32), (1.0, 3, 16), (0.002, 4, 64)])
def test_clahe_is_its_definition(clip: float, tiles: int, bins: int) -> None:
    pixels = image(48, 36).data[0].double().numpy()
    np.testing.assert_allclose(clahe(pixels, clip, tiles, bins), slow_clahe(pixels, clip, tiles, bins), atol=1e-5)


def test_clahe_is_near_scikit_images(real_data: Path) -> None:
    exposure = pytest.importorskip("skimage.exposure")
    for path in sorted((real_data / "cxr_hannover24/png").glob("*.png"))[:4]:
        data = resize(modality.load(path).data, (224, 224))[0].clamp(0, 1).numpy()
        ours, theirs = clahe(data / data.max()), exposure.equalize_adapthist(data / data.max())
        # It rescales to the image's own range before, rounds to 14 bits, and ends at its maximum; the pattern agrees.
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98
        assert np.abs(ours - theirs).mean() < 0.05
        assert ours.std() > 1.15 * data.std(), "contrast grows"


def test_mappings_keep_order_and_ends() -> None:
    counts = np.random.default_rng(0).integers(0, 50, (5, 32))
    for clip in (1e-6, 0.02, 0.05, 1.0):
        maps = mappings(counts, clip)
        assert (np.diff(maps, axis=1) >= -1e-6).all()
        np.testing.assert_allclose(maps[:, -1], 1.0, atol=1e-5)
    identity = np.arange(1, 33) / 32
    np.testing.assert_allclose(mappings(counts, 1 / 32), np.tile(identity, (5, 1)), atol=0.04)
    np.testing.assert_allclose(mappings(counts, 1.0), counts.cumsum(1) / counts.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "size", "expected"),
    [((2000, 1000), (224, 224), (224, 112)), ((50, 100), (64, 64), (32, 64)), ((7, 700), (64, 64), (1, 64))],
)
def test_sizes_that_fit(given: tuple[int, int], size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted_size(*given, size) == expected


def test_aspect() -> None:
    ones = Signal(torch.ones(1, 100, 50))
    padded = process(size=64, constants="none")(ones)["values"]
    assert padded.shape == (1, 64, 64)
    torch.testing.assert_close(padded[0, :, 16:48], torch.ones(64, 32))
    assert float(padded[0, :, :16].max()) == float(padded[0, :, 48:].max()) == 0
    stretched = process(size=(64, 32), constants="none", aspect="stretch")(ones)["values"]
    torch.testing.assert_close(stretched, torch.ones(1, 64, 32))


def test_images_are_shrunk_once_before_augmentations() -> None:
    large = image(400, 300)
    built = process(size=64, reserve=2, constants="none")
    prepared = built.prepare(large)
    assert prepared.data.shape == (1, 128, 96)
    assert built.prepare(prepared) is prepared
    assert torch.equal(built(prepared)["values"], built(large)["values"])
    assert prepared.channels == large.channels
    stretched = process(size=(64, 32), reserve=1, aspect="stretch").prepare(large)
    assert stretched.data.shape == (1, 64, 48)
    assert torch.equal(process(size=64).prepare(image(30, 20)).data, image(30, 20).data), "never enlarged"
    assert built.prepare_parameters() != process(size=64, reserve=3).prepare_parameters()
    other = process(size=32, reserve=1).prepare(prepared)
    assert other.data.shape == (1, 32, 24), "what another processing prepared is prepared again"


def test_shrinking_is_antialiased_and_growing_is_not() -> None:
    stripes = torch.zeros(1, 128, 128)
    stripes[..., ::2] = 1
    assert float(resize(stripes, (32, 32)).sub(0.5).abs().max()) < 0.1
    ramp = torch.linspace(0, 1, 16).expand(1, 16, 16)
    grown = resize(ramp, (16, 32))
    assert float(grown.diff(dim=2).min()) >= 0
    assert resize(ramp, (16, 16)) is ramp


def test_constants() -> None:
    signals = [image(seed=s) for s in range(3)]
    fitted = process(size=32).fit(signals)
    pixels = torch.cat([fitted.image(s).reshape(-1) for s in signals])
    assert fitted.mean[0] == pytest.approx(float(pixels.mean()), rel=1e-4)
    assert fitted.std[0] == pytest.approx(float(pixels.std()), rel=1e-3)
    values = torch.stack([fitted(s)["values"][:, :, 6:25] for s in signals])
    assert abs(float(values.mean())) < 0.01
    raw = process(size=32, constants="none").fit(signals)
    assert raw.mean is None
    more = process(size=32, constants="more").fit(signals)
    torch.testing.assert_close(more(signals[0])["values"], (raw(signals[0])["values"] - 0.499) / 0.293)
    own = process(size=32, channels=3, mean=[0.4, 0.5, 0.6], std=0.25).fit(signals)
    expected = (raw(signals[0])["values"] - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / 0.25
    torch.testing.assert_close(own(signals[0])["values"], expected)
    with pytest.raises(ReadError, match="no training image"):
        process().fit([])


def test_clahe_leaves_padding_alone() -> None:
    tall = image(80, 40)
    values = process(size=32, clahe=True, constants="none", tiles=4)(tall)["values"]
    assert float(values[0, :, :8].abs().max()) == 0
    plain = process(size=32, constants="none")(tall)["values"]
    assert float(values[0, :, 8:24].std()) > float(plain[0, :, 8:24].std())


def test_batches() -> None:
    one, two = process(size=32)(image()), process(size=32)(image(30, 90))
    assert process(size=32).collate([one, two])["values"].shape == (2, 1, 32, 32)
    with pytest.raises(ModelError, match="has items of"):
        process(size=32).collate([one, process(size=64)(image())])
    with pytest.raises(ReadError, match=r"\(1, H, W\)"):
        process()(Signal(torch.zeros(3, 20, 20)))


def test_an_encoders_own_constants_reach_the_processing() -> None:
    tiny = {
        "model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    encoder = modality.build_encoder("vit", hf_config=tiny)
    encoder._preprocessor = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    built = process(**encoder.processing_defaults())
    assert (built.size, built.channels, built.mean, built.std) == ((32, 32), 3, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    batch = built.collate([built(image())])
    assert encoder(**batch).pooled.shape == (1, 8)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": 4}, "size"),
        ({"size": [224]}, "size"),
        ({"aspect": "crop"}, "aspect"),
        ({"channels": 2}, "channels"),
        ({"mean": 0.5}, "go together"),
        ({"mean": [0.5, 0.5], "std": [1, 1]}, "2 values for 1 channels"),
        ({"mean": 0.5, "std": 0}, "above 0"),
        ({"clip": 0}, "clip"),
        ({"tiles": 0}, "tiles"),
        ({"constants": "imagenet"}, "constants"),
        ({"rate": 100}, "rate"),
    ],
)
def test_parameters_that_are_wrong(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        process(**parameters)


def test_summary_features() -> None:
    features: Any = modality.summary_features(modality.load(picture()))
    assert features.shape == (48 * 48,)
    np.testing.assert_allclose(features.reshape(48, 48), picture() / 255, atol=1e-6)
