"""The features that few-shot methods and probes learn on: every item encoded once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from modalign.align.embed import Advance, check_finite, embed_split
from modalign.align.manifest import Manifest, Row
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError
from modalign.tasks.evaluate import dataset_of
from modalign.tasks.evaluation import Array
from modalign.tasks.floor import hand_features

ALIGNED, TOWER, HAND = "aligned", "tower", "hand"
"""Unit rows of the shared space; the encoder's pooled output; the modality's hand features."""
UNTRAINED = "untrained "
"""Before the names of the features of a frozen random encoder."""
KINDS = (ALIGNED, TOWER)


@dataclass(frozen=True)
class Features:
    """The rows of a manifest, and what is known of each.

    Attributes:
        manifest: the rows, in order.
        values: kind -> (N, d).
    """

    manifest: Manifest
    values: Mapping[str, Array]

    @property
    def rows(self) -> list[Row]:
        """The manifest's."""
        return self.manifest.rows

    def split(self, name: str) -> Array:
        """Positions of a split's rows."""
        return np.array([i for i, row in enumerate(self.rows) if row.split == name], dtype=int)


def split_rows(
    manifest: Manifest, tower: str, splits: Sequence[str], has: Callable[[int], bool], what: str
) -> Manifest:
    """The rows of these splits that have the modality and a target.

    Args:
        manifest: all rows.
        tower: the modality.
        splits: those to keep; `train` and `test` must have rows.
        has: whether the row at a position has a target.
        what: the target, for errors.

    Raises:
        ManifestError: no such rows in train or test.
    """
    kept = [
        i for i, row in enumerate(manifest.rows) if row.split in splits and tower in row.sources and has(i)
    ]  # fmt: skip
    for split in ("train", "test"):
        if not any(manifest.rows[i].split == split for i in kept):
            raise ManifestError(
                f"{manifest.path}: no row of split {split!r} has {tower} and {what}; learning takes rows of train, "
                "and is measured on rows of test"
            )
    return manifest.take(kept)


def encode_rows(
    model: AlignmentModel,
    manifest: Manifest,
    tower: str,
    kinds: Sequence[str] = KINDS,
    untrained: AlignmentModel | None = None,
    advance: Advance | None = None,
) -> Features:
    """Encode the rows, all of which have the modality, once by each model.

    Args:
        model: the model.
        manifest: the rows.
        tower: the modality.
        kinds: "aligned", "tower"; the same of the untrained model come with them, as "untrained aligned"; and "hand",
            where the modality has hand features.
        untrained: the twin with random encoders, or None.
        advance: called with the number of rows done; each model's count.
    """
    values: dict[str, Array] = {}
    for prefix, one in (("", model), (UNTRAINED, untrained)):
        if one is None:
            continue
        dataset = dataset_of(one, manifest)
        embedded = embed_split(one, dataset, tower, advance=advance)
        check_finite(embedded.embeddings, [manifest.rows[i].id for i in embedded.rows], tower)
        found = {ALIGNED: embedded.embeddings, TOWER: embedded.pooled}
        values |= {prefix + kind: found[kind].double().numpy() for kind in kinds}
        if not prefix:
            hand = hand_features(dataset, tower)  # the signals are still in memory
            if hand is not None:
                values[HAND] = hand
    return Features(manifest, values)


def unit_features(values: Array, train: Array) -> Array:
    """Features of any scale as unit rows: standardised by the train rows (whose labels are not looked at) first.

    Args:
        values: (N, d).
        train: positions of the train rows.
    """
    spread = values[train].std(0)
    scaled = (values - values[train].mean(0)) / np.where(spread > 0, spread, 1)
    unit: Array = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    return unit


def long_table(rows: Sequence[Row], labels: Sequence[str], runs: Sequence[tuple[Mapping[str, Any], Array]]) -> Any:
    """A DataFrame with a row for each run and item: what is said of the run, the item, and a score for each label.

    Args:
        rows: N items.
        labels: C, of the scores' columns.
        runs: (name -> value, (N, C) scores) of each.
    """
    about = {
        "id": [row.id for row in rows],
        "group": [row.group for row in rows],
        "cluster": [row.cluster for row in rows],
        "label": [";".join(row.labels) for row in rows],
    }
    columns: dict[str, Any] = {name: [*values] * len(runs) for name, values in about.items()}
    for name in runs[0][0]:
        columns[name] = [said[name] for said, _ in runs for _ in rows]
    scores = np.concatenate([scores for _, scores in runs]).astype(np.float32)
    return pd.DataFrame(columns | {f"score of {label}": scores[:, c] for c, label in enumerate(labels)})
