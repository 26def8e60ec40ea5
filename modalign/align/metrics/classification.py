"""Figures of decisions, from counts that add up: over rows, over clusters, and over the draws of a bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modalign.align.metrics.areas import mean_of_defined

Array = NDArray[Any]


def confusion_matrix(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> Array:
    """(C, C) counts: row = truth, column = prediction, in the order of `labels`."""
    place = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(matrix, ([place[t] for t in truth], [place[p] for p in predicted]), 1)
    return matrix


class Counts(NamedTuple):
    """What figures of decisions are made of; any leading axes (clusters, draws).

    Attributes:
        rows: (...,) rows.
        right: (...,) rows whose labels are decided right, all of them.
        positives: (..., C) rows that have the label.
        chosen: (..., C) rows for which it was decided.
        hits: (..., C) both.
    """

    rows: Array
    right: Array
    positives: Array
    chosen: Array
    hits: Array

    def weighted(self, weights: Array) -> Counts:
        """Counts by unit (U, ...) under each weighting of the units: weights (D, U) -> (D, ...)."""
        return Counts(*(weights @ part for part in self))


def count(truth: Array, decided: Array, unit: Array | None = None, units: int = 1) -> Counts:
    """Count by unit.

    Args:
        truth: (N, C) of 0 and 1: the labels of each row.
        decided: (N, C) of 0 and 1: the labels decided for it.
        unit: (N,) the cluster of each row; None: all rows are one.
        units: how many clusters there are.

    Returns:
        Counts with a first axis of size `units`.
    """
    truth, decided = truth.astype(bool), decided.astype(bool)
    unit = np.zeros(len(truth), dtype=np.int64) if unit is None else unit

    def total(values: Array) -> Array:
        sums = np.zeros((units, *values.shape[1:]))
        np.add.at(sums, unit, values)
        return sums

    right = (truth == decided).all(1)
    return Counts(total(np.ones(len(truth))), total(right), total(truth), total(decided), total(truth & decided))


def accuracy(counts: Counts) -> Array:
    """Share of the rows whose labels are all right (with several labels a row: the exact match)."""
    return _ratio(counts.right, counts.rows)


def recall(counts: Counts) -> Array:
    """(..., C) share of a label's rows for which it was decided; NaN where it has none."""
    return _ratio(counts.hits, counts.positives)


def precision(counts: Counts) -> Array:
    """(..., C) share of the rows decided for a label that have it; NaN where there is none."""
    return _ratio(counts.hits, counts.chosen)


def specificity(counts: Counts) -> Array:
    """(..., C) share of the rows without a label for which it was not decided; NaN where all rows have it."""
    others = counts.rows[..., None] - counts.positives
    return _ratio(others - (counts.chosen - counts.hits), others)


def f1(counts: Counts) -> Array:
    """(..., C) the harmonic mean of precision and recall; NaN for a label that no row has."""
    score = _ratio(2 * counts.hits, counts.positives + counts.chosen)
    defined: Array = np.where(counts.positives > 0, score, np.nan)
    return defined


def macro_f1(counts: Counts) -> Array:
    """Mean F1 over the labels that some row has."""
    return mean_of_defined(f1(counts))


def balanced_accuracy(counts: Counts, several: bool = False) -> Array:
    """Mean recall over the labels that some row has; with several labels a row, of recall and specificity of each."""
    each = recall(counts)
    return mean_of_defined((each + specificity(counts)) / 2 if several else each)


def _ratio(part: Array, whole: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Array = np.where(whole > 0, part / whole, np.nan)
    return share
