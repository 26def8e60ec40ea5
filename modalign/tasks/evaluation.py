"""An evaluation: a protocol, figures with intervals beside chance and baselines, and the rows they came from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from modalign.align.manifest import Manifest, Row
from modalign.align.metrics import cluster_bootstrap, confusion_matrix, macro_auroc

Array = NDArray[Any]


@dataclass(frozen=True)
class Result:
    """One line of a table: a method, its figure, its 95 % interval, and its scores."""

    name: str
    value: float
    interval: tuple[float, float] | None = None
    scores: Array | None = field(default=None, repr=False)
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A further table of an evaluation: classes, subgroups, templates, shots. Cells are words or figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]
    note: str = ""


@dataclass
class Evaluation:
    """What was measured, on which rows, by which protocol.

    Attributes:
        title: of the table.
        protocol: "seen classes, unseen people", "held-out classes", ...
        metric: "accuracy" or "macro AUROC".
        labels: in the order of the scores' columns.
        rows: the rows scored.
        results: the table, best last; the last with scores is the model's own.
        notes: what a reader must know.
        tables: what is told beside the main table.
        embeddings: (N, dim) unit rows of the items, where the model made some.
        classes: (C, dim) unit rows of the labels, likewise.
        scale: the model's 1 / temperature, for probabilities.
    """

    title: str
    protocol: str
    metric: str
    labels: list[str]
    rows: list[Row]
    results: list[Result]
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    embeddings: Tensor | None = field(default=None, repr=False)
    classes: Tensor | None = field(default=None, repr=False)
    scale: float | None = None

    @property
    def multi_label(self) -> bool:
        """Whether any row has several labels."""
        return self.metric != "accuracy"

    @property
    def main(self) -> Result:
        """The model's own result: the last that has scores."""
        return next(r for r in reversed(self.results) if r.scores is not None)

    def confusion(self) -> Array | None:
        """(C, C) counts of the main result, or None for several labels a row."""
        if self.multi_label:
            return None
        assert self.main.scores is not None
        predicted = [self.labels[i] for i in self.main.scores.argmax(1)]
        return confusion_matrix([row.labels[0] for row in self.rows], predicted, self.labels)

    def predictions(self, scores: Array | None = None) -> pd.DataFrame:
        """A row for each item: id, group, cluster, label, and a score for each class."""
        scores = self.main.scores if scores is None else scores
        assert scores is not None
        table = pd.DataFrame(
            {
                "id": [row.id for row in self.rows],
                "group": [row.group for row in self.rows],
                "cluster": [row.cluster for row in self.rows],
                "label": [";".join(row.labels) for row in self.rows],
            }
        )
        # A class may be called as one of the columns before it, and Parquet refuses a name twice.
        names = [f"{label} (score)" if label in table.columns else label for label in self.labels]
        return pd.concat([table, pd.DataFrame(scores, columns=names)], axis=1)

    def counts(self) -> dict[str, int]:
        """Rows, groups (people) and clusters (recordings)."""
        groups = {row.group for row in self.rows if row.group}
        clusters = {row.cluster for row in self.rows if row.cluster}
        return {"rows": len(self.rows), "groups": len(groups), "clusters": len(clusters)}

    def save(self, folder: Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write `metrics.json` and `predictions.parquet`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.predictions().to_parquet(folder / "predictions.parquet", index=False)
        (folder / "metrics.json").write_text(json.dumps({**self.as_dict(), **(extra or {})}, indent=1))

    def as_dict(self) -> dict[str, Any]:
        """The figures, for `metrics.json`."""
        return {
            "title": self.title,
            "protocol": self.protocol,
            "metric": self.metric,
            "labels": self.labels,
            "counts": self.counts(),
            "results": [
                {
                    "name": r.name,
                    self.metric: _json(r.value),
                    "ci": r.interval and [*map(_json, r.interval)],
                    "note": r.note,
                }
                for r in self.results
            ],
            "notes": self.notes,
            "tables": [
                {
                    "title": t.title,
                    "note": t.note,
                    "columns": list(t.columns),
                    "rows": [list(map(_cell, r)) for r in t.rows],
                }
                for t in self.tables
            ],
        }


def _cell(value: str | float) -> str | float | None:
    return value if isinstance(value, str) else _json(value)


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value  # JSON has no NaN


def unit_of_resampling(rows: Sequence[Row]) -> tuple[list[str], str]:
    """What intervals resample: groups where there are ten or more, else clusters, else rows; and its name."""
    groups = [row.group or row.id for row in rows]
    clusters = [row.cluster or row.group or row.id for row in rows]
    if any(row.group for row in rows) and len(set(groups)) >= 10:
        return groups, "groups"
    if any(row.cluster for row in rows):
        return clusters, "recordings"
    if any(row.group for row in rows):
        return groups, "groups"
    return clusters, "rows"


def score_result(
    name: str, scores: Array, rows: Sequence[Row], labels: Sequence[str], note: str = "", auroc: bool = False
) -> Result:
    """Accuracy (or macro AUROC where a row has several labels) with its interval.

    Args:
        name: of the method.
        scores: (N, C).
        rows: N labelled rows.
        labels: C labels.
        note: shown beside.
        auroc: macro AUROC for one label a row too, where accuracy would follow the commoner class.
    """
    units, _ = unit_of_resampling(rows)
    several = auroc or any(len(row.labels) > 1 for row in rows)

    def figure(index: Array) -> float:
        return score_of(scores[index], [rows[i] for i in index], labels, several)

    if not several:  # one comparison for all draws
        correct = _correct(scores, rows, labels)
        interval = cluster_bootstrap(lambda index: float(correct[index].mean()), units)
        return Result(name, float(correct.mean()), interval, scores, note)
    return Result(name, figure(np.arange(len(rows))), cluster_bootstrap(figure, units, draws=200), scores, note)


def score_of(scores: Array, rows: Sequence[Row], labels: Sequence[str], several: bool) -> float:
    """Macro AUROC of (N, C) scores where rows may have several labels, else accuracy."""
    if several:
        truth = np.array([[label in row.labels for label in labels] for row in rows], dtype=int)
        return macro_auroc(truth, scores)[0]
    return float(_correct(scores, rows, labels).mean())


def _correct(scores: Array, rows: Sequence[Row], labels: Sequence[str]) -> Array:
    place = {label: i for i, label in enumerate(labels)}
    correct: Array = scores.argmax(1) == np.array([place[row.labels[0]] for row in rows])
    return correct


def unscored_labels(rows: Sequence[Row], labels: Sequence[str]) -> list[str]:
    """The labels that macro AUROC leaves out: those of all rows, or of none."""
    counts = {label: sum(label in row.labels for row in rows) for label in labels}
    return [label for label, count in counts.items() if count in (0, len(rows))]


def chance(rows: Sequence[Row], labels: Sequence[str]) -> Result:
    """The better of guessing at random and always naming the commonest class; 0.5 for AUROC."""
    if any(len(row.labels) > 1 for row in rows):
        return Result("chance", 0.5)
    counts = pd.Series([row.labels[0] for row in rows]).value_counts()
    return Result("chance", max(1 / len(labels), float(counts.iloc[0]) / len(rows)), note=f"always {counts.index[0]!r}")


def hashed_groups(rows: Sequence[Row], salt: str) -> list[str]:
    """The rows' groups as salted hashes, so that a shared model names no patient."""
    groups = sorted({row.group for row in rows if row.group})
    return sorted(hashlib.blake2b(f"{salt}{group}".encode(), digest_size=8).hexdigest() for group in groups)


def protocol_of(record: Mapping[str, Any] | None, manifest: Manifest, split: str) -> str:
    """Name the protocol from what the model says it was trained on, and claim no more than that shows.

    Args:
        record: the model's training record (`labels`, `manifest_sha256`, `salt`, `hashed_groups`), or None.
        manifest: the whole manifest that is evaluated on.
        split: the split that is evaluated.
    """
    rows = [row for row in manifest.rows if split in ("all", row.split)]
    if record is None:
        return "training unknown"
    labels = {label for row in rows for label in row.labels}
    seen = labels & set(record.get("labels", ()))
    classes = "seen classes" if seen == labels else "held-out classes" if not seen else "seen and held-out classes"
    same = bool(manifest.sha256) and record.get("manifest_sha256") == manifest.sha256
    trained = set(record.get("hashed_groups", ()))
    tested = set(hashed_groups(rows, record.get("salt", "")))
    if not trained or not tested:
        people = "people unknown"
    elif trained & tested:
        people = "not subject-independent" if same else "groups named as training's"
    else:
        people = "unseen people"
    return f"{classes}, {people}" if same else f"another manifest than training's, {classes}, {people}"
