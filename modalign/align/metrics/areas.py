"""Areas under curves, by class: AUROC (ranks, ties 1/2) and AUPRC (average precision), also under many weightings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def scorable(truth: Array) -> Array:
    """(C,) whether a class has both positives and negatives, without which it has no area. truth: (N, C) of 0 and 1."""
    positives = truth.sum(0)
    kept: Array = (positives > 0) & (positives < len(truth))
    return kept


def class_areas(truth: Array, scores: Array) -> tuple[Array, Array]:
    """AUROC and AUPRC (average precision) of each class, by scikit-learn; NaN where a class has no area.

    Args:
        truth: (N, C) of 0 and 1.
        scores: (N, C).

    Returns:
        Two arrays (C,).
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    auroc, auprc = np.full((2, truth.shape[1]), np.nan)
    for c in np.flatnonzero(scorable(truth)):
        auroc[c] = roc_auc_score(truth[:, c], scores[:, c])
        auprc[c] = average_precision_score(truth[:, c], scores[:, c])
    return auroc, auprc


def macro_auroc(truth: Array, scores: Array) -> tuple[float, list[int]]:
    """Mean AUROC over the classes that have both positives and negatives, and the classes left out.

    Args:
        truth: (N, C) of 0 and 1.
        scores: (N, C).
    """
    left_out = [int(c) for c in np.flatnonzero(~scorable(truth))]
    return mean_of_defined(class_areas(truth, scores)[0]).item(), left_out


def weighted_areas(truth: Array, scores: Array, weights: Array, unit: Array, chunk: int = 64) -> tuple[Array, Array]:
    """AUROC and AUPRC of one class under each of D weightings of the rows: one sort for all of them.

    A bootstrap draw weighs a row by how often its cluster was drawn; that equals repeating the row.

    Args:
        truth: (N,) of 0 and 1.
        scores: (N,).
        weights: (D, U), of units.
        unit: (N,) the unit of each row.
        chunk: weightings at a time, which bounds the memory.

    Returns:
        Two arrays (D,), NaN where no positive or no negative has weight.

    Example:
        >>> weighted_areas(np.array([1, 0, 1]), np.array([0.9, 0.5, 0.1]), np.ones((1, 3)), np.arange(3))[0]
        array([0.5])
    """
    has = truth.astype(bool)
    positives = np.flatnonzero(has)[np.argsort(-scores[has], kind="stable")]
    negatives = np.flatnonzero(~has)[np.argsort(-scores[~has], kind="stable")]
    mine, others = -scores[positives], -scores[negatives]  # rising, the best first
    above, level = np.searchsorted(others, mine), np.searchsorted(others, mine, side="right")
    last = np.searchsorted(mine, mine, side="right") - 1  # the last positive of the same score
    aurocs, auprcs = np.empty((2, len(weights)))
    for begin in range(0, len(weights), chunk):
        part = slice(begin, begin + chunk)
        own = weights[part].astype(float)
        pos = own[:, unit[positives]]
        misses = np.zeros((len(own), len(negatives) + 1))  # weight of the first k negatives
        np.cumsum(own[:, unit[negatives]], axis=1, out=misses[:, 1:])
        hits = pos.cumsum(1)
        total, rest = pos.sum(1), misses[:, -1]
        at_level = misses[:, level]
        with np.errstate(invalid="ignore", divide="ignore"):
            lost = (pos * (misses[:, above] + at_level)).sum(1) / 2  # pairs with the negative above, ties half
            aurocs[part] = 1 - lost / (total * rest)
            precision = hits[:, last] / (hits[:, last] + at_level)
            found = np.where(pos > 0, pos * precision, 0.0).sum(1) / total
            auprcs[part] = np.where(rest > 0, found, np.nan)
    return aurocs, auprcs


def mean_of_defined(values: Array) -> Array:
    """The mean over the last axis of what is not NaN; NaN where all is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Array = np.where(known, values, 0.0).sum(-1) / known.sum(-1)
    return mean
