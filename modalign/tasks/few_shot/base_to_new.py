"""Gaussian discriminant analysis from base classes with rows to new classes of which only the names are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modalign.errors import RecipeError
from modalign.tasks.few_shot.base import Array
from modalign.tasks.few_shot.gaussian import GaussianDiscriminant, shrunk_precision


class BaseToNewGaussian(GaussianDiscriminant):
    """As `GaussianDiscriminant`, with the precision of the base classes not shrunk, and a form for new classes.

    After `main_base2new.py` of the same source (mrflogs/ICLR24 @560fe21): the base classes' precision is the
    pseudo-inverse of the mean of their covariances. What is chosen on base classes (`alpha`) serves the new ones too.

    Args:
        alpha: weight of the Gaussian part; 0 is zero-shot.
        text: (C, d) unit rows of the base classes' names, or None.
        classes: base labels in the order of the scores' columns.
        scale: of the zero-shot cosines.

    Attributes:
        rows_: (n, d) the base classes' rows.

    Example:
        >>> X = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> base = BaseToNewGaussian().fit(X, ["a", "a", "b", "b"])
        >>> new = base.for_new(np.eye(2), ["c", "d"], neighbours=2, copies=2)
        >>> new.decision_function([[1, 0]]).round(3)
        array([[101.141,  -1.259]])

    Raises:
        RecipeError: a class has one row alone, which has no covariance.
    """

    def _learn(self, X: Array, truth: Array) -> None:
        counts = truth.sum(0)
        if counts.min() < 2:
            lone = self.classes_.tolist()[int(counts.argmin())]
            raise RecipeError(f"the class {lone!r} has one row, which tells no covariance; give two or more of each")
        means = truth.T @ X / counts[:, None]
        each = [np.cov(X[truth[:, c] == 1], rowvar=False) for c in range(truth.shape[1])]
        # Fewer rows than dimensions leave directions without any spread, up to rounding in single precision as there.
        spread = np.linalg.pinv(np.mean(each, axis=0), rcond=X.shape[1] * np.finfo(np.float32).eps, hermitian=True)
        self.rows_ = X
        self._take(means, spread)

    def for_new(
        self, text: Array, classes: Sequence[Any], neighbours: int = 64, copies: int = 16
    ) -> GaussianDiscriminant:
        """A classifier of classes without rows, from the base rows near their names.

        The mean of a new class is that of its nearest base rows and of some copies of its name's embedding; the
        precision is the mean over the new classes of the shrunk one of their nearest rows about the name.

        Args:
            text: (C, d) unit rows of the new classes' names.
            classes: C new labels.
            neighbours: base rows nearest to a name, or all where there are fewer.
            copies: how often the name counts beside them.

        Raises:
            RecipeError: text and classes are not of one number, or under two.
        """
        text = np.asarray(text, dtype=np.float64)
        if len(classes) < 2 or text.shape != (len(classes), self.n_features_in_):
            raise RecipeError(
                f"text of shape {text.shape} for {len(classes)} new classes: give two classes or more, and "
                f"({len(classes)}, {self.n_features_in_})"
            )
        near = min(neighbours, len(self.rows_))
        chosen = [self.rows_[np.argsort(-(self.rows_ @ w), kind="stable")[:near]] for w in text]
        means = [(rows.sum(0) + copies * w) / (near + copies) for rows, w in zip(chosen, text)]
        precision = np.mean([shrunk_precision(rows - w) for rows, w in zip(chosen, text)], axis=0)
        made = GaussianDiscriminant(self.alpha, text, classes, self.scale)
        made.classes_, made.several_, made.n_features_in_ = np.asarray(classes), False, self.n_features_in_
        made._take(np.stack(means), precision)
        return made
