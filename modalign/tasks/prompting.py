"""How labels are asked for, as one thing that evaluations and the command line hand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modalign.align.data import AlignmentDataset
from modalign.align.embed import embed_split
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel
from modalign.tasks.evaluation import Array
from modalign.tasks.zero_shot import ZeroShotClassifier


@dataclass(frozen=True)
class Prompting:
    """What `ZeroShotClassifier` is built with, but for model and labels.

    Attributes:
        templates: with `{label}`; they win over what manifest and modality know of a label.
        descriptions: label -> sentences; they win over templates. None: the manifest's, unless there are templates.
        text: the tower for prompts.
        options: further ones of `ZeroShotClassifier` (`ensemble`, `multi_label`, ...).
    """

    templates: Sequence[str] | None = None
    descriptions: Mapping[str, Sequence[str]] | None = None
    text: str = "text"
    options: Mapping[str, Any] = field(default_factory=dict)

    def classifier(
        self,
        model: AlignmentModel,
        tower: str,
        labels: Sequence[str],
        known: Mapping[str, Sequence[str]] | None = None,
    ) -> ZeroShotClassifier:
        """The classifier; `known` are the manifest's (or the model's) own descriptions."""
        said = self.descriptions if self.descriptions is not None else ({} if self.templates else known)
        return ZeroShotClassifier(model, tower, labels, self.templates, said, self.text, **self.options)

    def scores(self, model: AlignmentModel, rows: Manifest, tower: str, labels: Sequence[str]) -> Array:
        """(N, C) scores of rows that all have the modality."""
        dataset = AlignmentDataset(rows, {name: model.tower(name) for name in model.towers})
        items = embed_split(model, dataset, tower).embeddings
        return self.classifier(model, tower, labels, rows.descriptions).decision_function(items)
