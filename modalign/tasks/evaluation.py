"""An evaluation: a protocol, figures with intervals beside chance and baselines, and the rows they came from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from modalign.align.manifest import Manifest, Row
from modalign.align.metrics import (
    Calibration,
    class_areas,
    cluster_bootstrap,
    cluster_draws,
    confusion_matrix,
    macro_auroc,
    percentile_interval,
    units_of,
    weighted_areas,
)
from modalign.align.metrics.areas import mean_of_defined, scorable
from modalign.tasks.figure_tables import calibration_table, class_table, figures_table, subgroup_tables
from modalign.tasks.figures import Measured, chance_figures, measure, plain
from modalign.tasks.predictions import FEW_GROUPS, Predictions, from_table, indicator, unit_of_resampling
from modalign.tasks.results import Result, Table

__all__ = [
    "Evaluation",
    "Result",
    "Table",
    "chance",
    "few_groups",
    "hashed_groups",
    "interval_note",
    "predictions_file",
    "protocol_of",
    "recompute",
    "score_of",
    "score_result",
    "unit_of_resampling",
    "unscored_labels",
]

Array = NDArray[Any]


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
        subgroups: column of the manifest -> the subgroup of each row.
        own: how the model's own temperature makes probabilities of the main result's scores.
        fitted: the same, fitted on val.
        measured: method -> all its figures, after `measure_all`.
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
    subgroups: dict[str, list[str]] = field(default_factory=dict)
    own: Calibration | None = None
    fitted: Calibration | None = None
    measured: dict[str, Measured] = field(default_factory=dict, repr=False)

    @property
    def multi_label(self) -> bool:
        """Whether any row has several labels."""
        return self.metric != "accuracy"

    @property
    def main(self) -> Result:
        """The model's own result: the last that has scores; where none has (retrieval), the last."""
        return next((r for r in reversed(self.results) if r.scores is not None), self.results[-1])

    def confusion(self) -> Array | None:
        """(C, C) counts of the main result, or None for several labels a row."""
        if self.multi_label:
            return None
        assert self.main.scores is not None
        predicted = [self.labels[i] for i in self.main.scores.argmax(1)]
        return confusion_matrix([row.labels[0] for row in self.rows], predicted, self.labels)

    def predictions(self, scores: Array | None = None) -> pd.DataFrame:
        """A row for each item: id, group, cluster, label, what was decided, and a score for each class."""
        result = self.main if scores is None else Result("", float("nan"), scores=scores)
        return self.predictions_of(result).table()

    def predictions_of(self, result: Result) -> Predictions:
        """What one method said of each row; the calibrations are the main result's alone."""
        assert result.scores is not None
        main = result is self.main
        return Predictions(
            ids=[row.id for row in self.rows],
            groups=[row.group for row in self.rows],
            clusters=[row.cluster for row in self.rows],
            truth=[row.labels for row in self.rows],
            labels=self.labels,
            scores=result.scores,
            decided=result.decided,
            metric=self.metric,
            subgroups=self.subgroups,
            own=self.own if main else None,
            fitted=self.fitted if main else None,
        )

    def probabilities(self, fitted: bool = False) -> Array | None:
        """(N, C) of the main result, by the model's own temperature or by the one fitted on val; None without it."""
        calibration = self.fitted if fitted else self.own
        assert self.main.scores is not None
        return calibration(self.main.scores) if calibration is not None else None

    def measure_all(self, note: str = "") -> None:
        """Compute every figure of every method that has scores, and put them into `measured` and tables.

        Args:
            note: of the calibration's table.
        """
        self.measured = {r.name: measure(self.predictions_of(r)) for r in self.results if r.scores is not None}
        predictions, main = self.predictions_of(self.main), self.measured[self.main.name]
        several = predictions.several
        self.tables += [
            figures_table(self.main.name, self.measured, chance_figures(predictions), several),
            class_table(main, several),
        ]
        each = several or any(c is not None and c.several for c in (self.own, self.fitted))
        calibration = calibration_table(main, each, note)
        self.tables += [calibration] if calibration else []
        self.tables += subgroup_tables(main)

    def counts(self) -> dict[str, int]:
        """Rows, groups (people) and clusters (recordings)."""
        groups = {row.group for row in self.rows if row.group}
        clusters = {row.cluster for row in self.rows if row.cluster}
        return {"rows": len(self.rows), "groups": len(groups), "clusters": len(clusters)}

    def save(self, folder: Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write `metrics.json`, `predictions.parquet` (the main result's), and `predictions-NAME.parquet` of others."""
        folder.mkdir(parents=True, exist_ok=True)
        for result in self.results:
            if result.scores is not None:
                path = folder / predictions_file(result.name if result is not self.main else "")
                self.predictions_of(result).table().to_parquet(path, index=False)
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
                    self.metric: plain(r.value),
                    "ci": r.interval and [*map(plain, r.interval)],
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
            "methods": {name: measured.as_dict() for name, measured in self.measured.items()},
        }


def _cell(value: str | float) -> str | float | None:
    return value if isinstance(value, (str, int)) else plain(value)


def predictions_file(name: str = "") -> str:
    """The file of a method's predictions: `predictions.parquet` for the main one, which has no name here."""
    plain_name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"predictions-{plain_name}.parquet" if plain_name else "predictions.parquet"


def recompute(predictions: pd.DataFrame | str | Path) -> dict[str, Any]:
    """Every figure of a method anew from its predictions: what `metrics.json` holds under `methods`, to the last bit.

    Args:
        predictions: a `predictions.parquet` of an evaluation, or its table.

    Example:
        >>> recompute("runs/one/evaluation/predictions.parquet")["figures"]["accuracy"]   # doctest: +SKIP
        {'value': 0.89, 'ci': [0.83, 0.94]}

    Raises:
        ManifestError: it is no such table.
    """
    return measure(from_table(predictions)).as_dict()


def interval_note(rows: Sequence[Row], crossval: bool = False) -> str:
    """Over what the intervals are, and what they cannot say; after cross-validation, without the advice to do it."""
    groups, clusters = ({getattr(row, kind) for row in rows} - {""} for kind in ("group", "cluster"))
    note = (
        f"95 % intervals by bootstrap over {unit_of_resampling(rows)[1]}; {len(groups) or 'unknown'} groups (people)."
    )
    if len(groups) == 0:
        note += " Name each row's person or patient in the column 'group': intervals then say how others would do."
        if not clusters:
            note += " Rows are taken as independent; if they are windows of recordings, name these in 'cluster'."
    elif len(groups) < FEW_GROUPS:
        note += " So few groups say little of other people, and the intervals are too narrow: "
        note += (
            "see the mean over groups and its interval."
            if crossval
            else "cross-validate by group with 'modalign crossval'."
        )
    return note


def few_groups(rows: Sequence[Row]) -> str:
    """What stands beside an interval over too few groups; empty where there are enough, or none is named."""
    groups = {row.group for row in rows if row.group}
    if not 0 < len(groups) < FEW_GROUPS:
        return ""
    return f"only {len(groups)} group{'s' if len(groups) > 1 else ''}: the interval says little of other people"


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
    if not auroc and all(len(row.labels) == 1 for row in rows):  # one comparison for all draws
        correct = _correct(scores, rows, labels)
        interval = cluster_bootstrap(lambda index: float(correct[index].mean()), units)
        return Result(name, float(correct.mean()), interval, scores, note)
    truth = indicator([row.labels for row in rows], labels)
    unit, count = units_of(units)
    weights = cluster_draws(count)
    drawn = [weighted_areas(truth[:, c], scores[:, c], weights, unit)[0] for c in np.flatnonzero(scorable(truth))]
    areas = mean_of_defined(np.stack(drawn, 1)) if drawn else np.full(1, np.nan)
    value = mean_of_defined(class_areas(truth, scores)[0]).item()
    return Result(name, value, percentile_interval(areas), scores, note)


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


def chance(rows: Sequence[Row], labels: Sequence[str], auroc: bool = False) -> Result:
    """The better of guessing at random and always naming the commonest class; 0.5 for AUROC.

    AUROC is the figure where a row has several labels, and where `auroc` says so.
    """
    if auroc or any(len(row.labels) > 1 for row in rows):
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
        return "SYNTHETIC recordings, training unknown" if manifest.synthetic else "training unknown"
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
    made = "SYNTHETIC recordings, " if manifest.synthetic else ""
    made += "training on SYNTHETIC recordings, " if record.get("synthetic") and not manifest.synthetic else ""
    return made + (f"{classes}, {people}" if same else f"another manifest than training's, {classes}, {people}")
