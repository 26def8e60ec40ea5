"""Resampling volumes along their axes to a spacing in mm, and bringing them to a shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from modalign.modalities.ct.geometry import Floats


def weights(length: int, spacing: float, target: float) -> tuple[Tensor, float]:
    """The matrix (n, length) of linear interpolation along one axis, and where its first voxel lies (mm).

    The outer borders of the volume stay about where they are (to half a new voxel each side). Where it shrinks, the
    kernel widens with it, so that fine structure does not fold over. At the borders the weights sum to 1 too.

    Example:
        >>> matrix, first = weights(4, 1.0, 2.0)
        >>> matrix.shape, first
        (torch.Size([2, 4]), 0.5)
    """
    count = max(1, round(length * spacing / target))
    first = (length * spacing - count * target) / 2 + target / 2 - spacing / 2
    places = (first + torch.arange(count, dtype=torch.float64) * target) / spacing
    reach = max(1.0, target / spacing)
    apart = (places.unsqueeze(1) - torch.arange(length, dtype=torch.float64)).abs()
    # A place outside of the outermost voxels takes the outermost.
    kernel = (1 - apart / reach).clamp_min(0)
    lost = kernel.sum(1) <= 0
    kernel[lost, apart[lost].argmin(1)] = 1
    return kernel / kernel.sum(1, keepdim=True), first


def resample(
    data: Tensor, spacing: Sequence[float], target: Sequence[float], affine: Floats | None = None
) -> tuple[Tensor, Floats | None]:
    """(1, X, Y, Z) from one spacing to another (mm), trilinear, antialiased where it shrinks; the affine follows.

    Example:
        >>> resample(torch.zeros(1, 4, 4, 3), (1, 1, 5), (2, 2, 2))[0].shape
        torch.Size([1, 2, 2, 8])
    """
    moved = None if affine is None else affine.copy()
    for axis in range(3):
        if abs(spacing[axis] / target[axis] - 1) < 1e-4:
            continue
        matrix, first = weights(data.shape[axis + 1], spacing[axis], target[axis])
        data = torch.movedim(torch.movedim(data, axis + 1, -1) @ matrix.T.to(data), -1, axis + 1)
        if moved is not None:
            direction = moved[:3, axis] / spacing[axis]
            moved[:3, 3] += direction * first
            moved[:3, axis] = direction * target[axis]
    return data.contiguous(), moved


def foreground(data: Tensor, threshold: float, margin: Sequence[int]) -> tuple[slice, slice, slice] | None:
    """The box about all voxels of (1, X, Y, Z) above a threshold, with a margin in voxels; None for none."""
    above = data[0] > threshold
    if not bool(above.any()):
        return None
    box = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        there = np.flatnonzero(above.amax(others).numpy())
        first = max(int(there[0]) - margin[axis], 0)
        box.append(slice(first, min(int(there[-1]) + 1 + margin[axis], above.shape[axis])))
    return box[0], box[1], box[2]


def centred(length: int, wanted: int) -> int:
    """Where a part of `wanted` about the middle begins; negative where it begins before the volume.

    Example:
        >>> centred(10, 4), centred(4, 10)
        (3, -3)
    """
    return (length - wanted) // 2


def cut(data: Tensor, first: Sequence[int], shape: Sequence[int], fill: float) -> Tensor:
    """The part of (C, X, Y, Z) that begins at `first`; where that is outside, `fill`."""
    size = data.shape[1:]
    inside = tuple(slice(max(f, 0), min(f + n, s)) for f, n, s in zip(first, shape, size))
    part = data[(slice(None), *inside)]
    if part.shape[1:] == tuple(shape):
        return part
    out = data.new_full((data.shape[0], *shape), fill)
    place = tuple(slice(i.start - f, i.start - f + p) for i, f, p in zip(inside, first, part.shape[1:]))
    out[(slice(None), *place)] = part
    return out
