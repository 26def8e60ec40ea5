"""Prototypes: the nearest class mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modalign.tasks.few_shot.base import Array, FewShotEstimator
from modalign.tasks.few_shot.registry import register_few_shot


@register_few_shot("prototypes")
class Prototypes(FewShotEstimator):
    """Scores `-||f - c_k||^2`, c_k the mean of a class's rows (prototypical networks, Snell et al. 2017).

    One label a row.

    Args:
        classes: labels in the order of the scores' columns.

    Attributes:
        means_: (C, d).
    """

    def __init__(self, classes: Sequence[Any] | None = None) -> None:
        self.classes = classes

    def _learn(self, X: Array, truth: Array) -> None:
        self.means_ = truth.T @ X / truth.sum(0)[:, None]

    def _score(self, X: Array) -> Array:
        return minus_squared_distances(X, self.means_)


def minus_squared_distances(X: Array, centres: Array) -> Array:
    """`-||x_i - c_k||^2` (N, C)."""
    scores: Array = 2 * X @ centres.T - (X**2).sum(1)[:, None] - (centres**2).sum(1)
    return scores
