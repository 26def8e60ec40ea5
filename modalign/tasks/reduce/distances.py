"""Distances between slices: by a hash of 64 bits, by a model's features, and by mutual information."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.tasks.reduce.keeper import Distance

BINS = 32
"""Of grey values, for mutual information."""
SIDE = 128
"""Pixels of a side that mutual information is counted over, at most."""


class Kind(NamedTuple):
    """A distance by name.

    Attributes:
        of: what it compares -> the distance; slices (S, H, W), or features (S, D) where `needs_model`.
        threshold: the published one, or None where none is.
        unit: what its numbers are.
        needs_model: whether it compares a model's features.
    """

    of: Callable[[Tensor], Distance]
    threshold: float | None
    unit: str
    needs_model: bool = False


def to_grey(slices: Tensor) -> Tensor:
    """Slices (S, H, W) of any values -> whole numbers from 0 (each slice's least) to 255 (its largest), as floats."""
    low, high = slices.amin((1, 2), keepdim=True), slices.amax((1, 2), keepdim=True)
    return ((slices - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny) * 255).round()


def difference_hash(slices: Tensor) -> Tensor:
    """dHash of slices (S, H, W): (S, 64) bits, each whether a cell of 8 x 9 is darker than its neighbour to the right.

    Grey by each slice's own least and largest value, as the released code has it; cells are means over their area (the
    resampling of the released code is not stated).

    Example:
        >>> ramp = torch.arange(64.0).expand(1, 64, 64)
        >>> difference_hash(ramp).all().item(), difference_hash(-ramp).any().item()
        (True, False)
    """
    cells = F.adaptive_avg_pool2d(to_grey(slices.float())[:, None], (8, 9))[:, 0]
    cells = (cells * 16).round()  # so that rounding errors of a mean tell no neighbours apart
    return (cells[:, :, 1:] > cells[:, :, :-1]).flatten(1)


def by_hash(slices: Tensor) -> Distance:
    """How many of the 64 bits differ (Hamming)."""
    bits = difference_hash(slices)
    return lambda item, others: (bits[list(others)] ^ bits[item]).sum(1)


def by_features(features: Tensor) -> Distance:
    """1 - cosine of features (S, D)."""
    unit = F.normalize(features.double(), dim=1)
    return lambda item, others: 1 - unit[list(others)] @ unit[item]


def mutual_information(first: Tensor, second: Tensor, bins: int) -> float:
    """Normalised mutual information of two equally long rows of whole numbers below `bins`: 2 I / (H1 + H2), 0 to 1.

    Two rows that are constant tell nothing of each other: 1 if they are equal, else 0.

    Example:
        >>> a = torch.tensor([0, 0, 1, 1])
        >>> mutual_information(a, 1 - a, 2), mutual_information(a, torch.tensor([0, 1, 0, 1]), 2)
        (1.0, 0.0)
    """
    joint = torch.bincount(first * bins + second, minlength=bins * bins).double().view(bins, bins) / len(first)
    one, two, both = (_entropy(p) for p in (joint.sum(1), joint.sum(0), joint.flatten()))
    if one + two == 0:
        return float(torch.equal(first, second))
    return min(max(2 * (one + two - both) / (one + two), 0.0), 1.0)


def _entropy(shares: Tensor) -> float:
    return float(-torch.special.xlogy(shares, shares).sum())


def by_mutual_information(slices: Tensor) -> Distance:
    """1 - normalised mutual information, of grey values in 32 steps over the whole volume."""
    size = (min(slices.shape[1], SIDE), min(slices.shape[2], SIDE))
    small = F.adaptive_avg_pool2d(slices.float()[:, None], size).flatten(1)
    low, high = small.min(), small.max()
    width = (high - low).clamp_min(torch.finfo(torch.float32).tiny)
    codes = ((small - low) / width * BINS).long().clamp(0, BINS - 1)

    def distance(item: int, others: Sequence[int]) -> Tensor:
        return torch.tensor([1 - mutual_information(codes[item], codes[other], BINS) for other in others])

    return distance


DISTANCES: dict[str, Kind] = {
    "hash": Kind(by_hash, 6.0, "bits of 64"),
    "embedding": Kind(by_features, None, "1 - cosine, 0 to 2", needs_model=True),
    "mutual-information": Kind(by_mutual_information, None, "1 - normalised mutual information, 0 to 1"),
}
"""Name -> distance. "Hash-6" is published; of the two others the thresholds are not in the authors' repository."""
