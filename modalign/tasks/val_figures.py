"""Figures for the trainer: the val split classified by prompts after each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np

from modalign.align.cache import FeatureTable
from modalign.align.data import AlignmentDataset
from modalign.align.embed import embed_split
from modalign.align.metrics import macro_auroc
from modalign.align.model import AlignmentModel
from modalign.align.trainer import Evaluator
from modalign.tasks.prompt_embeddings import class_embeddings
from modalign.tasks.prompts import prompts_for


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
