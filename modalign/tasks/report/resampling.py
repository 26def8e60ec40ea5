"""Intervals of many figures at once: the same draws of whole groups for every class or bin."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def draws_of(units: Sequence[Hashable], draws: int = 1000, seed: int = 0) -> tuple[Array, Array]:
    """How often each unit (group, recording) is drawn: (draws, U), and the unit of each row: (N,)."""
    numbers: dict[Hashable, int] = {}
    unit = np.array([numbers.setdefault(u, len(numbers)) for u in units])
    count = len(numbers)
    generator = np.random.default_rng(seed)
    return generator.multinomial(count, np.full(count, 1 / count), size=draws), unit


def ratio_intervals(part: Array, whole: Array, units: Sequence[Hashable]) -> Array:
    """95 % intervals (K, 2) of sums of `part` over sums of `whole`, both (N, K): recalls, precisions, bins.

    NaN where no draw holds anything of the whole.
    """
    weights, unit = draws_of(units)
    sums = []
    for values in (part, whole):
        by_unit = np.zeros((weights.shape[1], values.shape[1]))
        np.add.at(by_unit, unit, values)
        sums.append(weights @ by_unit)
    found = np.full((values.shape[1], 2), np.nan)
    for k in range(len(found)):
        held = sums[1][:, k] > 0
        if held.any():
            found[k] = np.percentile(sums[0][held, k] / sums[1][held, k], [2.5, 97.5])
    return found


def auroc_interval(truth: Array, scores: Array, weights: Array, unit: Array) -> tuple[float, tuple[float, float]]:
    """AUROC of one class and its 95 % interval; equal scores count half.

    Args:
        truth: (N,) of 0 and 1, both present.
        scores: (N,).
        weights: (draws, U) from `draws_of`.
        unit: (N,) from `draws_of`.
    """
    _, place = np.unique(scores, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    positive = truth[order].astype(bool)
    times = np.concatenate([np.ones((1, weights.shape[1])), weights])[:, unit[order]]  # the first: every row once
    pos = np.add.reduceat(times * positive, starts, axis=1)
    neg = np.add.reduceat(times * ~positive, starts, axis=1)
    pairs = pos.sum(1) * neg.sum(1)
    won = (pos * (neg.cumsum(1) - neg / 2)).sum(1)
    areas = won[pairs > 0] / pairs[pairs > 0]
    low, high = np.percentile(areas[1:], [2.5, 97.5]) if len(areas) > 1 else (np.nan, np.nan)
    return float(areas[0]), (float(low), float(high))
