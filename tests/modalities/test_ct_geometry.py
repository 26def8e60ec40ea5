"""Affines, spacing, tilt and the repair of sheared stacks, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from modalign.modalities.ct import geometry
from tests.modalities.ct_files import AXIAL, SPACING, affine_ras, blob, places, ramp, scan, tilted

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def test_measure_sorts_and_measures() -> None:
    order = [4, 0, 3, 1, 2]
    stack = geometry.measure(places(5)[order], np.array(AXIAL))
    assert [order[i] for i in stack.order] == [0, 1, 2, 3, 4]
    assert stack.distances.tolist() == pytest.approx([2.0] * 4)
    assert (stack.tilt, stack.drift) == (pytest.approx(0), pytest.approx(0))


@pytest.mark.parametrize("degrees", [0.5, 5.0, 18.5, 29.0])
def test_tilt_is_the_angle_of_the_normal_to_the_line_of_positions(degrees: float) -> None:
    stack = geometry.measure(places(), np.array(tilted(degrees)))
    assert stack.tilt == pytest.approx(degrees, abs=1e-6)
    assert stack.distances[0] == pytest.approx(2.0 * np.cos(np.deg2rad(degrees)))


def test_gaps_are_told_from_uneven_spacing() -> None:
    assert geometry.missing(np.array([2.0, 2.0, 4.0, 2.0, 6.001])) == [(2, 1), (4, 2)]
    assert geometry.missing(np.array([2.0, 2.0, 3.0, 2.0])) == []
    assert geometry.uneven(np.array([2.0, 2.0, 3.0, 2.0])) == [2]
    assert geometry.uneven(np.array([2.0, 2.015, 1.99])) == []
    assert geometry.uneven(np.zeros(0)) == []


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, tilted(10)])
def test_affine(orientation: tuple[float, ...]) -> None:
    normal = geometry.normal_of(np.array(orientation))
    positions = places(5, 2.0 * normal)
    affine = geometry.affine_of(positions[0], positions[-1], 5, np.array(orientation), np.array(SPACING), 9.0)
    np.testing.assert_allclose(affine, affine_ras(positions, orientation), atol=1e-12)
    assert geometry.spacing_of(affine) == pytest.approx((SPACING[1], SPACING[0], 2.0))
    assert geometry.shear_of(affine) == pytest.approx((0, 0), abs=1e-5)
    assert geometry.problem_of(affine) == ""
    one = geometry.affine_of(positions[0], positions[0], 1, np.array(orientation), np.array(SPACING), 9.0)
    assert geometry.spacing_of(one)[2] == pytest.approx(9.0)


@pytest.mark.parametrize("code", ["RAS", "LPS", "LAS", "SPL", "IRP", "PSR"])
def test_reorientation_moves_no_voxel(code: str) -> None:
    data = np.random.default_rng(0).normal(size=(3, 4, 5))
    affine = geometry.from_code(code, (1, 2, 3))
    affine[:3, 3] = [7, -8, 9]
    assert geometry.axes_code(affine) == code
    moved, to = geometry.to_ras(data, affine)
    assert geometry.axes_code(to) == "RAS"
    for index in [(0, 0, 0), (2, 3, 4), (1, 2, 3)]:
        place = np.linalg.solve(to, affine @ np.array([*index, 1.0]))[:3]
        assert moved[tuple(np.round(place).astype(int))] == data[index]
        np.testing.assert_allclose(place, np.round(place), atol=1e-9)


def test_nearly_diagonal_volumes_have_one_answer() -> None:
    turn = np.eye(4)
    turn[:3, :3] = [[0.70710678, 0.70710678, 0], [-0.70710678, 0.70710678, 0], [0, 0, 1]]
    assert sorted(geometry.nearest_axes(turn)[0]) == [0, 1, 2]


@pytest.mark.parametrize("code", ["RAX", "RRS", "RA", "", "RASL"])
def test_wrong_codes(code: str) -> None:
    with pytest.raises(ValueError, match="one of each"):
        geometry.from_code(code, (1, 1, 1))


@pytest.mark.parametrize("orientation", [(1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 0)])
def test_wrong_orientations(orientation: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="right angles"):
        geometry.normal_of(np.array(orientation, dtype=float))


@pytest.mark.parametrize(
    ("affine", "match"),
    [
        (np.diag([np.nan, 1, 1, 1]), "NaN"),
        (np.diag([0.0, 1, 1, 1]), "singular"),
        (np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
        (np.diag([200.0, 1, 1, 1]), "not that of a CT"),
        (np.diag([1e-3, 1e-3, 1e-3, 1]), "not that of a CT"),
    ],
)
def test_useless_affines(affine: np.ndarray, match: str) -> None:
    assert match in geometry.problem_of(affine)


UNEVEN = np.array([[0, 0, 0], [0, 0, 4.2], [0, 0, 5.3], [0, 0, 12.7], [0, 0, 20.1]], dtype=float)


@pytest.mark.parametrize("orientation", [tilted(18.5), tilted(-25), AXIAL])
@pytest.mark.parametrize("positions", [places(), UNEVEN, places(step=(0.7, -0.4, 2.0))])
def test_a_linear_phantom_is_put_in_its_true_place(orientation: tuple[float, ...], positions: np.ndarray) -> None:
    """Linear interpolation is exact on a linear function, so every voxel that slices cover says its own place."""
    made, affine = geometry.unshear(
        scan(ramp, positions, orientation), positions, np.array(orientation), np.array(SPACING[::-1])
    )
    assert geometry.shear_of(affine) == pytest.approx((0, 0), abs=1e-5)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in made.shape], indexing="ij"), -1)
    expected = ramp(index @ affine[:3, :3].T + affine[:3, 3])
    inside = covered(made, positions, orientation, affine)
    assert inside.mean() > 0.25
    np.testing.assert_allclose(made[inside], expected[inside], atol=2e-4)


def covered(made: np.ndarray, positions: np.ndarray, orientation: tuple[float, ...], affine: np.ndarray) -> np.ndarray:
    """Voxels whose two neighbouring slices both lie under them."""
    along, down = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(along, down)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in made.shape], indexing="ij"), -1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    heights = (positions - positions[0]) @ normal
    height = (points - positions[0]) @ normal
    after = np.clip(np.searchsorted(heights, height - 1e-6), 1, len(heights) - 1)
    inside = np.ones(made.shape, dtype=bool)
    for side in (after - 1, after):
        offset = points - positions[side]
        for direction, length in ((along, 13 * SPACING[1]), (down, 11 * SPACING[0])):
            inside &= (offset @ direction > -1e-6) & (offset @ direction < length + 1e-6)
    return inside


def test_a_smooth_phantom_under_a_tilt() -> None:
    """A ball of 1,100 HU whose slope reaches 130 HU/mm: under 40 HU off everywhere (interpolation), and round."""
    orientation, positions = tilted(18.5), places(12, (0, 0, 1.0))
    made, affine = geometry.unshear(
        scan(blob, positions, orientation), positions, np.array(orientation), np.array(SPACING[::-1])
    )
    index = np.stack(np.meshgrid(*[np.arange(n) for n in made.shape], indexing="ij"), -1)
    expected = blob(index @ affine[:3, :3].T + affine[:3, 3])
    inside = covered(made, positions, orientation, affine)
    assert np.abs(made - expected)[inside].max() < 40
    sheared = scan(blob, positions, orientation)
    upright = scan(blob, positions)
    assert np.abs(sheared - upright).max() > 300, "the phantom would show a tilt that is not undone"
