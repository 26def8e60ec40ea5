"""What a method said of each row: the table from which every figure of an evaluation is computed, also again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modalign.align.manifest import Row
from modalign.align.metrics import Calibration
from modalign.errors import ManifestError

Array = NDArray[Any]
KEYS = ("id", "group", "cluster", "label", "predicted")
ABOUT = "modalign"
"""The key of the table's `attrs` (kept in Parquet's metadata) that says what its columns are."""
FEW_GROUPS = 10
"""Under so many, resampling groups says too little of the spread between them."""


@dataclass(frozen=True)
class Predictions:
    """Rows, what they are, and what one method said of them.

    Attributes:
        ids: N ids.
        groups: N groups (people, patients), or empty strings.
        clusters: N clusters (recordings), likewise.
        truth: the labels of each row.
        labels: C labels, the order of the scores' columns.
        scores: (N, C); higher is likelier.
        decided: (N, C) of 0 and 1, or None where rows may have several labels and no threshold is known.
        metric: "accuracy" or "macro AUROC": the main one.
        subgroups: column of the manifest -> the subgroup of each row.
        own: how the model's own temperature makes probabilities of scores, if it does.
        fitted: the same, fitted on val.
    """

    ids: list[str]
    groups: list[str]
    clusters: list[str]
    truth: list[tuple[str, ...]]
    labels: list[str]
    scores: Array
    decided: Array | None = None
    metric: str = "accuracy"
    subgroups: Mapping[str, list[str]] = field(default_factory=dict)
    own: Calibration | None = None
    fitted: Calibration | None = None

    @property
    def several(self) -> bool:
        """Whether rows may have several labels: any has, or they were decided label by label, each by its threshold."""
        by_threshold = self.decided is not None and self.metric != "accuracy"
        return by_threshold or any(len(labels) > 1 for labels in self.truth)

    def indicator(self) -> Array:
        """(N, C) of 0 and 1: which labels each row has."""
        return indicator(self.truth, self.labels)

    def decisions(self) -> Array | None:
        """(N, C) of 0 and 1: the label of the highest score, or those over their thresholds, if there are any."""
        if self.decided is not None:
            return self.decided
        return None if self.several else one_hot(self.scores)

    def units(self) -> tuple[list[str], str]:
        """What intervals resample, and its name; see `unit_of_resampling`."""
        return units_by(self.groups, self.clusters, self.ids)

    def table(self) -> pd.DataFrame:
        """A row for each item: id, group, cluster, label, subgroups, and a score for each class.

        `predicted` stands after the label where thresholds decide, and not the highest score. What cannot be said in
        columns is in `attrs`, which Parquet keeps.
        """
        columns: dict[str, Any] = {
            "id": self.ids,
            "group": self.groups,
            "cluster": self.clusters,
            "label": [";".join(labels) for labels in self.truth],
        }
        if self.decided is not None:
            said = [[self.labels[c] for c in np.flatnonzero(row)] for row in self.decided]
            columns["predicted"] = [";".join(labels) for labels in said]
        by = {}
        for name, values in self.subgroups.items():
            by[name] = name if columns.get(name) == values else _free(name, columns, "subgroup")
            columns[by[name]] = values
        # A class may be called as one of the columns before it, and Parquet refuses a name twice.
        scores = [_free(label, columns, "score") for label in self.labels]
        table = pd.concat([pd.DataFrame(columns), pd.DataFrame(self.scores, columns=scores)], axis=1)
        about = {"labels": self.labels, "scores": scores, "subgroups": by, "metric": self.metric}
        made = {name: asdict(c) for name, c in (("own", self.own), ("fitted", self.fitted)) if c is not None}
        table.attrs = {ABOUT: {**about, **made}}
        return table


def from_table(source: pd.DataFrame | str | Path) -> Predictions:
    """Predictions as they were before `Predictions.table()`.

    Args:
        source: the table, or its Parquet file. A table of other makers needs `id`, `label` and a column of scores a
            class; `group`, `cluster` and `predicted` are taken where they are.

    Raises:
        ManifestError: it is no such table.
    """
    table, where = (source, "the table") if isinstance(source, pd.DataFrame) else (_read(Path(source)), str(source))
    for column in ("id", "label"):
        if column not in table:
            raise ManifestError(f"{where}: has no column {column!r}; give a predictions.parquet of modalign evaluate")
    about: dict[str, Any] = table.attrs.get(ABOUT, {})
    columns = about.get("scores") or [c for c in table if c not in KEYS and table[c].dtype.kind == "f"]
    labels = about.get("labels") or [str(c).removesuffix(" (score)") for c in columns]
    if len(labels) < 2:
        raise ManifestError(f"{where}: has no scores, a column of numbers for each class")
    truth = [_labels(cell, labels) for cell in table["label"]]
    unknown = next((label for row in truth for label in row if label not in labels), None)
    if unknown is not None:
        raise ManifestError(f"{where}: rows have the label {unknown!r}, and there is no column of its scores")
    several = any(len(row) > 1 for row in truth)
    decided = "predicted" in table and "predicted" not in columns  # a class may be called so
    return Predictions(
        ids=[str(i) for i in table["id"]],
        groups=_words(table, "group"),
        clusters=_words(table, "cluster"),
        truth=truth,
        labels=list(labels),
        scores=table[list(columns)].to_numpy(),
        decided=indicator([_labels(c, labels) for c in table["predicted"]], labels) if decided else None,
        metric=about.get("metric") or ("macro AUROC" if several else "accuracy"),
        subgroups={name: _words(table, column) for name, column in about.get("subgroups", {}).items()},
        own=_calibration(about.get("own")),
        fitted=_calibration(about.get("fitted")),
    )


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of different rows (folds) as one; a label that a part lacks gets the lowest score there.

    Calibrations are each part's own, and are dropped.

    Raises:
        ManifestError: two parts have a row in common.
    """
    labels = sorted({label for part in parts for label in part.labels})
    ids = [i for part in parts for i in part.ids]
    if len(set(ids)) < len(ids):
        doubled = next(i for i in ids if ids.count(i) > 1)
        raise ManifestError(f"the row {doubled!r} is in two folds; every row is tested once")
    decided = [part.decided for part in parts]
    return Predictions(
        ids=ids,
        groups=[g for part in parts for g in part.groups],
        clusters=[c for part in parts for c in part.clusters],
        truth=[t for part in parts for t in part.truth],
        labels=labels,
        scores=np.concatenate([_in_order(part.scores, part.labels, labels) for part in parts]),
        decided=None
        if any(d is None for d in decided)
        else np.concatenate([_in_order(d, p.labels, labels, 0) for d, p in zip(decided, parts) if d is not None]),
        metric="macro AUROC" if any(part.metric != "accuracy" for part in parts) else "accuracy",
        subgroups={
            name: [s for part in parts for s in part.subgroups[name]]
            for name in parts[0].subgroups
            if all(name in part.subgroups for part in parts)
        },
    )


def unit_of_resampling(rows: Sequence[Row]) -> tuple[list[str], str]:
    """What intervals resample: groups where there are ten or more, else clusters, else rows; and its name."""
    return units_by([row.group for row in rows], [row.cluster for row in rows], [row.id for row in rows])


def units_by(groups: Sequence[str], clusters: Sequence[str], ids: Sequence[str]) -> tuple[list[str], str]:
    """As `unit_of_resampling`, from the three columns; a row that lacks the one goes by the next."""
    by_group = [group or cluster or i for group, cluster, i in zip(groups, clusters, ids)]
    by_cluster = [cluster or group or i for group, cluster, i in zip(groups, clusters, ids)]
    if any(groups) and len(set(by_group)) >= FEW_GROUPS:
        return by_group, "groups"
    if any(clusters):
        return by_cluster, "recordings"
    if any(groups):
        return by_group, "groups"
    return by_cluster, "rows"


def indicator(truth: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(N, C) of 0 and 1: which labels each row has."""
    place = {label: c for c, label in enumerate(labels)}
    matrix = np.zeros((len(truth), len(labels)), dtype=int)
    for i, own in enumerate(truth):
        matrix[i, [place[label] for label in own if label in place]] = 1
    return matrix


def one_hot(scores: Array) -> Array:
    """(N, C) with a 1 at each row's highest score, the first of equal ones."""
    matrix = np.zeros(scores.shape, dtype=int)
    matrix[np.arange(len(scores)), scores.argmax(1)] = 1
    return matrix


def _in_order(values: Array, have: Sequence[str], labels: Sequence[str], missing: float | None = None) -> Array:
    lowest = (values.min() if values.size else 0) if missing is None else missing
    made = np.full((len(values), len(labels)), lowest, dtype=values.dtype)
    made[:, [labels.index(label) for label in have]] = values
    return made


def _free(name: str, taken: Mapping[str, Any], what: str) -> str:
    return f"{name} ({what})" if name in taken else name


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ManifestError(f"{path}: no such file")
    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow has many, none of them common to all
        raise ManifestError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:200]})") from None


def _labels(cell: str, labels: Sequence[str]) -> tuple[str, ...]:
    return (cell,) if cell in labels else tuple(part for part in cell.split(";") if part)


def _words(table: pd.DataFrame, column: str) -> list[str]:
    return [str(value) for value in table[column]] if column in table else [""] * len(table)


def _calibration(said: Mapping[str, Any] | None) -> Calibration | None:
    return Calibration(tuple(said["scale"]), tuple(said["bias"]), said["several"]) if said else None
