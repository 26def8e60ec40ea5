"""What a head learns: the labels of a manifest, one or several a row, or a column of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from modalign.align.config import Section
from modalign.align.manifest import Manifest, Row
from modalign.errors import ManifestError
from modalign.tasks.finetune.config import FinetuneConfig
from modalign.tasks.fusion.criterion import Kind
from modalign.tasks.predictions import indicator
from modalign.tasks.probe.evaluate import with_target

Array = NDArray[Any]


class Target(Section):
    """What a head's outputs mean; saved with it.

    Attributes:
        kind: "single" (one label a row), "multi" (several), "regression".
        labels: of the outputs, sorted; those of the training rows.
        column: of the numbers, for regression.
        mean, sd: of the training rows' numbers, in the column's own units.
        thresholds: of the logits, a label each, chosen on val; None: p = 0.5, or never where a label was not on val.
    """

    kind: Kind
    labels: list[str] = Field(default_factory=list)
    column: str = ""
    mean: float = 0.0
    sd: float = 1.0
    thresholds: list[float | None] | None = None

    @property
    def outputs(self) -> int:
        """How many figures a row gets."""
        return len(self.labels) or 1

    def tensor(self, rows: Sequence[Row], numbers: Mapping[str, float]) -> Tensor:
        """What the loss takes: class numbers (N,), 0 and 1 (N, C), or standardised numbers (N, 1)."""
        if self.kind == "regression":
            values = torch.tensor([numbers[row.id] for row in rows], dtype=torch.float64)
            return ((values - self.mean) / self.sd).float().unsqueeze(1)
        if self.kind == "multi":
            return torch.from_numpy(indicator([row.labels for row in rows], self.labels)).float()
        return torch.tensor([self.labels.index(row.labels[0]) for row in rows])

    def decided(self, logits: Array) -> Array:
        """(N, C) of 0 and 1 of several labels a row."""
        limits = [0.0] * self.outputs if self.thresholds is None else self.thresholds
        chosen: Array = (logits >= np.array([np.inf if t is None else t for t in limits])).astype(int)
        return chosen


@dataclass(frozen=True)
class Task:
    """The rows of a manifest that a head can learn from or be measured on.

    Attributes:
        manifest: rows that have a target and one of the modalities at least.
        kind: of target.
        numbers: row id -> number, for regression.
    """

    manifest: Manifest
    kind: Kind
    numbers: Mapping[str, float]


def task_of(manifest: Manifest, config: FinetuneConfig) -> Task:
    """The usable rows, and what kind of target they have.

    Raises:
        ManifestError: no such column, words where numbers are asked for, or no usable row.
    """
    named, numbers = with_target(manifest, config.target or None)
    if config.head == "regression" and numbers is None:
        cells = manifest.table[config.target]
        strange = next(c for c in cells if str(c).strip() and not _is_number(c))
        raise ManifestError(
            f"{manifest.path}: the column {config.target!r} holds {strange!r}, which is no number; regression needs "
            "numbers or empty cells (for classes take head: classification)"
        )
    if config.head == "classification" and numbers is not None:  # numbers as names of classes
        named, numbers = _numbers_as_labels(manifest, config.target), None
    known = {} if numbers is None else {r.id: float(n) for r, n in zip(named.rows, numbers) if np.isfinite(n)}
    usable = [
        i
        for i, row in enumerate(named.rows)
        if (row.labels if numbers is None else row.id in known) and any(m in row.sources for m in config.modalities)
    ]
    if not usable:
        what = config.target or "a label"
        raise ManifestError(f"{manifest.path}: no row has {what} and one of {', '.join(config.modalities)}")
    kept = named.take(usable)
    several = any(len(row.labels) > 1 for row in kept.rows)
    return Task(kept, "regression" if numbers is not None else "multi" if several else "single", known)


def target_of(task: Task, train: Manifest, config: FinetuneConfig) -> Target:
    """The target as the training rows give it.

    Raises:
        ManifestError: one label alone, or numbers that do not vary.
    """
    if task.kind == "regression":
        values = np.array([task.numbers[row.id] for row in train.rows])
        if not values.std() > 0:
            raise ManifestError(f"{train.path}: {config.target!r} is {values[0]:g} in all train rows")
        return Target(kind="regression", column=config.target, mean=float(values.mean()), sd=float(values.std()))
    if len(train.labels) < 2:
        raise ManifestError(
            f"{train.path}: the {len(train.rows):,} train rows have {len(train.labels)} labels; a head needs two"
        )
    return Target(kind=task.kind, labels=train.labels)


def with_known_labels(manifest: Manifest, target: Target) -> Manifest | None:
    """The rows of which something can be scored: with one label a row, those whose label training had."""
    if target.kind != "single":
        return manifest if manifest.rows else None
    kept = [i for i, row in enumerate(manifest.rows) if row.labels[0] in target.labels]
    return manifest.take(kept) if kept else None


def _numbers_as_labels(manifest: Manifest, column: str) -> Manifest:
    from dataclasses import replace

    import pandas as pd

    named = manifest.take(range(len(manifest.rows)))
    cells = ["" if pd.isna(cell) else str(cell).strip() for cell in manifest.table[column]]
    named.rows = [replace(row, labels=(cell,) if cell else ()) for row, cell in zip(manifest.rows, cells)]
    named.vocabulary = named.labels
    return named


def _is_number(cell: Any) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except (TypeError, ValueError):
        return False
