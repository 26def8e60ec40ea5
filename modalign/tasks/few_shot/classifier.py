"""A few-shot classifier over a model: from a few labelled files to labels of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from torch import Tensor

from modalign.align.model import AlignmentModel
from modalign.errors import RecipeError
from modalign.tasks.evaluation import Array
from modalign.tasks.few_shot.choice import Choice, choose
from modalign.tasks.few_shot.registry import make_few_shot
from modalign.tasks.zero_shot import ZeroShotClassifier


class FewShotClassifier:
    """Classify items of one modality after seeing a few labelled ones, with the class names' help where there is text.

    Args:
        model: an aligned model.
        modality: the tower of the items.
        method: of `list_few_shot()`: "gda", "prototypes", "cross-modal", "tip-adapter", "logistic".
        templates: prompt templates with `{label}`; None takes the modality's.
        descriptions: label -> sentences; they win over templates.
        text: the tower that encodes prompts; a model without it learns from the items alone.

    Attributes:
        labels: sorted, after `fit`.
        estimator: the fitted `FewShotEstimator`.
        choice: the parameters chosen, and the figure they had.

    Example:
        >>> classifier = FewShotClassifier(model, "motion", "prototypes")               # doctest: +SKIP
        >>> classifier.fit(["a.csv", "b.csv"], ["walking", "sitting"], rate=50)         # doctest: +SKIP
        >>> classifier.predict(["c.csv"], rate=50)                                      # doctest: +SKIP
        ['walking']

    Raises:
        ModelError: the model has no such tower.
        RecipeError: no such method.
    """

    def __init__(
        self,
        model: AlignmentModel,
        modality: str,
        method: str = "gda",
        templates: Sequence[str] | None = None,
        descriptions: Any = None,
        text: str = "text",
    ) -> None:
        model.tower(modality)
        make_few_shot(method)
        self.model, self.modality, self.method = model, modality, method
        self.templates, self.descriptions, self.text = templates, descriptions, text

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, as scikit-learn's estimators give them."""
        names = ("model", "modality", "method", "templates", "descriptions", "text")
        return {name: getattr(self, name) for name in names}

    def fit(
        self,
        X: Any,
        y: Sequence[Any],
        validation: tuple[Any, Sequence[Any]] | None = None,
        groups: Sequence[str] | None = None,
        **fields: Any,
    ) -> Self:
        """Learn from labelled items; parameters are chosen on the validation items, else by cross-validation.

        Args:
            X: embeddings (N, dim) as a tensor, or sources (paths, arrays, Signals).
            y: N labels, or N collections of labels.
            validation: the same of other items; with several labels an item, thresholds come from these too.
            groups: N recordings or people, held out together in cross-validation.
            fields: what a manifest would say of the sources (`rate=50`).

        Raises:
            RecipeError: several labels an item, and the method has no form for them.
        """
        several = any(not isinstance(own, str) for own in y)
        self.labels = sorted({label for own in y for label in ([own] if isinstance(own, str) else own)})
        text = None
        if self.text in self.model.towers:
            prompted = ZeroShotClassifier(
                self.model, self.modality, self.labels, self.templates, self.descriptions, self.text
            )
            text = prompted.class_embeddings.double().numpy()
        known = self._embed(X, fields)
        held = None
        if validation is not None:
            held = (self._embed(validation[0], fields), self._truth(validation[1], several))
        truth = self._truth(y, several)
        self.choice: Choice = choose(make_few_shot(self.method, self.labels, text), known, truth, held, groups)
        self.estimator = self.choice.estimator
        if several:
            self.estimator.fit_thresholds(*(held or (known, truth)))
        return self

    def decision_function(self, X: Any, **fields: Any) -> Array:
        """Scores (N, C), in the order of `labels`. X: embeddings (N, dim) as a tensor, or sources."""
        return self.estimator.decision_function(self._embed(X, fields))

    def predict_proba(self, X: Any, **fields: Any) -> Array:
        """(N, C); not calibrated."""
        return self.estimator.predict_proba(self._embed(X, fields))

    def predict(self, X: Any, **fields: Any) -> list[Any]:
        """The label of each item, or a tuple of labels where items may have several."""
        predicted = self.estimator.predict(self._embed(X, fields))
        if predicted.ndim == 1:
            return [str(label) for label in predicted]
        return [tuple(label for label, on in zip(self.labels, row) if on) for row in predicted]

    def score(self, X: Any, y: Sequence[Any], **fields: Any) -> float:
        """Accuracy: of the label, or of the whole set of labels."""
        predicted = self.predict(X, **fields)
        return float(np.mean([p == t if isinstance(t, str) else set(p) == set(t) for p, t in zip(predicted, y)]))

    def _embed(self, X: Any, fields: dict[str, Any]) -> Array:
        given = isinstance(X, Tensor) and X.ndim == 2
        embedded: Array = (X if given else self.model.embed(self.modality, X, **fields)).double().numpy()
        return embedded

    def _truth(self, y: Sequence[Any], several: bool) -> Array:
        if not several:
            return np.array(list(y))
        rows = [{own} if isinstance(own, str) else set(own) for own in y]
        strange = sorted(set().union(*rows) - set(self.labels))
        if strange:
            raise RecipeError(f"the label {strange[0]!r} of validation is none of those learnt: {self.labels}")
        return np.array([[label in own for label in self.labels] for own in rows], dtype=int)
