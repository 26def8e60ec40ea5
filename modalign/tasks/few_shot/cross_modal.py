"""Prototypes across modalities: class names and samples together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from modalign.tasks.few_shot.base import Array, FewShotEstimator
from modalign.tasks.few_shot.prototypes import minus_squared_distances
from modalign.tasks.few_shot.registry import register_few_shot


@register_few_shot("cross-modal")
class CrossModalPrototypes(FewShotEstimator):
    """Scores `-||f - ((1 - weight) c_k + weight t_k)||^2`: c_k the mean of a class's rows, t_k its name's embedding.

    Inspired by MMG-Ego4D's cross-modal prototypical loss, whose code was not found and whose formula is recalled: there
    prototypes of one modality classify queries of another, which is `weight=1` with `text` the class means of any other
    tower. Mixing the two by a weight is ours. With no text it is plain prototypes. One label a row.

    Args:
        weight: of the class names; 0 leaves plain prototypes, 1 zero-shot.
        text: (C, d) unit rows of the class names (or class means of another modality), or None.
        classes: labels in the order of the scores' columns.

    Attributes:
        means_: (C, d) of the rows alone.
    """

    uses_text = True
    needs_text = True
    grid: ClassVar[Mapping[str, Sequence[float]]] = {"weight": (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)}

    def __init__(self, weight: float = 0.5, text: Array | None = None, classes: Sequence[Any] | None = None) -> None:
        self.weight, self.text, self.classes = weight, text, classes

    def _learn(self, X: Array, truth: Array) -> None:
        self.means_ = truth.T @ X / truth.sum(0)[:, None]

    def _score(self, X: Array) -> Array:
        if self.text is None:
            return minus_squared_distances(X, self.means_)
        text = np.asarray(self.text, dtype=np.float64)
        return minus_squared_distances(X, (1 - self.weight) * self.means_ + self.weight * text)
