"""Zero-shot classification by prompts: one label an item, several by pairs of prompts, or several by raw cosine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor
from torch.nn import functional as F

from modalign.align.metrics import macro_auroc
from modalign.align.model import AlignmentModel
from modalign.errors import ModelError, RecipeError, suggest
from modalign.tasks.ensembles import get_ensemble
from modalign.tasks.prompt_embeddings import class_embeddings, grouped_embeddings
from modalign.tasks.prompts import negatives_for, prompts_for
from modalign.tasks.rejection import refused_scores, threshold_at
from modalign.tasks.val_figures import prompt_accuracy, prompt_figures

__all__ = ["ZeroShotClassifier", "class_embeddings", "prompt_accuracy", "prompt_figures"]

Array = NDArray[Any]
MULTI_LABEL = ("pairs", "cosine")


class ZeroShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify items of one modality among labels given as text; a scikit-learn estimator.

    Nothing need be fitted, but for `debias` and `reject_rate`, whose constants come from train or val items. Wherever
    items are asked for, give sources (paths, arrays, Signals), or (N, dim) unit rows from `embed`, so that an item is
    encoded once for all that is asked of it. Prompts are encoded once a model, also by other classifiers of it.

    Args:
        model: an aligned model.
        modality: the tower of the items.
        labels: candidate labels.
        templates: prompt templates with `{label}`; None takes the modality's.
        descriptions: label -> sentences; they win over templates.
        text: the tower that encodes prompts.
        multi_label: None: one label an item, the highest score. "pairs": each label against its absence, p = softmax of
            the two scores (CheXzero). "cosine": the raw cosine, to be judged by AUROC (MERL).
        negatives: for "pairs": templates with `{label}`, or label -> sentences; None takes the modality's negations.
        ensemble: of a class's prompts: "mean_embedding" (open_clip's), "mean_score", "max" (MoRE's).
        scale: of the scores in `predict_proba`: a number, "model" (1 / temperature), or None: the model's for one
            label an item, and 1 for pairs, as in CheXzero's code. It changes no AUROC, but calibration.
        debias: subtract the mean embedding of the items given to `fit` (train or val; of the test set it is
            *transductive*, and must be called so) from every item.
        seen: labels that training had, for `gamma`; None takes the model's record.
        gamma: subtracted from the scores of `seen` labels (calibrated stacking, Chao et al. 2016).
        reject_rate: `fit` sets the threshold over which this share of the items that are none of the labels lies.
        reject_label: what `predict` says of items under the threshold.

    Attributes:
        prompts: label -> prompts.
        negative_prompts: label -> prompts of its absence ("pairs" only).
        class_embeddings: (C, dim), the normalised mean of each label's prompts.
        mean_: (dim,), after `fit` with `debias`.
        threshold_: a number, or (C,) with several labels an item, after `fit` with `reject_rate`.

    Example:
        >>> classifier = ZeroShotClassifier(model, "motion", ["walking", "sitting"])    # doctest: +SKIP
        >>> classifier.predict(["walk.csv"])                                             # doctest: +SKIP
        ['walking']

    Raises:
        ModelError: the model has no such tower.
        RecipeError: labels, prompts or options that cannot be used.
    """

    def __init__(
        self,
        model: AlignmentModel,
        modality: str,
        labels: Sequence[str],
        templates: Sequence[str] | None = None,
        descriptions: Mapping[str, Sequence[str]] | None = None,
        text: str = "text",
        *,
        multi_label: Literal["pairs", "cosine"] | None = None,
        negatives: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        ensemble: str = "mean_embedding",
        scale: float | Literal["model"] | None = None,
        debias: bool = False,
        seen: Sequence[str] | None = None,
        gamma: float = 0.0,
        reject_rate: float | None = None,
        reject_label: str = "none of these",
    ) -> None:
        self.model, self.modality, self.labels, self.text = model, modality, list(labels), text
        self.templates, self.descriptions, self.negatives = templates, descriptions, negatives
        self.multi_label, self.ensemble, self.scale = multi_label, ensemble, scale
        self.debias, self.seen, self.gamma = debias, seen, gamma
        self.reject_rate, self.reject_label = reject_rate, reject_label
        self._prepare()

    def _prepare(self) -> None:
        """Check the parameters and make the prompts; encoding waits until scores are asked for."""
        if self.text not in self.model.towers:
            raise ModelError(f"zero-shot needs a tower for prompts, and this model has none called {self.text!r}")
        kind = self.model.tower(self.modality).modality
        if self.multi_label is not None and self.multi_label not in MULTI_LABEL:
            raise RecipeError(f"no multi_label {self.multi_label!r}; {suggest(str(self.multi_label), MULTI_LABEL)}")
        get_ensemble(self.ensemble)
        templates = tuple(self.templates or ())
        self.prompts = prompts_for(self.labels, templates, self.descriptions, kind.descriptions, kind.templates)
        self.negative_prompts: dict[str, list[str]] = {}
        if self.multi_label == "pairs":
            self.negative_prompts = negatives_for(
                self.labels, self.negatives, kind.opposites, kind.negations, templates or kind.templates
            )
        if self.reject_label in self.labels:
            raise RecipeError(f"reject_label {self.reject_label!r} is one of the labels; choose another")

    def __sklearn_clone__(self) -> Self:
        """The same parameters, unfitted; the model is shared, since a copy would double its memory."""
        return type(self)(**self.get_params(deep=False))

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Short: a model's own text is hundreds of lines."""
        return f"ZeroShotClassifier({self.modality!r}, {len(self.labels)} labels, ensemble={self.ensemble!r})"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/plain": repr(self)}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; what was fitted stays until the next `fit`."""
        super().set_params(**params)
        self.labels = list(self.labels)
        self._prepare()
        return self

    @property
    def classes_(self) -> Array:
        """The labels as an array, for scikit-learn."""
        return np.array(self.labels, dtype=object)

    @property
    def class_embeddings(self) -> Tensor:
        """(C, dim) unit rows: the normalised mean of each label's prompts."""
        return class_embeddings(self.model, self.text, self.prompts)

    def embed(self, X: Any, **fields: Any) -> Tensor:
        """Items as (N, dim) unit rows; those that are already so come back as they are.

        Args:
            X: sources (paths, arrays, Signals), or embeddings as a tensor or array (N, dim).
            fields: what a manifest would say of the sources (`rate=50`).
        """
        if isinstance(X, (Tensor, np.ndarray)) and X.ndim == 2 and X.shape[1] == self.model.dim:
            return torch.as_tensor(X).detach().cpu().float()
        return self.model.embed(self.modality, X, **fields)

    def fit(self, X: Any = None, y: Any = None, **fields: Any) -> Self:
        """Learn the constants that `debias` and `reject_rate` need, from train or val items; else do nothing.

        Args:
            X: items, as for `predict`.
            y: their labels, for `reject_rate`; see `refused_scores` for which of them are none of the labels.
            fields: as for `embed`.

        Raises:
            RecipeError: an option needs items or labels that are not given.
        """
        if X is None and (self.debias or self.reject_rate is not None):
            raise RecipeError("debias and reject_rate need fit(X, y) with items of train or val")
        embeddings = self.embed(X, **fields) if self.debias or self.reject_rate is not None else None
        if self.debias:
            assert embeddings is not None
            self.mean_ = embeddings.mean(0)
        if self.reject_rate is not None:
            if y is None:
                raise RecipeError("reject_rate needs the labels too: fit(X, y)")
            self.threshold_ = self._thresholds(self.decision_function(embeddings), y, self.reject_rate)
        return self

    def _thresholds(self, scores: Array, y: Any, rate: float) -> Any:
        if self.multi_label is None:
            return threshold_at(refused_scores(scores, single_labels_of(y), self.labels), rate)
        truth = indicator_of(y, self.labels)
        if truth.all(0).any():
            label = self.labels[int(truth.all(0).argmax())]
            raise RecipeError(f"every validation row has {label!r}, so no threshold can be set for it at a rate")
        return np.array([threshold_at(scores[truth[:, c] == 0, c], rate) for c in range(len(self.labels))])

    def decision_function(self, X: Any, **fields: Any) -> Array:
        """Scores (N, C): cosines; for "pairs" the positive's less the negative's. Debiased and calibrated, if asked."""
        items = self.embed(X, **fields)
        if self.debias:
            if not hasattr(self, "mean_"):
                raise RecipeError("debias=True needs fit(X) with items of train or val first")
            items = F.normalize(items - self.mean_, dim=-1)
        combine = get_ensemble(self.ensemble)
        scores = combine(items, grouped_embeddings(self.model, self.text, self.prompts))
        if self.multi_label == "pairs":
            scores = scores - combine(items, grouped_embeddings(self.model, self.text, self.negative_prompts))
        if self.gamma:
            seen = set(self.seen_labels())
            scores = scores - self.gamma * torch.tensor([label in seen for label in self.labels], dtype=scores.dtype)
        calibrated: Array = scores.numpy()
        return calibrated

    def seen_labels(self) -> list[str]:
        """The labels that training saw: `seen`, else what the model's record says.

        Raises:
            RecipeError: neither says any.
        """
        seen = self.seen if self.seen is not None else (self.model.record or {}).get("labels")
        if seen is None:
            raise RecipeError("gamma needs the labels that training saw, which the model does not say; give seen=")
        return list(seen)

    def probability_scale(self) -> float:
        """What scores are multiplied by before they become probabilities; see `scale`."""
        scale = self.scale if self.scale is not None else "model" if self.multi_label is None else 1.0
        return self.model.temperature().item() if scale == "model" else float(scale)

    def predict_proba(self, X: Any, **fields: Any) -> Array:
        """(N, C): softmax over labels, or for "pairs" each label's softmax against its absence; not calibrated.

        Raises:
            RecipeError: `multi_label="cosine"`, whose scores are no probabilities.
        """
        if self.multi_label == "cosine":
            raise RecipeError('raw cosines are no probabilities; use multi_label="pairs", or decision_function')
        logits = torch.tensor(self.decision_function(X, **fields) * self.probability_scale())
        probabilities: Array = (logits.softmax(-1) if self.multi_label is None else logits.sigmoid()).numpy()
        return probabilities

    def predict(self, X: Any, **fields: Any) -> list[Any]:
        """One label an item; with several labels an item, a tuple of labels: those over the threshold.

        Without `reject_rate`, every item gets a label, and "pairs" takes the labels nearer than their absence.

        Raises:
            RecipeError: `multi_label="cosine"` without a threshold, or `reject_rate` without `fit`.
        """
        scores = self.decision_function(X, **fields)
        if self.reject_rate is not None and not hasattr(self, "threshold_"):
            raise RecipeError("reject_rate needs fit(X, y) with items of val first")
        threshold = self.threshold_ if self.reject_rate is not None else None
        if self.multi_label is None:
            best = scores.argmax(1)
            kept = np.full(len(scores), True) if threshold is None else scores.max(1) > threshold
            return [self.labels[i] if ok else self.reject_label for i, ok in zip(best, kept)]
        if threshold is None:
            if self.multi_label == "cosine":
                raise RecipeError("a raw cosine has no natural threshold; give reject_rate and fit(X, y) on val first")
            threshold = 0.0
        said = [tuple(label for label, ok in zip(self.labels, row) if ok) for row in scores > threshold]
        return [own or (self.reject_label,) for own in said]

    def score(self, X: Any, y: Any, sample_weight: Any = None, **fields: Any) -> float:
        """Accuracy, where `reject_label` is right for items of none of the labels; macro AUROC with several an item.

        Args:
            X: items.
            y: N labels; with several an item, N collections of labels, ";"-separated strings, or (N, C) of 0 and 1.
            sample_weight: N weights, for accuracy.
            fields: as for `embed`.
        """
        if self.multi_label is not None:
            return macro_auroc(indicator_of(y, self.labels), self.decision_function(X, **fields))[0]
        truth = single_labels_of(y)
        expected = [t if t in self.labels else self.reject_label for t in truth]
        right = [p == t for p, t in zip(self.predict(X, **fields), expected)]
        return float(np.average(right, weights=sample_weight))


def label_sets_of(y: Any, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Each item's labels, from N labels, ";"-separated strings, collections of labels, or (N, C) of 0 and 1."""
    if hasattr(y, "ndim") and y.ndim == 2:
        return [tuple(label for label, ok in zip(labels, row) if ok) for row in y]
    return [tuple(p.strip() for p in own.split(";") if p.strip()) if isinstance(own, str) else tuple(own) for own in y]


def indicator_of(y: Any, labels: Sequence[str]) -> Array:
    """(N, C) of 0 and 1: which labels each item has; `y` as for `label_sets_of`."""
    return np.array([[label in own for label in labels] for own in label_sets_of(y, labels)], dtype=int)


def single_labels_of(y: Any) -> list[str]:
    """Each item's one label, from N labels, or collections of one label or none ("").

    Raises:
        RecipeError: an item has several.
    """
    found = []
    for own in y:
        labels = (own,) if isinstance(own, str) else tuple(own)
        if len(labels) > 1:
            raise RecipeError(
                f"an item has the labels {'; '.join(map(str, labels))}; for several an item give "
                'multi_label="pairs" or "cosine"'
            )
        found.append(labels[0] if labels else "")
    return found
