"""Where voxels are: affines in RAS mm, the spacing and tilt of slices, orientation, and the repair of sheared stacks.

Pure functions in float64. An affine (4, 4) takes voxel indices (x, y, z, 1) to mm: right, anterior, superior.
DICOM and NRRD's "left-posterior-superior" count to the left and to the back, so their first two rows change sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AIR = -1024.0
"""HU outside of what was scanned."""
TILT_DEGREES = 0.1
"""Slices whose positions leave their common normal by more are sheared."""
SPACING_SHARE, SPACING_MM = 0.02, 0.02
"""A distance between slices may differ from the median by this share of it, or by this many mm."""
MOST_GROWTH, MOST_EXTRA = 20, 1 << 20
"""A repaired stack has at most so many times the voxels, and so many more."""
CODES = ("LR", "PA", "IS")
"""The letters of each axis of RAS mm, its negative direction first."""


@dataclass(frozen=True)
class Stack:
    """How slices lie on each other.

    Attributes:
        order: the slices by their position along the normal, ascending.
        distances: mm between neighbours along the normal, (n - 1,).
        tilt: degrees between the line of the positions and the normal.
        drift: mm, the largest distance of a position from the straight line through the first and the last.
    """

    order: tuple[int, ...]
    distances: Floats
    tilt: float
    drift: float


def normal_of(orientation: Floats) -> Floats:
    """The unit normal of slices whose rows and columns run along orientation (6,): the cosines of DICOM.

    Raises:
        ValueError: the directions are no unit vectors at right angles.

    Example:
        >>> normal_of(np.array([1.0, 0, 0, 0, 1, 0]))
        array([0., 0., 1.])
    """
    along, down = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(along), np.linalg.norm(down)
    # Files round their cosines to four digits or more.
    if not all(abs(length - 1) < 1e-3 for length in lengths) or abs(float(along @ down)) > 1e-3:
        raise ValueError(
            f"directions {_digits(along)} and {_digits(down)} are no unit vectors at right angles "
            f"(lengths {lengths[0]:.4g} and {lengths[1]:.4g}, product {float(along @ down):.3g})"
        )
    normal = np.cross(along, down)
    return np.asarray(normal / np.linalg.norm(normal) + 0.0)


def measure(positions: Floats, orientation: Floats) -> Stack:
    """Sort slices at positions (n, 3) along their normal, and measure distances, tilt and drift.

    Example:
        >>> stack = measure(np.array([[0.0, 0, 5], [0, 0, 0], [0, 0, 2.5]]), np.array([1.0, 0, 0, 0, 1, 0]))
        >>> stack.order, stack.distances.tolist(), stack.tilt
        ((1, 2, 0), [2.5, 2.5], 0.0)
    """
    normal = normal_of(orientation)
    along = positions @ normal
    order = tuple(int(i) for i in np.argsort(along, kind="stable"))
    ordered = positions[list(order)]
    if len(ordered) < 2:
        return Stack(order, np.zeros(0), 0.0, 0.0)
    axis = ordered[-1] - ordered[0]
    length = float(axis @ normal)
    if length <= 0:
        return Stack(order, np.diff(along[list(order)]), 0.0, 0.0)
    tilt = math.degrees(math.atan2(float(np.linalg.norm(axis - length * normal)), length))
    share = (along[list(order)] - along[order[0]]) / length
    drift = np.linalg.norm(ordered - (ordered[0] + share[:, None] * axis), axis=1).max()
    return Stack(order, np.diff(along[list(order)]), tilt, float(drift))


def uneven(distances: Floats) -> list[int]:
    """Which distances differ from their median by more than rounding."""
    if not len(distances):
        return []
    middle = float(np.median(distances))
    return [int(i) for i in np.flatnonzero(np.abs(distances - middle) > max(SPACING_SHARE * middle, SPACING_MM))]


def missing(distances: Floats) -> list[tuple[int, int]]:
    """(after which slice, how many) where slices are missing from an even stack; [] where it is uneven otherwise."""
    odd = uneven(distances)
    if not odd:
        return []
    middle = float(np.median(distances))
    if middle <= 0:
        return []
    steps = [(i, distances[i] / middle) for i in odd]
    whole = all(round(step) >= 2 and abs(step - round(step)) <= max(0.05, SPACING_MM / middle) for _, step in steps)
    return [(i, round(step) - 1) for i, step in steps] if whole else []


def affine_of(
    first: Floats, last: Floats, count: int, orientation: Floats, spacing: Floats, thickness: float
) -> Floats:
    """The RAS affine of an even stack in DICOM's coordinates.

    Args:
        first: the position of the first slice's first voxel (LPS mm).
        last: that of the last slice.
        count: how many slices there are.
        orientation: cosines along a row and along a column (6,).
        spacing: mm between rows and between columns, as PixelSpacing has them.
        thickness: mm between slices where there is one alone.

    Returns:
        (4, 4): index (column, row, slice) -> RAS mm. Sheared where the positions are.
    """
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * spacing[1]
    affine[:3, 1] = orientation[3:] * spacing[0]
    affine[:3, 2] = (last - first) / (count - 1) if count > 1 else normal_of(orientation) * thickness
    affine[:3, 3] = first
    return LPS_TO_RAS @ affine


def spacing_of(affine: Floats) -> tuple[float, float, float]:
    """mm between voxels along each axis.

    Example:
        >>> spacing_of(np.diag([-0.5, 0.5, 2.0, 1.0]))
        (0.5, 0.5, 2.0)
    """
    x, y, z = (float(n) for n in np.linalg.norm(affine[:3, :3], axis=0))
    return x, y, z


def shear_of(affine: Floats) -> tuple[float, float]:
    """Degrees by which x and y leave their right angle, and by which z leaves the normal of x and y."""
    x, y, z = (affine[:3, i] / np.linalg.norm(affine[:3, i]) for i in range(3))
    flat = abs(90 - math.degrees(math.acos(float(np.clip(x @ y, -1, 1)))))
    normal = np.cross(x, y)
    upright = float(np.linalg.norm(np.cross(normal, z)))
    return flat, math.degrees(math.atan2(upright, abs(float(normal @ z))))


def problem_of(affine: Floats) -> str:
    """What makes an affine useless, or "" where it is sound. A shear is no problem here: see `shear_of`."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return "its affine has NaN or infinite entries"
    spacing = spacing_of(affine)
    if min(spacing) <= 0 or abs(np.linalg.det(affine[:3, :3])) < 1e-9 * max(spacing) ** 3:
        return f"its affine is singular (spacing {_digits(np.array(spacing))} mm)"
    if min(spacing) < 0.005 or max(spacing) > 100:
        return f"its spacing of {_digits(np.array(spacing))} mm is not that of a CT"
    return ""


def axes_code(affine: Floats) -> str:
    """The nearest anatomical direction of each voxel axis, as in "RAS" or "LPS".

    Example:
        >>> axes_code(np.diag([-1.0, -1.0, 1.0, 1.0]))
        'LPS'
    """
    row, flip = nearest_axes(affine)
    return "".join(CODES[row[i]][0 if flip[i] else 1] for i in range(3))


def nearest_axes(affine: Floats) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """For each voxel axis, which axis of RAS it runs along most nearly, and whether against it.

    The assignment is one to one and has the largest sum of cosines, so that oblique volumes have one answer too.
    """
    from itertools import permutations

    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda p: round(sum(abs(directions[p[i], i]) for i in range(3)), 9))
    return best, tuple(bool(directions[best[i], i] < 0) for i in range(3))


def from_code(code: str, spacing: tuple[float, float, float]) -> Floats:
    """The affine of an array whose axes run along the letters of `code`; its origin is its first voxel.

    Raises:
        ValueError: the code does not name each direction once.

    Example:
        >>> from_code("SPL", (5, 1, 1))[:3, 0].tolist()
        [0.0, 0.0, 5.0]
    """
    letters = code.strip().upper()
    rows = [next((r for r, pair in enumerate(CODES) if letter in pair), -1) for letter in letters]
    if sorted(rows) != [0, 1, 2]:
        raise ValueError(f"{code!r} is not three of R/L, A/P, S/I, one of each; as in RAS, LPS or SPL (SimpleITK)")
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (row, letter) in enumerate(zip(rows, letters)):
        affine[row, axis] = spacing[axis] * (1 if CODES[row].index(letter) else -1)
    return affine


def to_ras(data: Array, affine: Floats) -> tuple[Array, Floats]:
    """Permute and flip (X, Y, Z) so that its axes run most nearly right, anterior, superior; no voxel is changed."""
    rows, flips = nearest_axes(affine)
    order = [rows.index(i) for i in range(3)]
    data = data.transpose(order)
    moved = affine.copy()
    moved[:, :3] = affine[:, order]
    for axis in range(3):
        if flips[order[axis]]:
            data = np.flip(data, axis)
            moved[:3, 3] += moved[:3, axis] * (data.shape[axis] - 1)
            moved[:, axis] = -moved[:, axis]
    return data, moved + 0.0


def unshear(
    slices: Array, positions: Floats, orientation: Floats, spacing: Floats, step: float | None = None
) -> tuple[Array, Floats]:
    """Put slices that are tilted, drifting or unevenly spaced on a regular grid, in their true places.

    Each slice is moved within its plane to where it was scanned (bilinear), on a canvas that holds all of them, then
    the stack is interpolated linearly along its normal. What no slice covers is air.

    Args:
        slices: (X, Y, n) HU, in the order of `positions`, ascending along the normal.
        positions: (n, 3) mm of each slice's first voxel, in any right-handed frame.
        orientation: cosines along x and along y (6,), in that frame.
        spacing: mm along x and along y.
        step: mm between the slices made; None: the median distance of those given.

    Returns:
        The volume (X', Y', Z'), and its affine in the frame of `positions`.

    Raises:
        ValueError: the positions are so far apart that no sensible grid holds them.

    Example:
        >>> volume, affine = unshear(np.zeros((4, 4, 2)), np.array([[0.0, 0, 0], [0, 1, 2]]),
        ...                          np.array([1.0, 0, 0, 0, 1, 0]), np.array([1.0, 1.0]))
        >>> volume.shape, affine[:3, 2].tolist()
        ((4, 5, 2), [0.0, 0.0, 2.0])
    """
    axes = np.stack([orientation[:3], orientation[3:], normal_of(orientation)])
    local = (positions - positions[0]) @ axes.T  # mm along x, y and the normal
    shift = local[:, :2] / spacing
    low = np.floor(shift.min(0) + 1e-6).astype(int)
    size = [slices.shape[i] + int(np.ceil(shift[:, i].max() - low[i] - 1e-6)) for i in range(2)]
    heights = local[:, 2]
    step = float(np.median(np.diff(heights))) if step is None else step
    count = math.floor((heights[-1] - heights[0]) / step + 1e-6) + 1
    if math.prod((*size, count)) > MOST_GROWTH * slices.size + MOST_EXTRA:
        raise ValueError(f"a grid that holds all slices would have {size[0]} x {size[1]} x {count} voxels")
    out = np.empty((*size, count), dtype=np.float32)
    held: dict[int, Array] = {}
    for k in range(count):
        at = min(heights[0] + k * step, heights[-1])
        j = int(np.clip(np.searchsorted(heights, at + 1e-9, side="right") - 1, 0, max(len(heights) - 2, 0)))
        if len(heights) == 1:
            out[..., k] = _placed(slices[..., 0], shift[0] - low, size)
            continue
        for i in (j, j + 1):
            if i not in held:
                held[i] = _placed(slices[..., i], shift[i] - low, size)
        for i in [i for i in held if i < j]:
            del held[i]
        part = (at - heights[j]) / (heights[j + 1] - heights[j])
        out[..., k] = held[j] * (1 - part) + held[j + 1] * part
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = axes[0] * spacing[0], axes[1] * spacing[1], axes[2] * step
    affine[:3, 3] = positions[0] + axes[0] * spacing[0] * low[0] + axes[1] * spacing[1] * low[1]
    return out, affine


def _placed(image: Array, shift: Floats, size: list[int]) -> Array:
    """The image (X, Y) on a canvas of air, its first voxel at the fractional index `shift` (>= 0)."""
    first = np.floor(shift + 1e-6).astype(int)
    part = np.clip(shift - first, 0, 1)
    part[part < 1e-6] = 0
    padded = np.full((image.shape[0] + 2, image.shape[1] + 2), AIR)
    padded[1:-1, 1:-1] = image
    x, y = part
    moved = (
        padded[1:, 1:] * (1 - x) * (1 - y)
        + padded[:-1, 1:] * x * (1 - y)
        + padded[1:, :-1] * (1 - x) * y
        + padded[:-1, :-1] * x * y
    )
    canvas = np.full(size, AIR)
    width, height = (min(moved.shape[i], size[i] - first[i]) for i in range(2))
    canvas[first[0] : first[0] + width, first[1] : first[1] + height] = moved[:width, :height]
    return canvas


def _digits(values: Floats) -> str:
    return "(" + ", ".join(f"{v:.4g}" for v in values) + ")"
