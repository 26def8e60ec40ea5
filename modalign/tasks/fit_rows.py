"""Which rows `debias` and `reject_rate` learn from in an evaluation: train or val; of the test set: transductive."""

from __future__ import annotations

import torch
from torch import Tensor

from modalign.align.data import AlignmentDataset
from modalign.align.embed import Advance, check_finite, embed_split
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel
from modalign.errors import RecipeError
from modalign.tasks.zero_shot import ZeroShotClassifier

SPLITS = ("train", "val", "test")


class EncodedRows:
    """Embeddings of a manifest's rows by one tower, each row encoded when it is first asked for.

    Args:
        model: the model.
        tower: the rows' modality.
        advance: for a progress bar, called with the rows encoded.
    """

    def __init__(self, model: AlignmentModel, tower: str, advance: Advance | None = None) -> None:
        self.model, self.tower, self.advance = model, tower, advance
        self._rows: dict[str, Tensor] = {}

    def add(self, rows: Manifest, embeddings: Tensor) -> None:
        """Take (N, dim) embeddings that were made before."""
        ids = [row.id for row in rows.rows]
        self._rows.update(zip(ids, check_finite(embeddings, ids, self.tower)))

    def __call__(self, rows: Manifest) -> Tensor:
        """(N, dim) of rows that all have the modality."""
        new = rows.take([i for i, row in enumerate(rows.rows) if row.id not in self._rows])
        if new.rows:
            dataset = AlignmentDataset(new, {name: self.model.tower(name) for name in self.model.towers})
            self.add(new, embed_split(self.model, dataset, self.tower, advance=self.advance).embeddings)
        return torch.stack([self._rows[row.id] for row in rows.rows])


def fit_classifier(
    classifier: ZeroShotClassifier, manifest: Manifest, split: str, on: str, encoded: EncodedRows
) -> list[str]:
    """Fit a classifier that needs it, and say on what.

    Args:
        classifier: with or without `debias` and `reject_rate`.
        manifest: all rows.
        split: what is evaluated.
        on: the split to learn from: "train", "val", or "test" (the mean of `debias` alone).
        encoded: the rows' embeddings.

    Raises:
        RecipeError: `on` is no split, has no rows, or is evaluated itself where a threshold is wanted.
    """
    if not classifier.debias and classifier.reject_rate is None:
        return []
    if on not in SPLITS:
        raise RecipeError(f"--fit-on {on!r}: train, val, or (for --debias alone) test")
    transductive = split in (on, "all")
    if transductive and classifier.reject_rate is not None:
        raise RecipeError(f"--fit-on {on}: a threshold is not set on rows that are evaluated; give another split")
    if on == "test" and not transductive:
        raise RecipeError(f"--fit-on test: {split} is what is evaluated, so give train or val")
    named = enumerate(manifest.rows)
    rows = manifest.take([i for i, r in named if r.split == on and encoded.tower in r.sources and r.labels])
    if not rows.rows:
        raise RecipeError(f"--fit-on {on}: {manifest.path} has no labelled rows of that split with {encoded.tower}")
    classifier.fit(encoded(rows), [row.labels for row in rows.rows])
    if not classifier.debias:
        return []
    notes = [f"Debiased: the mean embedding of {len(rows.rows):,} rows of {on} is taken from every item."]
    return [*notes, "Transductive: that mean is of the rows that are evaluated."] if transductive else notes


def is_transductive(classifier: ZeroShotClassifier, split: str, on: str) -> bool:
    """Whether the constants come from rows that are evaluated."""
    return bool(classifier.debias) and split in (on, "all")
