"""Figures of a classification: counts, and areas under curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def confusion_matrix(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> Array:
    """(C, C) counts: row = truth, column = prediction, in the order of `labels`."""
    place = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(matrix, ([place[t] for t in truth], [place[p] for p in predicted]), 1)
    return matrix


def macro_auroc(truth: Array, scores: Array) -> tuple[float, list[int]]:
    """Mean AUROC over the classes that have both positives and negatives, and the classes left out.

    Args:
        truth: (N, C) of 0 and 1.
        scores: (N, C).
    """
    from sklearn.metrics import roc_auc_score

    kept = [c for c in range(truth.shape[1]) if 0 < truth[:, c].sum() < len(truth)]
    left_out = [c for c in range(truth.shape[1]) if c not in kept]
    if not kept:
        return float("nan"), left_out
    return float(np.mean([roc_auc_score(truth[:, c], scores[:, c]) for c in kept])), left_out
