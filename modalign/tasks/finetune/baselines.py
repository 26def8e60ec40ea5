"""What stands beside a fine-tuned model: chance, hand features, an untrained encoder, prompts, a linear probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.align.data import AlignmentDataset
from modalign.align.embed import Advance
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel
from modalign.tasks.evaluation import Result, chance, score_result
from modalign.tasks.finetune.config import FinetuneConfig
from modalign.tasks.finetune.regression import number_result
from modalign.tasks.finetune.target import Target, Task
from modalign.tasks.floor import hand_features
from modalign.tasks.fusion.embeddings import Encoded, encode_modalities
from modalign.tasks.probe.fits import PROBES, probed_labels, probed_numbers
from modalign.tasks.zero_shot import ZeroShotClassifier

Array = NDArray[Any]
LINEAR = PROBES["linear"]


class Baselines:
    """The lines beside a fine-tuned model, each learnt from the same train rows and measured on the same rows.

    Args:
        config: of the fine-tuning.
        target: of the head.
        task: all usable rows.
        tested: the rows measured.
        labels: in the order of the scores' columns; empty for regression.
        several: whether rows may have several labels.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        target: Target,
        task: Task,
        tested: Manifest,
        labels: Sequence[str],
        several: bool,
    ) -> None:
        self.config, self.target, self.task, self.labels = config, target, task, list(labels)
        self.tested, self.several = tested, several
        self.train = task.manifest.split("train") if task.manifest.has("train") else None
        self.truth = np.array([task.numbers.get(row.id, np.nan) for row in tested.rows])

    def floor(self) -> Result:
        """Chance; for numbers what always saying the train rows' mean comes to."""
        if self.several:
            return Result("chance", 0.5)
        if self.target.kind != "regression":
            return chance(self.tested.rows, self.labels)
        said = np.full(len(self.tested.rows), self.target.mean)
        return number_result("mean of train", self.truth, said, self.tested.rows)

    def hand(self, model: AlignmentModel) -> list[Result]:
        """A linear model on hand features, where there is one modality and it has them."""
        if self.train is None or len(self.config.modalities) > 1:
            return []
        name = self.config.modalities[0]
        both = [hand_features(_dataset(model, part, [name]), name) for part in (self.train, self.tested)]
        if both[0] is None or both[1] is None:
            return []
        kind = "logistic" if self.target.kind != "regression" else "ridge"
        return [self._probe("linear", both[0], both[1], f"{kind} regression on hand features")]

    def encoded(self, model: AlignmentModel, advance: Advance | None = None) -> tuple[Encoded | None, Encoded]:
        """The train and the tested rows, encoded once by a model."""
        names = self.config.modalities
        both = [
            encode_modalities(model, _dataset(model, part, names), names, advance=advance) if part else None
            for part in (self.train, self.tested)
        ]
        assert both[1] is not None
        return both[0], both[1]

    def probe(self, name: str, encoded: tuple[Encoded | None, Encoded], note: str) -> list[Result]:
        """A linear probe on a frozen encoder's features, zeros where a modality is missing."""
        if encoded[0] is None:
            return []
        made = [np.concatenate([e.pooled[m].numpy() for m in self.config.modalities], 1) for e in encoded if e]
        return [self._probe(name, made[0], made[1], note)]

    def prompts(
        self, name: str, model: AlignmentModel, encoded: Encoded, said: Mapping[str, Sequence[str]], note: str
    ) -> list[Result]:
        """Classification by prompts: the mean over the modalities that a row has."""
        if self.target.kind == "regression" or self.config.text not in model.towers:
            return []
        config, total = self.config, np.zeros((len(self.tested.rows), len(self.labels)))
        for m, modality in enumerate(config.modalities):
            templates = config.templates or None
            known = {} if templates else said
            classifier = ZeroShotClassifier(model, modality, self.labels, templates, known, config.text)
            there = encoded.present[:, m : m + 1].numpy()
            total += np.where(there, classifier.decision_function(encoded.aligned[modality]), 0.0)
        scores = total / encoded.present.sum(1, keepdim=True).clamp_min(1).numpy()
        return [self._scored(name, scores, note)]

    def _scored(self, name: str, scores: Array, note: str) -> Result:
        return score_result(name, scores, self.tested.rows, self.labels, note, auroc=self.several)

    def _probe(self, name: str, train: Array, tested: Array, note: str) -> Result:
        assert self.train is not None
        by_group, rows = not self.train.official_split, self.train.rows
        if self.target.kind == "regression":
            numbers = np.array([self.task.numbers[row.id] for row in rows])
            said = probed_numbers(LINEAR, train, rows, numbers, tested, by_group)[0][:, 0]
            return number_result(name, self.truth, said, self.tested.rows, note)
        scores, _ = probed_labels(LINEAR, train, rows, tested, self.labels, self.several, by_group)
        return self._scored(name, scores, note)


def _dataset(model: AlignmentModel, manifest: Manifest, names: Sequence[str]) -> AlignmentDataset:
    return AlignmentDataset(manifest, {name: model.tower(name) for name in names})


def padded(scores: Array, learnt: Sequence[str], labels: Sequence[str]) -> Array:
    """Scores (N, C) with columns for labels that training lacked, so low that they are never chosen."""
    made = np.full((len(scores), len(labels)), (scores.min() if scores.size else 0.0) - 30.0)
    made[:, [list(labels).index(label) for label in learnt]] = scores
    return made
