"""Intervals that resample whole groups or recordings, never windows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def cluster_bootstrap(
    statistic: Callable[[Array], float], clusters: Sequence[Hashable], draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """A 95 % percentile interval by resampling whole clusters (recordings, people) with replacement, never windows.

    Args:
        statistic: (M,) row indices, repeats included, -> the figure.
        clusters: N keys: which cluster each row belongs to.
        draws: resamples.
        seed: of the resampling.

    Example:
        >>> correct = np.array([1, 1, 0, 0])
        >>> cluster_bootstrap(lambda rows: correct[rows].mean(), ["a", "a", "b", "b"])
        (0.0, 1.0)
    """
    members: dict[Hashable, list[int]] = {}
    for i, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(i)
    rows = [np.array(m) for m in members.values()]
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        picked = generator.integers(len(rows), size=len(rows))
        values.append(statistic(np.concatenate([rows[p] for p in picked])))
    return percentile_interval(np.array(values))


def units_of(clusters: Sequence[Hashable]) -> tuple[Array, int]:
    """Clusters as numbers (N,), in the order in which they come, and how many there are."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(c, len(numbers)) for c in clusters], dtype=np.int64), len(numbers)


def cluster_draws(units: int, draws: int = 1000, seed: int = 0) -> Array:
    """(draws, units) how often each cluster is drawn: the draws of `cluster_bootstrap`, for figures that take weights.

    Example:
        >>> cluster_draws(3, draws=2).sum(1)
        array([3., 3.])
    """
    picked = np.random.default_rng(seed).integers(units, size=(draws, units))
    counts = np.zeros((draws, units))
    np.add.at(counts, (np.arange(draws)[:, None], picked), 1)
    return counts


def percentile_interval(values: Array) -> tuple[float, float]:
    """The middle 95 % of the draws (D,) in which the figure is defined; NaN where it never is."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
