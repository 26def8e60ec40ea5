"""Relevance of volumes back to the voxels of the source."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modalign.modalities.ct.resample import centred
from modalign.modalities.spans import redistribute

Box = Sequence[int]


def as_stored(relevance: Tensor) -> Tensor:
    """(slices, rows, columns) as they are read -> (X, Y, Z) towards right, front and head."""
    return relevance.permute(2, 1, 0).flip(0, 1)


def uncut(relevance: Tensor, size: Box) -> Tensor:
    """Relevance (X, Y, Z) of what was cut or padded about the centre -> of `size`."""
    out = torch.zeros(tuple(size))
    inside, place = [], []
    for own, full in zip(relevance.shape, size):
        first = centred(full, own)
        place.append(slice(max(first, 0), min(first + own, full)))
        inside.append(slice(place[-1].start - first, place[-1].stop - first))
    out[tuple(place)] = relevance[tuple(inside)]
    return out


def to_source(relevance: Tensor, places: Sequence[tuple[float, float]], size: Box) -> Tensor:
    """Relevance (X, Y, Z) of a resampled and cut volume -> of the source's `size`.

    Args:
        relevance: of the prepared volume.
        places: along each axis, where its first voxel's middle lies among the source's voxels, and how many of them
            one of its own is wide.
        size: voxels of the source.
    """
    for axis, ((first, width), count) in enumerate(zip(places, size)):
        edges = first + 0.5 + width * (torch.arange(relevance.shape[axis] + 1, dtype=torch.float64) - 0.5)
        relevance = redistribute(relevance.movedim(axis, -1), edges, count).movedim(-1, axis)
    return relevance.contiguous()
