"""Negation: whether rows with a finding are nearer to it than to "no" it, and rows without it the reverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modalign.tasks.evaluation import Table

Array = NDArray[Any]


class Negation(NamedTuple):
    """One label.

    Attributes:
        label: which.
        present: share of the rows that have it which prefer it to its negation (NaN without such rows).
        absent: share of the rows that lack it which prefer its negation.
        balanced: mean of the two; 0.5 is chance, and what a model that ignores "no" gets.
        rows: how many rows have it.
    """

    label: str
    present: float
    absent: float
    balanced: float
    rows: int


def negation_test(positive: Array, negative: Array, truth: Array, labels: Sequence[str]) -> list[Negation]:
    """Score every label; a tie counts half.

    Args:
        positive: (N, C) scores of the labels' prompts.
        negative: (N, C) scores of the prompts that say they are absent.
        truth: (N, C) of 0 and 1.
        labels: C labels.

    Example:
        >>> ones = np.array([[1], [0]])
        >>> negation_test(np.array([[0.6], [0.6]]), np.array([[0.5], [0.5]]), ones, ["edema"])
        [Negation(label='edema', present=1.0, absent=0.0, balanced=0.5, rows=1)]
    """
    prefers = (positive > negative) + 0.5 * (positive == negative)
    found = []
    for c, label in enumerate(labels):
        has = truth[:, c] == 1
        present = float(prefers[has, c].mean()) if has.any() else float("nan")
        absent = float(1 - prefers[~has, c].mean()) if not has.all() else float("nan")
        found.append(Negation(label, present, absent, (present + absent) / 2, int(has.sum())))
    return found


def negation_table(found: Sequence[Negation]) -> Table:
    """As a table, with the mean over the labels that have both kinds of rows."""
    rows: list[list[str | float]] = [[n.label, n.present, n.absent, n.balanced, n.rows] for n in found]
    both = [n for n in found if not np.isnan(n.balanced)]
    if both:
        means = [float(np.mean([getattr(n, part) for n in both])) for part in ("present", "absent", "balanced")]
        rows.append(["mean", *means, sum(n.rows for n in both)])
    return Table(
        'Negation: a label against "no" that label',
        ["label", "present", "absent", "balanced", "rows with it"],
        rows,
        "present: share of rows with the label that prefer its prompt to its negation; absent: share of the rest that "
        "prefer the negation. Always near 1 and 0, or 0 and 1: the model does not hear the negation. Chance is 0.5.",
    )
