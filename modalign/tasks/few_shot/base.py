"""What all few-shot methods share: scikit-learn's manners, and how labels are told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted

from modalign.errors import RecipeError

Array = NDArray[Any]


class FewShotEstimator(ClassifierMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """A classifier of embeddings, learnt from a few labelled rows; scikit-learn's `clone` and `GridSearchCV` take it.

    A method is a subclass with `_learn` and `_score`. Every one has the parameter `classes`, and those with
    `uses_text` also `text`, (C, d) unit rows in the order of the classes, or None.

    Attributes:
        multi_label: whether rows may have several labels.
        uses_text: whether embeddings of the class names help it.
        needs_text: whether it is another method without them.
        grid: parameter -> the values that validation chooses among.
        refits: whether a parameter of the grid acts in `fit`; otherwise one fit serves all values.
        classes_: C labels, after `fit`.
        thresholds_: (C,), after `fit_thresholds`.
    """

    multi_label: ClassVar[bool] = False
    uses_text: ClassVar[bool] = False
    needs_text: ClassVar[bool] = False
    grid: ClassVar[Mapping[str, Sequence[float]]] = {}
    refits: ClassVar[bool] = False

    classes: Sequence[Any] | None

    @abstractmethod
    def _learn(self, X: Array, truth: Array) -> None:
        """From rows (N, d) and (N, C) of 0 and 1."""

    @abstractmethod
    def _score(self, X: Array) -> Array:
        """Scores (N, C) of rows (N, d)."""

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from a few rows.

        Args:
            X: embeddings (N, d).
            y: N labels; or (N, C) of 0 and 1 where rows may have several.

        Raises:
            RecipeError: several labels a row, and the method has no form for them; or a class without a row.
        """
        X = check_array(X, dtype=np.float64)
        y = np.asarray(y)
        check_consistent_length(X, y)
        self.several_ = y.ndim == 2
        if self.several_:
            self.classes_, truth = self._several(y)
        else:
            self.classes_, truth = self._one(y)
        text = getattr(self, "text", None)
        if text is not None and np.shape(text) != (len(self.classes_), X.shape[1]):
            raise RecipeError(
                f"text has the shape {np.shape(text)}; {len(self.classes_)} classes and embeddings of {X.shape[1]} "
                f"values need ({len(self.classes_)}, {X.shape[1]})"
            )
        self.n_features_in_ = X.shape[1]
        self._learn(X, truth)
        return self

    def _one(self, y: Array) -> tuple[Array, Array]:
        classes = np.unique(y) if self.classes is None else np.asarray(self.classes)
        if len(classes) < 2:
            raise RecipeError(
                f"{type(self).__name__} was given one class, {classes.tolist()}; give rows of two or more"
            )
        strange = sorted(set(y.tolist()) - set(classes.tolist()))
        if strange:
            raise RecipeError(f"the label {strange[0]!r} is not among classes={classes.tolist()}")
        truth = (y[:, None] == classes).astype(np.float64)
        if not truth.any(0).all():
            bare = classes.tolist()[int(truth.any(0).argmin())]
            raise RecipeError(f"the class {bare!r} has no row to learn from; give one, or leave it out")
        return classes, truth

    def _several(self, y: Array) -> tuple[Array, Array]:
        if not self.multi_label:
            from modalign.tasks.few_shot.registry import list_few_shot

            raise RecipeError(
                f"{type(self).__name__} has no form for several labels a row; "
                f"these have: {', '.join(list_few_shot(multi_label=True))}"
            )
        classes = np.arange(y.shape[1]) if self.classes is None else np.asarray(self.classes)
        if len(classes) != y.shape[1] or not np.isin(y, (0, 1)).all():
            raise RecipeError(
                f"y of shape {y.shape} for {len(classes)} classes: give (N, {len(classes)}) of 0 and 1, or N labels"
            )
        return classes, y.astype(np.float64)

    def decision_function(self, X: Any) -> Array:
        """Scores (N, C), for two classes too. X: embeddings (N, d)."""
        check_is_fitted(self)
        X = check_array(X, dtype=np.float64)
        if X.shape[1] != self.n_features_in_:
            raise RecipeError(f"embeddings of {X.shape[1]} values; {type(self).__name__} learnt {self.n_features_in_}")
        return self._score(X)

    def predict_proba(self, X: Any) -> Array:
        """Softmax of the scores (N, C), or the sigmoid of each for several labels a row; not calibrated."""
        from scipy.special import expit, softmax

        scores = self.decision_function(X)
        probabilities: Array = expit(scores) if self.several_ else softmax(scores, axis=1)
        return probabilities

    def fit_thresholds(self, X: Any, y: Any) -> Self:
        """For several labels a row: the threshold of each label's best F1 on validation rows, used by `predict`."""
        scores, truth = self.decision_function(X), np.asarray(y)
        self.thresholds_ = np.array([best_f1_threshold(truth[:, c], scores[:, c]) for c in range(truth.shape[1])])
        return self

    def predict(self, X: Any) -> Array:
        """The best label of each row; for several labels a row (N, C) of 0 and 1 by the thresholds.

        Raises:
            RecipeError: several labels a row, and no thresholds were chosen.
        """
        scores = self.decision_function(X)
        if not self.several_:
            best: Array = self.classes_[scores.argmax(1)]
            return best
        if not hasattr(self, "thresholds_"):
            raise RecipeError(
                "several labels a row have no threshold yet; call fit_thresholds(X, y) with validation rows first, "
                "or use decision_function"
            )
        above: Array = (scores >= self.thresholds_).astype(int)
        return above


def best_f1_threshold(truth: Array, scores: Array) -> float:
    """The score from which on calling rows positive gives the best F1; infinity where there are no positives.

    Example:
        >>> best_f1_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
        0.35
    """
    if not truth.any():
        return float("inf")
    order = np.argsort(-scores, kind="stable")
    hits = truth[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    ordered = scores[order]
    last = np.r_[ordered[1:] != ordered[:-1], True]  # equal scores stand on one side of the threshold
    return float(ordered[np.where(last, f1, -1).argmax()])


def zero_shot_logits(X: Array, text: Array | None, scale: float) -> Array | float:
    """`scale * X text^T` (N, C): what the class names alone say of unit rows; 0 without them."""
    return 0.0 if text is None else scale * X @ np.asarray(text, dtype=np.float64).T
