"""Gaussian discriminant analysis, with the class names' scores added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from modalign.tasks.few_shot.base import Array, FewShotEstimator, zero_shot_logits
from modalign.tasks.few_shot.registry import register_few_shot


@register_few_shot("gda")
class GaussianDiscriminant(FewShotEstimator):
    """One Gaussian a class with a common covariance, beside zero-shot: `scale f T^T + alpha (f W + b)`.

    `W = P mu_k^T`, `b_k = ln(1/K) - mu_k P mu_k^T / 2`, `P` from `shrunk_precision`. After "A Hard-to-Beat Baseline for
    Training-free CLIP-based Adaptation" (Wang et al. 2024, mrflogs/ICLR24 @560fe21, `main_few_shots.py`); its form for
    new classes without rows is `BaseToNewGaussian`. One label a row.

    Args:
        alpha: weight of the Gaussian part; 0 is zero-shot.
        text: (C, d) unit rows of the class names, or None for no zero-shot part.
        classes: labels in the order of the scores' columns.
        scale: of the zero-shot cosines; 100 as published.

    Attributes:
        means_: (C, d).
        precision_: (d, d).
        coef_: (C, d).
        intercept_: (C,).

    Example:
        >>> X = np.array([[1, 0], [1.2, 0.2], [0, 1], [0.2, 1.2]])
        >>> model = GaussianDiscriminant().fit(X, ["a", "a", "b", "b"])
        >>> model.decision_function([[1, 0]]).round(3)
        array([[ 22.557, -52.443]])
    """

    uses_text = True
    grid: ClassVar[Mapping[str, Sequence[float]]] = {"alpha": (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)}

    def __init__(
        self,
        alpha: float = 1.0,
        text: Array | None = None,
        classes: Sequence[Any] | None = None,
        scale: float = 100.0,
    ) -> None:
        self.alpha, self.text, self.classes, self.scale = alpha, text, classes, scale

    def _learn(self, X: Array, truth: Array) -> None:
        means = truth.T @ X / truth.sum(0)[:, None]
        self._take(means, shrunk_precision(X - truth @ means))

    def _take(self, means: Array, precision: Array) -> None:
        """The classifier of these means (C, d) and this precision (d, d)."""
        self.means_, self.precision_ = means, precision
        self.coef_ = means @ precision
        self.intercept_ = -np.log(len(means)) - (self.coef_ * means).sum(1) / 2

    def _score(self, X: Array) -> Array:
        gaussian = X @ self.coef_.T + self.intercept_
        scores: Array = zero_shot_logits(X, self.text, self.scale) + self.alpha * gaussian
        return scores


def shrunk_precision(centred: Array) -> Array:
    """`d inv((n - 1) S + tr(S) I)`, S the unbiased covariance of (n, d) class-centred rows.

    Rows that equal their class's mean, as one row a class does, tell no covariance: then it is the identity, and the
    classifier that of the nearest mean (the published formula's pseudo-inverse would give all classes one score).
    """
    n, d = centred.shape
    scatter = centred.T @ centred  # (n - 1) S: class-centred rows have the mean 0
    trace = np.trace(scatter) / max(n - 1, 1)
    if trace <= np.finfo(np.float64).tiny:
        return np.eye(d)
    precision: Array = d * np.linalg.inv(scatter + trace * np.eye(d))
    return precision
