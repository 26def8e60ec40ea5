"""Which modalities were there -> the figure: a fused model scored with every subset of its modalities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.tasks.results import Table

Array = NDArray[Any]
MOST = 4
"""Modalities up to which all subsets are scored; beyond, each alone, all but each, and all."""


def subsets_of(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Positions of the subsets, the smallest first, without the empty one.

    Example:
        >>> subsets_of(["a", "b"])
        [(0,), (1,), (0, 1)]
    """
    n = len(names)
    sizes = range(1, n + 1) if n <= MOST else (1, n - 1, n)
    return [subset for size in sizes for subset in combinations(range(n), size)]


def modality_table(
    names: Sequence[str],
    present: Array,
    scored: Callable[[Array], Array],
    figure: Callable[[Array, Array], tuple[float, tuple[float, float]]],
    metric: str,
) -> Table:
    """The figure with only these modalities given, over the rows that have them, and over those that have all.

    The last column compares the subsets on the same rows.

    Args:
        names: M modalities.
        present: (N, M) bool, which each row has.
        scored: (N, M) which are given -> scores of all rows.
        figure: scores, positions of rows -> a figure and its interval.
        metric: the figure's name.
    """
    complete = np.flatnonzero(present.all(1))
    rows: list[list[str | float]] = []
    for subset in subsets_of(names):
        given = np.zeros_like(present)
        given[:, list(subset)] = present[:, list(subset)]
        have = np.flatnonzero(given.sum(1) == len(subset))
        words = " + ".join(names[m] for m in subset)
        if not len(have):
            rows.append([words, 0, float("nan"), "", float("nan")])
            continue
        scores = scored(given)
        value, (low, high) = figure(scores, have)
        between = "" if np.isnan(low) else f"{low:.3f} - {high:.3f}"
        rows.append([words, len(have), value, between, figure(scores, complete)[0] if len(complete) else float("nan")])
    return Table(
        "By the modalities that were there",
        ["given", "rows that have them", metric, "95 % interval", f"{metric} on the {len(complete):,} complete rows"],
        rows,
        "The others are hidden from the model. Rows that lack a modality may be easier or harder than others: compare "
        "subsets in the last column, which is over the same rows.",
    )
