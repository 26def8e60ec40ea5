"""CLAHE: contrast-limited adaptive histogram equalisation (Zuiderveld 1994), on the CPU, deterministic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def clahe(image: Array, clip: float = 0.01, tiles: int = 8, bins: int = 256) -> Array:
    """Equalise each part of an image by its own histogram, and blend between the parts.

    The image is cut into tiles x tiles parts (mirrored at its lower and right ends so that all are equal). In each,
    counts above the limit are cut off and spread over all bins, in passes as scikit-image does, so that flat regions
    are not blown up. A pixel takes the mean of its four nearest parts' mappings, weighted by distance.

    Args:
        image: (H, W) in [0, 1].
        clip: the limit, as a share of a part's pixels in one bin (scikit-image's `clip_limit`; MoRE: 0.01). A limit
            of 1 clips nothing; 1 / bins flattens every mapping to the identity.
        tiles: parts a side.
        bins: of the histograms.

    Returns:
        (H, W) float32 in [0, 1].

    Example:
        >>> float(clahe(np.tile(np.linspace(0.4, 0.6, 64), (64, 1))).std()) > 0.059
        True
    """
    height, width = image.shape
    rows, columns = -(-height // tiles), -(-width // tiles)
    padded = np.pad(image, ((0, rows * tiles - height), (0, columns * tiles - width)), mode="symmetric")
    levels = np.minimum((padded * bins).astype(np.int64), bins - 1)
    parts = levels.reshape(tiles, rows, tiles, columns).transpose(0, 2, 1, 3).reshape(tiles * tiles, -1)
    offset = np.arange(tiles * tiles)[:, None] * bins
    counts = np.bincount((parts + offset).reshape(-1), minlength=tiles * tiles * bins).reshape(-1, bins)
    maps = mappings(counts, clip).reshape(tiles, tiles, bins)
    top, bottom, down = _neighbours(height, rows, tiles)
    left, right, across = _neighbours(width, columns, tiles)
    level = levels[:height, :width]
    down, across = down[:, None], across[None, :]
    upper = maps[top[:, None], left, level] * (1 - across) + maps[top[:, None], right, level] * across
    lower = maps[bottom[:, None], left, level] * (1 - across) + maps[bottom[:, None], right, level] * across
    blended: Array = (upper * (1 - down) + lower * down).astype(np.float32)
    return blended


def mappings(counts: Array, clip: float) -> Array:
    """Histograms (N, bins) -> mappings of a level to [0, 1] (N, bins): the clipped histograms' running sums."""
    total = counts.sum(1, keepdims=True).astype(np.float64)
    limit = np.maximum(clip * total, 1.0)
    clipped = np.minimum(counts, limit)
    excess = total - clipped.sum(1, keepdims=True)
    for _ in range(counts.shape[1]):
        room = (clipped < limit).sum(1, keepdims=True)
        if not ((excess > 1e-9 * total) & (room > 0)).any():
            break
        share = np.where(room > 0, excess / np.maximum(room, 1), 0.0)
        raised = np.where(clipped < limit, np.minimum(clipped + share, limit), clipped)
        excess -= (raised - clipped).sum(1, keepdims=True)
        clipped = raised
    # Where the limit leaves no room (below one pixel in each bin on average), what is left is spread over all.
    sums = np.cumsum(clipped + excess / counts.shape[1], axis=1)
    mapped: Array = np.clip(sums / total, 0.0, 1.0).astype(np.float32)
    return mapped


def _neighbours(length: int, step: int, tiles: int) -> tuple[Array, Array, Array]:
    """For each pixel along an axis: the part before it, the one after it, and the weight of the latter."""
    place = (np.arange(length) + 0.5) / step - 0.5
    before = np.floor(place).astype(np.int64)
    weight = (place - before).astype(np.float32)
    return np.clip(before, 0, tiles - 1), np.clip(before + 1, 0, tiles - 1), weight
