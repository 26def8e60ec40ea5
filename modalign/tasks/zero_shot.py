"""Zero-shot classification: each item is encoded once, each class is the mean of its prompts' embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from modalign.align.cache import FeatureTable
from modalign.align.data import AlignmentDataset
from modalign.align.embed import embed_split
from modalign.align.metrics import macro_auroc
from modalign.align.model import POOLED, AlignmentModel
from modalign.align.trainer import Evaluator
from modalign.errors import ModelError
from modalign.tasks.prompts import prompts_for

Array = NDArray[Any]


def class_embeddings(
    model: AlignmentModel, text: str, prompts: Mapping[str, Sequence[str]], table: FeatureTable | None = None
) -> Tensor:
    """(C, dim) unit rows: the normalised mean of each class's prompt embeddings; every distinct prompt encoded once.

    Args:
        model: the model.
        text: the tower that encodes prompts.
        prompts: label -> prompts.
        table: features of a frozen text tower, kept by the caller between calls; prompts that it lacks are added.

    Raises:
        ModelError: the model has no tower of that name.
    """
    distinct = list(dict.fromkeys(prompt for sentences in prompts.values() for prompt in sentences))
    place = {prompt: i for i, prompt in enumerate(distinct)}
    embedded = model.embed(text, distinct) if table is None else _embed_kept(model, text, distinct, table)
    means = [embedded[[place[p] for p in sentences]].mean(0) for sentences in prompts.values()]
    return F.normalize(torch.stack(means), dim=-1)


@torch.no_grad()
def _embed_kept(model: AlignmentModel, text: str, prompts: Sequence[str], table: FeatureTable) -> Tensor:
    part = model.tower(text)
    was_training = part.training
    part.eval()
    new = [prompt for prompt in prompts if prompt not in table]
    if new:
        table.add(new, part.encode_whole([part.modality.load(prompt) for prompt in new]).cpu())
    embedded: Tensor = part({POOLED: table.take(prompts).to(model.device)}).float().cpu()
    part.train(was_training)
    return embedded


class ZeroShotClassifier:
    """Classify items of one modality among labels given as text.

    Args:
        model: an aligned model.
        modality: the tower of the items.
        labels: candidate labels.
        templates: prompt templates with `{label}`; None takes the modality's.
        descriptions: label -> sentences; they win over templates.
        text: the tower that encodes prompts.

    Attributes:
        labels: as given.
        prompts: label -> prompts.
        class_embeddings: (C, dim).

    Example:
        >>> classifier = ZeroShotClassifier(model, "motion", ["walking", "sitting"])    # doctest: +SKIP
        >>> classifier.predict(["walk.csv"])                                             # doctest: +SKIP
        ['walking']

    Raises:
        ModelError: the model has no such tower.
    """

    def __init__(
        self,
        model: AlignmentModel,
        modality: str,
        labels: Sequence[str],
        templates: Sequence[str] | None = None,
        descriptions: Mapping[str, Sequence[str]] | None = None,
        text: str = "text",
    ) -> None:
        if text not in model.towers:
            raise ModelError(f"zero-shot needs a tower for prompts, and this model has none called {text!r}")
        kind = model.tower(modality).modality
        self.model, self.modality, self.text = model, modality, text
        self.labels = list(labels)
        self.prompts = prompts_for(labels, templates or (), descriptions, kind.descriptions, kind.templates)
        self.class_embeddings = class_embeddings(model, text, self.prompts)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, as scikit-learn's estimators give them."""
        return {"model": self.model, "modality": self.modality, "labels": self.labels, "text": self.text}

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Nothing to learn; here so that scikit-learn's tools can call it."""
        return self

    def decision_function(self, X: Any, **fields: Any) -> Array:
        """Cosines (N, C). X: embeddings (N, dim) as a tensor, or sources (paths, arrays, Signals)."""
        embeddings = X if isinstance(X, Tensor) and X.ndim == 2 else self.model.embed(self.modality, X, **fields)
        scores: Array = (embeddings @ self.class_embeddings.T).numpy()
        return scores

    def predict_proba(self, X: Any, **fields: Any) -> Array:
        """Softmax of the cosines at the model's temperature (N, C); not calibrated."""
        scale = self.model.temperature().item()
        probabilities: Array = torch.tensor(self.decision_function(X, **fields) * scale).softmax(-1).numpy()
        return probabilities

    def predict(self, X: Any, **fields: Any) -> list[str]:
        """The nearest label of each item."""
        return [self.labels[i] for i in self.decision_function(X, **fields).argmax(1)]

    def score(self, X: Any, y: Sequence[str], **fields: Any) -> float:
        """Accuracy."""
        return float(np.mean([p == t for p, t in zip(self.predict(X, **fields), y)]))


def prompt_accuracy(tower: str, text: str, templates: Sequence[str]) -> Evaluator:
    """An evaluator for the trainer: the val split classified among the labels of the whole manifest.

    Single-label rows give `accuracy`; where any row has several labels it is `macro_auroc`. Without labels, nothing.
    A frozen text tower encodes the prompts at the first evaluation only.
    """
    tables: WeakKeyDictionary[AlignmentModel, FeatureTable] = WeakKeyDictionary()

    def evaluate(model: AlignmentModel, dataset: AlignmentDataset) -> dict[str, float]:
        manifest = dataset.manifest
        labels = manifest.vocabulary
        if len(labels) < 2 or tower not in model.towers or text not in model.towers:
            return {}
        kind, words = model.tower(tower).modality, model.tower(text)
        prompts = prompts_for(labels, templates, manifest.descriptions, kind.descriptions, kind.templates)
        table = tables.setdefault(model, FeatureTable(words.width)) if words.frozen else None
        classes = class_embeddings(model, text, prompts, table)
        embedded = embed_split(model, dataset, tower)
        truth = [manifest.rows[i].labels for i in embedded.rows]
        labelled = [k for k, t in enumerate(truth) if t]
        if not labelled:
            return {}
        scores = (embedded.embeddings[labelled] @ classes.T).numpy()
        truth = [truth[k] for k in labelled]
        if any(len(t) > 1 for t in truth):
            matrix = np.array([[label in t for label in labels] for t in truth], dtype=int)
            return {"macro_auroc": macro_auroc(matrix, scores)[0]}
        return {"accuracy": float(np.mean([labels[s] == t[0] for s, t in zip(scores.argmax(1), truth)]))}

    return evaluate


def prompt_figures(towers: Mapping[str, Sequence[str]], text: str) -> Evaluator:
    """`prompt_accuracy` of every tower of recordings: as it is for one, else by tower, and their mean.

    Args:
        towers: tower -> its prompt templates.
        text: the tower that encodes prompts.
    """
    each = {tower: prompt_accuracy(tower, text, templates) for tower, templates in towers.items()}

    def evaluate(model: AlignmentModel, dataset: AlignmentDataset) -> dict[str, float]:
        found = {tower: dict(evaluator(model, dataset)) for tower, evaluator in each.items()}
        if len(found) == 1:
            return next(iter(found.values()))
        by_tower = {f"{tower}_{name}": value for tower, figures in found.items() for name, value in figures.items()}
        names = {name for figures in found.values() for name in figures}
        means = {n: float(np.mean([f[n] for f in found.values() if n in f])) for n in sorted(names)}
        return by_tower | means

    return evaluate
