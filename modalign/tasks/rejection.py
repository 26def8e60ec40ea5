"""Rejection: the score under which an item is none of the labels, at a false-positive rate measured on validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.errors import RecipeError

Array = NDArray[Any]


def threshold_at(negatives: Array, rate: float) -> float:
    """The lowest threshold over which (strictly) no more than `rate` of the negatives' scores lie.

    Args:
        negatives: (M,) scores of items that should be refused.
        rate: the false-positive rate wanted, 0 to 1.

    Example:
        >>> threshold_at(np.array([0.1, 0.2, 0.3, 0.4]), 0.25)
        0.3

    Raises:
        RecipeError: no negatives, or a rate outside 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise RecipeError(f"a false-positive rate is between 0 and 1, not {rate}")
    if not len(negatives):
        raise RecipeError("no validation row that should be refused, so no threshold can be set at a rate")
    ordered = np.sort(np.asarray(negatives, dtype=np.float64))[::-1]
    admitted = math.floor(rate * len(ordered) + 1e-9)
    return float(ordered[admitted]) if admitted < len(ordered) else -math.inf


def refused_scores(scores: Array, truth: Sequence[str], labels: Sequence[str]) -> Array:
    """What a wrong acceptance scores in single-label validation rows: (M,).

    Where rows have a label that is none of `labels` (or no label), these are their highest scores. Where there is no
    such row, each row's own label is left out in turn: for a classifier that lacks it, the row is none of the rest.

    Args:
        scores: (N, C).
        truth: N labels; an empty one is none of them.
        labels: C labels.

    Raises:
        RecipeError: fewer than two labels, and no row of another.
    """
    place = {label: i for i, label in enumerate(labels)}
    outside = np.array([t not in place for t in truth], dtype=bool)
    if outside.any():
        return np.asarray(scores[outside].max(1))
    if len(labels) < 2:
        raise RecipeError("a threshold for one label needs validation rows of other labels, or without a label")
    others = np.array(scores, dtype=np.float64)
    others[np.arange(len(others)), [place[t] for t in truth]] = -np.inf
    return np.asarray(others.max(1))
