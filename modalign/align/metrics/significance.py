"""Whether one model beats another by more than chance: paired permutation tests that swap whole groups."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.align.metrics.areas import mean_of_defined, weighted_areas
from modalign.align.metrics.intervals import units_of

Array = NDArray[Any]


@dataclass(frozen=True)
class Permutation:
    """A difference of two models and its two-sided p.

    Attributes:
        difference: the first model's figure less the second's.
        p: share of the swaps that make a difference as large, either way.
        exact: all 2^groups swaps were made; otherwise random ones, and p counts the observed one among them.
        groups: what was swapped.
    """

    difference: float
    p: float
    exact: bool
    groups: int

    @property
    def least(self) -> float:
        """The smallest p that so few groups can give."""
        return float(2.0 ** (1 - self.groups))


def group_swaps(groups: int, draws: int = 10_000, seed: int = 0) -> tuple[Array, bool]:
    """(D, groups) of 0 and 1: which groups keep their model; all 2^groups of them where there are no more than `draws`.

    Returns:
        The swaps, and whether they are all.
    """
    if groups < 60 and 2**groups <= draws:
        numbers = np.arange(2**groups)
        return ((numbers[:, None] >> np.arange(groups)) & 1).astype(float), True
    return np.random.default_rng(seed).integers(2, size=(draws, groups)).astype(float), False


def permutation_p(observed: float, differences: Array, exact: bool) -> float:
    """Two-sided p of the observed difference among those of the swaps; NaN draws are left out."""
    known = np.abs(differences[~np.isnan(differences)])
    if np.isnan(observed) or not len(known):
        return float("nan")
    as_large = known >= abs(observed) - 1e-12 * max(1.0, abs(observed))
    return float(as_large.mean() if exact else (1 + as_large.sum()) / (1 + len(known)))


def paired_permutation(
    a: Array, b: Array, groups: Sequence[Hashable], draws: int = 10_000, seed: int = 0
) -> Permutation:
    """Test the difference of two means over the same rows (accuracies: 0 and 1) by flipping whole groups' signs.

    Args:
        a: (N,) figures of the first model's rows.
        b: (N,) of the second's.
        groups: N keys; rows of one group (person, patient) are swapped together.
        draws: random swaps where all of them would be more.
        seed: of the swaps.

    Example:
        >>> paired_permutation(np.array([1, 1, 1]), np.array([0, 0, 0]), ["x", "y", "z"]).p  # 2 of 2^3
        0.25
    """
    unit, count = units_of(groups)
    gain = np.zeros(count)
    np.add.at(gain, unit, a.astype(float) - b.astype(float))
    swaps, exact = group_swaps(count, draws, seed)
    observed = float(gain.sum() / len(a))
    return Permutation(observed, permutation_p(observed, (2 * swaps - 1) @ gain / len(a), exact), exact, count)


def swapped_areas(
    truth: Array, a: Array, b: Array, unit: Array, swaps: Array, advance: Callable[[int], None] | None = None
) -> tuple[Array, Array]:
    """Differences (a less b) of macro AUROC and macro AUPRC when groups swap their scores.

    Scores are put as ranks within each model and class first, since two models' scores are of different scales
    (Bandos et al. 2005; Venkatraman 2000) [M]. No area changes by that; what is swapped are ranks.

    Args:
        truth: (N, C) of 0 and 1.
        a: (N, C) scores of the first model.
        b: (N, C) of the second.
        unit: (N,) the group of each row.
        swaps: (D, U) from `group_swaps`: 1 where a group keeps its model.
        advance: called with the classes done, for a progress bar.

    Returns:
        Two arrays (D,).
    """
    from scipy.stats import rankdata

    both = np.concatenate([unit, unit + swaps.shape[1]])
    ours, theirs = np.concatenate([swaps, 1 - swaps], axis=1), np.concatenate([1 - swaps, swaps], axis=1)
    differences = np.full((2, len(swaps), truth.shape[1]), np.nan)
    for c in range(truth.shape[1]):
        if advance:
            advance(1)
        if not 0 < truth[:, c].sum() < len(truth):
            continue
        ranks = np.concatenate([rankdata(a[:, c]), rankdata(b[:, c])])
        twice = np.concatenate([truth[:, c], truth[:, c]])
        first, second = (weighted_areas(twice, ranks, weights, both) for weights in (ours, theirs))
        differences[:, :, c] = np.subtract(first, second)
    auroc, auprc = mean_of_defined(differences)
    return auroc, auprc
