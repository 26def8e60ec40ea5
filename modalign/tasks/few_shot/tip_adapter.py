"""Tip-Adapter: a cache of the labelled rows beside the class names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from modalign.tasks.few_shot.base import Array, FewShotEstimator, zero_shot_logits
from modalign.tasks.few_shot.registry import register_few_shot


@register_few_shot("tip-adapter")
class TipAdapter(FewShotEstimator):
    """Scores `alpha exp(-beta (1 - f F^T)) L + scale f T^T`: F the rows, L their labels, T the class names.

    Tip-Adapter without training (Zhang et al. 2022); the formula is recalled. Rows may have several labels: L then has
    several ones a row, and scores are to be ranked within a label.

    Args:
        alpha: weight of the cache.
        beta: how sharply it falls off with the cosine.
        text: (C, d) unit rows of the class names, or None for the cache alone.
        classes: labels in the order of the scores' columns.
        scale: of the zero-shot cosines; 100 as published.

    Attributes:
        keys_: (n, d) the rows.
        values_: (n, C) of 0 and 1.
    """

    multi_label = True
    uses_text = True
    # Wider in alpha than the published search: there class names lie close together, and 100 f T^T varies little.
    grid: ClassVar[Mapping[str, Sequence[float]]] = {
        "alpha": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
        "beta": (1.0, 2.0, 5.5, 10.0, 20.0),
    }

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 5.5,
        text: Array | None = None,
        classes: Sequence[Any] | None = None,
        scale: float = 100.0,
    ) -> None:
        self.alpha, self.beta, self.text, self.classes, self.scale = alpha, beta, text, classes, scale

    def _learn(self, X: Array, truth: Array) -> None:
        self.keys_, self.values_ = X, truth

    def _score(self, X: Array) -> Array:
        affinity = np.exp(-self.beta * (1 - X @ self.keys_.T))
        scores: Array = self.alpha * affinity @ self.values_ + zero_shot_logits(X, self.text, self.scale)
        return scores
