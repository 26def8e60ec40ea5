"""Windows, resampling, foreground, shapes, slices and augmentations, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from modalign.errors import ModelError, ReadError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.base import Signal
from modalign.modalities.ct.augment import AUGMENTATIONS, Affine, Flip
from modalign.modalities.ct.processing import CtProcessing
from modalign.modalities.ct.resample import foreground, resample, weights
from modalign.modalities.ct.summary import features
from modalign.modalities.ct.windows import WINDOWS, apply_window, parse_window

modality = get_modality("ct")


def signal(shape: tuple[int, int, int] = (8, 10, 12), spacing: Any = (1.0, 1.0, 2.0), unit: str = "HU") -> Signal:
    """HU that say their own index: 100 x + 10 y + z - 500."""
    x, y, z = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij")
    affine = None if spacing is None else tuple(map(tuple, np.diag([*spacing, 1.0]).tolist()))
    meta = {"spacing": spacing, "affine": affine, "unit": unit}
    return Signal((100 * x + 10 * y + z - 500)[None], None, ("HU",), meta)


def affine_of(result: Signal) -> np.ndarray:
    return np.array(result.meta["affine"])


def test_windows_are_dicoms_linear_function() -> None:
    hu = torch.tensor([40.0, -160.0, 240.0, 0.0], dtype=torch.float64)
    out = apply_window(hu, WINDOWS["chest"]).tolist()
    assert out == pytest.approx([0.501253, 0, 1, (0 - 39.5) / 399 + 0.5], abs=1e-6)
    said = {name: f"{w.level:g}/{w.width:g}" for name, w in WINDOWS.items()}
    assert said == {
        "lung": "-400/1500", "chest": "40/400", "abdomen": "60/400", "bone": "300/1500", "brain": "40/80",
        "angio": "300/600",
    }  # fmt: skip
    assert parse_window(" Lung ") == WINDOWS["lung"]
    assert parse_window("-50/350") == (-50, 350)


def test_windows_are_channels_in_their_order() -> None:
    given = signal()
    values = CtProcessing(windows="bone, 40/400", channels=2)(given)["values"]
    assert values.shape == (2, 12, 10, 8)
    seen = given.data[0].flip(0, 1).permute(2, 1, 0)
    torch.testing.assert_close(values[0], apply_window(seen, WINDOWS["bone"]))
    torch.testing.assert_close(values[1], apply_window(seen, WINDOWS["chest"]))


def test_values_lie_as_a_reader_sees_them() -> None:
    """Slice 0 is the lowest, row 0 the front (largest y), column 0 the patient's right (largest x)."""
    values = CtProcessing(range=(-500, 1000))(signal())["values"][0]
    assert values[0, 0, 0] == pytest.approx((100 * 7 + 10 * 9) / 1500)
    assert values[3, 2, 1] == pytest.approx((100 * 6 + 10 * 7 + 3) / 1500)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"windows": ["lungs"]}, "did you mean 'lung'"), ({"windows": "40/400/2"}, "level/width"),
        ({"windows": "40/1"}, "above 1"), ({"windows": []}, "no window"),
        ({"windows": ["lung"], "range": [0, 1]}, "give one"), ({"range": [1, 0]}, "low to high"),
        ({"windows": ["lung", "bone"]}, "encoder of 1 channels"), ({"channels": 2}, "none named"),
        ({"shape": [4, 4]}, "slices, rows, columns"), ({"mode": "slices", "shape": [4, 4, 4]}, "rows, columns"),
        ({"slices": 4}, "mode = slices"), ({"spacing": "1, 2"}, "spacing"), ({"spacing": 0}, "0.05 to 100"),
        ({"sizing": "resize"}, "needs a shape"), ({"mean": [0.1, 0.2]}, "mean is 1 numbers"), ({"std": [0]}, "std is"),
        ({"sizing": "resize", "shape": [4, 4, 4], "larger": "random"}, "larger"), ({"wndows": 1}, "not a key"),
    ],
)  # fmt: skip
def test_wrong_parameters(bad: dict[str, Any], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        modality.build_processing(**bad)


@pytest.mark.parametrize(
    ("length", "spacing", "target"), [(10, 1.0, 2.0), (10, 2.0, 1.0), (7, 1.0, 1.3), (1, 5.0, 2.0)]
)
def test_resampling_weights(length: int, spacing: float, target: float) -> None:
    matrix, first = weights(length, spacing, target)
    torch.testing.assert_close(matrix.sum(1), torch.ones(len(matrix), dtype=torch.float64))
    places = first + torch.arange(len(matrix), dtype=torch.float64) * target
    middle = (places[0] + places[-1]) / 2
    assert middle == pytest.approx((length - 1) * spacing / 2), "the volume's middle stays"
    inside = (places >= max(target, spacing)) & (places <= (length - 1) * spacing - max(target, spacing))
    line = matrix @ (torch.arange(length, dtype=torch.float64) * spacing)
    if target <= spacing or target / spacing == round(target / spacing):
        torch.testing.assert_close(line[inside], places[inside])  # a symmetric kernel keeps a straight line


def test_resampling_keeps_places_and_does_not_alias() -> None:
    given = signal((16, 16, 16), (1.0, 1.0, 1.0))
    data, affine = resample(given.data, (1, 1, 1), (2.0, 1, 0.5), affine_of(given))
    assert data.shape == (1, 8, 16, 32)
    assert affine is not None
    for index in [(3, 5, 9), (4, 8, 20)]:
        place = affine @ np.array([*index, 1.0])
        assert data[0][index] == pytest.approx(float(np.dot(place[:3], [100, 10, 1])) - 500, abs=0.01)
    stripes = torch.tensor([1.0, -1.0]).repeat(18)[None, :, None, None].expand(1, 36, 2, 2)
    for target in (3, 4):
        assert resample(stripes, (1, 1, 1), (target, 1, 1))[0][:, 1:-1].abs().max() < 0.12


def test_prepare_is_idempotent_and_keeps_places() -> None:
    given = signal((16, 16, 10))
    process = CtProcessing(spacing=1.5, foreground=600, margin=1.5)
    once = process.prepare(given)
    assert process.prepare(once) is once
    assert once.meta["spacing"] == (1.5, 1.5, 1.5)
    whole = CtProcessing(spacing=1.5).prepare(given)
    first = np.round(np.linalg.solve(affine_of(whole), affine_of(once)[:, 3])[:3]).astype(int)
    box = tuple(slice(f, f + n) for f, n in zip(first, once.data.shape[1:]))
    assert torch.equal(once.data[0], whole.data[0][box])
    assert once.data[0].numel() < whole.data[0].numel()
    torch.testing.assert_close(process(given)["values"], process(once)["values"])
    other = CtProcessing(spacing=3.0)
    assert other.prepare(once).meta["spacing"] == (3.0, 3.0, 3.0), "prepared otherwise is prepared again"


def test_foreground_box() -> None:
    data = torch.full((1, 8, 9, 10), -1000.0)
    data[0, 3, 4:6, 7] = 50
    assert foreground(data, -500, (1, 0, 5)) == (slice(2, 5), slice(4, 6), slice(2, 10))
    assert foreground(data, 100, (1, 1, 1)) is None
    kept = CtProcessing(foreground=100).prepare(Signal(data, None, ("HU",), {}))
    assert kept.data.shape == data.shape


def test_shapes_are_cut_about_the_centre_and_padded_with_air() -> None:
    process = CtProcessing(range=(-1024, 976), shape=(6, 14, 8))
    values = process(signal())["values"][0]
    assert values.shape == (6, 14, 8)
    assert not values[:, :2].any()
    assert not values[:, -2:].any()
    torch.testing.assert_close(values[:, 2:-2], CtProcessing(range=(-1024, 976))(signal())["values"][0, 3:9])
    notes = " ".join(process.notes())
    assert "1 of 1 volumes are larger" in notes
    assert "padded with air" in notes


def test_random_parts_in_training_and_covering_parts_at_inference() -> None:
    process = CtProcessing(range=(-500, 1000), shape=(4, 10, 3), larger="random")
    given = signal()
    draws = [process.crop(given, torch.Generator().manual_seed(seed)).data for seed in range(40)]
    assert {tuple(d.shape) for d in draws} == {(1, 3, 10, 4)}
    assert torch.equal(draws[7], process.crop(given, torch.Generator().manual_seed(7)).data)
    starts = {int((d[0, 0, 0, 0] + 500) % 10) + 100 * int((d[0, 0, 0, 0] + 500) // 100) for d in draws}
    assert len(starts) > 20
    seen = torch.cat([part.data.reshape(-1) for part in process.segments(given)])
    assert set(seen.tolist()) == set(given.data.reshape(-1).tolist()), "the parts cover the volume"
    assert len(process.segments(given)) == 9
    assert process(process.segments(given)[0])["values"].shape == (1, 4, 10, 3)
    centre = CtProcessing(range=(-500, 1000), shape=(4, 10, 3))
    assert len(centre.segments(given)) == 1


def test_resizing() -> None:
    process = CtProcessing(range=(-500, 1000), shape=(6, 5, 4), sizing="resize")
    ready = process.prepare(signal())
    assert ready.data.shape == (1, 4, 5, 6)
    assert ready.meta["spacing"] == (2.0, 2.0, 4.0)
    values = process(signal())["values"]
    assert values.shape == (1, 6, 5, 4)
    assert torch.equal(values, process(ready)["values"])
    assert float(values[0, 2, 2, 1]) == pytest.approx((100 * 4.5 + 10 * 4.5 + 4.5) / 1500, abs=1e-4)
    unknown = CtProcessing(range=(0, 255), shape=(6, 5, 4), sizing="resize").prepare(signal(spacing=None))
    assert unknown.meta["spacing"] is None
    assert unknown.data.shape == (1, 4, 5, 6)


@pytest.mark.parametrize(
    ("slices", "step", "expected"), [(None, 1, 12), (4, 1, 4), (None, 5, 3), (2, 3, 2), (50, 1, 12)]
)
def test_slices(slices: int | None, step: int, expected: int) -> None:
    process = CtProcessing(mode="slices", range=(-500, 1000), slices=slices, step=step)
    out = process(signal())
    assert out["values"].shape == (expected, 1, 10, 8)
    assert out["mask"].all()
    kept = process.chosen(12)
    assert kept == sorted(set(kept))
    whole = CtProcessing(range=(-500, 1000))(signal())["values"]
    assert torch.equal(out["values"][:, 0], whole[0, kept])


def test_slices_are_padded_in_a_batch() -> None:
    process = CtProcessing(mode="slices", channels=3, shape=(6, 6), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    items = [process(signal((8, 10, n))) for n in (3, 7)]
    batch = process.collate(items)
    assert batch["values"].shape == (2, 7, 3, 6, 6)
    assert batch["mask"].sum(1).tolist() == [3, 7]
    assert not batch["values"][0, 3:].any()
    plain = CtProcessing(mode="slices", channels=3, shape=(6, 6))(signal((8, 10, 3)))["values"]
    torch.testing.assert_close(items[0]["values"], (plain - 0.5) / 0.2)


def test_what_cannot_be_processed() -> None:
    with pytest.raises(ModelError, match=r"sizes 7 x 10 x 8 and 12 x 10 x 8; set processing\.shape"):
        CtProcessing().collate([CtProcessing()(signal((8, 10, n))) for n in (12, 7)])
    with pytest.raises(ReadError, match=r"no Hounsfield units .* set processing\.range"):
        CtProcessing()(signal(unit="none"))
    with pytest.raises(ReadError, match=r"processing\.spacing is set"):
        CtProcessing(spacing=1)(signal(spacing=None))
    assert CtProcessing(range=(0, 255), channels=2)(signal(unit="none", spacing=None))["values"].shape[0] == 2


def test_flip_mirrors_and_says_so() -> None:
    given = signal()
    for axis, number in zip("xyz", (1, 2, 3)):
        flipped = Flip(axis=axis).apply(given, torch.Generator())
        assert torch.equal(flipped.data, given.data.flip(number))
    assert "laterality" in Flip.breaks
    assert "amplitude" in AUGMENTATIONS["intensity"].breaks


def test_affine_turns_about_the_centre_and_keeps_size() -> None:
    """A ball off the centre moves as far as the angle says, in mm, though voxels are no cubes."""
    shape, spacing = (40, 40, 20), (1.0, 1.0, 2.0)
    x, y, z = torch.meshgrid(*[(torch.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing)], indexing="ij")
    ball = Signal(torch.exp(-((x - 10) ** 2 + y**2 + z**2) / 18)[None] * 1000, None, ("HU",), {"spacing": spacing})
    same = Affine(degrees=0, shift=0).apply(ball, torch.Generator().manual_seed(0))
    torch.testing.assert_close(same.data, ball.data, atol=1e-2, rtol=0)
    moved = Affine(degrees=30, shift=0).apply(ball, torch.Generator().manual_seed(3)).data[0]
    mass = moved.sum()
    assert mass == pytest.approx(float(ball.data.sum()), rel=0.02)
    centre = torch.stack([(moved * c).sum() / mass for c in (x, y, z)])
    assert centre.norm() == pytest.approx(10, abs=0.3), "a rotation keeps distances in mm"
    assert centre[1:].norm() > 0.5
    shifted = Affine(degrees=0, shift=4).apply(ball, torch.Generator().manual_seed(3)).data[0]
    far = torch.stack([(shifted * c).sum() / shifted.sum() for c in (x, y, z)]) - torch.tensor([10.0, 0, 0])
    assert 0.1 < far.abs().max() <= 4.2


def test_hand_features() -> None:
    shape = torch.zeros(1, 16, 16, 16)
    shape[0, 2:6, 3:5, 8:] = 255
    made = features(Signal(shape, None, ("value",), {"unit": "none", "spacing": None}))
    assert made.shape == (20 + 512,)
    assert made[:10].sum() == pytest.approx(1)
    assert made[10] == 4 * 2 * 8
    assert made[12:15].tolist() == [4, 2, 8]
    doubled = features(Signal(shape, None, ("value",), {"unit": "none", "spacing": (2.0, 1.0, 1.0)}))
    assert doubled[10] == 2 * made[10]
    assert np.isfinite(features(signal())).all()
    assert features(signal((3, 4, 1))).shape == made.shape
