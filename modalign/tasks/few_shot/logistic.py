"""Logistic regression on the labelled rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from modalign.tasks.few_shot.base import Array, FewShotEstimator
from modalign.tasks.few_shot.registry import register_few_shot


@register_few_shot("logistic")
class Logistic(FewShotEstimator):
    """scikit-learn's logistic regression: one softmax over the classes.

    For several labels a row it is one against the rest; a label that all rows have, or none, scores 0 everywhere.

    Args:
        C: inverse strength of the regularisation; unit rows need little.
        classes: labels in the order of the scores' columns.

    Attributes:
        coef_: (C, d).
        intercept_: (C,).
    """

    multi_label = True
    grid: ClassVar[Mapping[str, Sequence[float]]] = {"C": (0.1, 1.0, 10.0, 100.0, 1000.0)}
    refits = True

    def __init__(self, C: float = 10.0, classes: Sequence[Any] | None = None) -> None:
        self.C, self.classes = C, classes

    def _learn(self, X: Array, truth: Array) -> None:
        from sklearn.linear_model import LogisticRegression

        def fitted(y: Array) -> Any:
            return LogisticRegression(C=self.C, max_iter=1000).fit(X, y)

        self.coef_, self.intercept_ = np.zeros((truth.shape[1], X.shape[1])), np.zeros(truth.shape[1])
        if self.several_:
            for c in range(truth.shape[1]):
                if 0 < truth[:, c].sum() < len(truth):
                    one = fitted(truth[:, c])
                    self.coef_[c], self.intercept_[c] = one.coef_[0], one.intercept_[0]
            return
        model = fitted(truth.argmax(1))
        # Two classes have one row of weights: the second's against the first.
        self.coef_[-len(model.coef_) :], self.intercept_[-len(model.coef_) :] = model.coef_, model.intercept_

    def _score(self, X: Array) -> Array:
        scores: Array = X @ self.coef_.T + self.intercept_
        return scores
