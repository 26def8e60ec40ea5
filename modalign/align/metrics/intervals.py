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
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
