"""Every figure of a method's predictions, with intervals over groups: computed once, and again from the same table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.align.metrics import (
    Calibration,
    balanced_accuracy,
    brier_score,
    class_areas,
    cluster_draws,
    count,
    expected_calibration_error,
    macro_f1,
    percentile_interval,
    reliability_curve,
    units_of,
    weighted_areas,
)
from modalign.align.metrics.areas import mean_of_defined, scorable
from modalign.align.metrics.calibration import log_loss
from modalign.align.metrics.classification import accuracy, f1, precision, recall
from modalign.tasks.predictions import Predictions

Array = NDArray[Any]
DRAWS = 1000
UNKNOWN = "unknown"
"""The subgroup of rows whose cell is empty; it takes no part in the gap."""


@dataclass(frozen=True)
class Figure:
    """A figure and its 95 % interval; NaN where it is not defined."""

    value: float
    interval: tuple[float, float] = (float("nan"), float("nan"))

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        return {"value": plain(self.value), "ci": [plain(v) for v in self.interval]}


@dataclass
class Measured:
    """What one method's predictions come to.

    Attributes:
        unit: what intervals resample.
        groups: how many of it there are.
        figures: name -> figure: accuracy, balanced accuracy, macro F1, macro AUROC, macro AUPRC.
        unscored: labels that all rows have, or none: they have no areas.
        classes: a mapping of figures for each label.
        calibration: "own" (the model's temperature) and "fitted" (on val), where there are probabilities.
        subgroups: column -> its subgroups and the gap between the best and the worst.
    """

    unit: str
    groups: int
    figures: dict[str, Figure]
    unscored: list[str]
    classes: list[dict[str, Any]]
    calibration: dict[str, dict[str, Any]] = field(default_factory=dict)
    subgroups: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "unit": self.unit,
            "units": self.groups,
            "figures": {name: figure.as_dict() for name, figure in self.figures.items()},
            "unscored": self.unscored,
            "classes": [_plain(row) for row in self.classes],
            "calibration": _plain(self.calibration),
            "subgroups": _plain(self.subgroups),
        }


def plain(value: float) -> float | None:
    """A figure for JSON: None in place of NaN."""
    return None if np.isnan(value) else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Figure):
        return value.as_dict()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return plain(value) if isinstance(value, float) else value


def measure(predictions: Predictions, draws: int = DRAWS, seed: int = 0) -> Measured:
    """Compute every figure of one method's predictions.

    Args:
        predictions: rows with labels.
        draws: resamples of groups (or recordings, or rows; see `unit_of_resampling`).
        seed: of the resampling.
    """
    keys, unit_name = predictions.units()
    unit, units = units_of(keys)
    weights = cluster_draws(units, draws, seed)
    part = Part(predictions, np.arange(len(keys)), unit, weights)
    figures = part.figures()
    kept = scorable(predictions.indicator())
    return Measured(
        unit_name,
        units,
        figures,
        [label for label, scored in zip(predictions.labels, kept) if not scored],
        part.classes(),
        _calibrations(predictions),
        {name: _by(predictions, values, unit, weights) for name, values in predictions.subgroups.items()},
    )


class Part:
    """Some rows of predictions, their counts and areas, once as they are and once under each draw."""

    def __init__(self, predictions: Predictions, rows: Array, unit: Array, weights: Array) -> None:
        self.labels, self.several = predictions.labels, predictions.several
        self.metric = predictions.metric
        self.truth, scores = predictions.indicator()[rows], predictions.scores[rows]
        decided = predictions.decisions()
        self.once = self.drawn = None
        if decided is not None:
            own, units = unit[rows], weights.shape[1]
            self.once = count(self.truth, decided[rows])
            self.drawn = count(self.truth, decided[rows], own, units).weighted(weights)
        self.scores, self.unit, self.weights = scores, unit[rows], weights

    @cached_property
    def areas(self) -> tuple[Array, Array]:
        """AUROC and AUPRC (C,) of each label."""
        return class_areas(self.truth, self.scores)

    @cached_property
    def area_draws(self) -> Array:
        """The same under each draw (2, D, C)."""
        drawn = np.full((2, len(self.weights), self.truth.shape[1]), np.nan)
        for c in np.flatnonzero(scorable(self.truth)):
            drawn[:, :, c] = weighted_areas(self.truth[:, c], self.scores[:, c], self.weights, self.unit)
        return drawn

    def main_draws(self, labels: Array | None = None) -> tuple[float, Array]:
        """The main metric and its draws (D,), of AUROC over these labels alone."""
        if self.metric == "accuracy" and self.once is not None and self.drawn is not None:
            return float(accuracy(self.once)[0]), accuracy(self.drawn)
        kept = slice(None) if labels is None else labels
        return mean_of_defined(self.areas[0][kept]).item(), mean_of_defined(self.area_draws[0][:, kept])

    def draws(self) -> dict[str, tuple[float, Array]]:
        """Name -> each figure and its draws (D,); those of decisions only where there are some."""
        found = {}
        if self.once is not None and self.drawn is not None:
            pairs = [(counts, self.several) for counts in (self.once, self.drawn)]
            for name, (once, drawn) in {
                "accuracy": [accuracy(counts) for counts, _ in pairs],
                "balanced accuracy": [balanced_accuracy(*pair) for pair in pairs],
                "macro F1": [macro_f1(counts) for counts, _ in pairs],
            }.items():
                found[name] = float(once[0]), drawn
        for name, values, drawn in zip(("macro AUROC", "macro AUPRC"), self.areas, self.area_draws):
            found[name] = mean_of_defined(values).item(), mean_of_defined(drawn)
        return found

    def figures(self) -> dict[str, Figure]:
        """Name -> each figure with its interval."""
        return {name: Figure(value, percentile_interval(drawn)) for name, (value, drawn) in self.draws().items()}

    def classes(self) -> list[dict[str, Any]]:
        """The figures of each label."""
        rows = []
        for c, label in enumerate(self.labels):
            row: dict[str, Any] = {"label": label, "rows": int(self.truth[:, c].sum())}
            if self.once is not None and self.drawn is not None:
                for name, figure in (("precision", precision), ("recall", recall), ("F1", f1)):
                    row[name] = Figure(float(figure(self.once)[0, c]), percentile_interval(figure(self.drawn)[:, c]))
            for name, values, drawn in zip(("AUROC", "AUPRC"), self.areas, self.area_draws):
                row[name] = Figure(float(values[c]), percentile_interval(drawn[:, c]))
            rows.append(row)
        return rows


def _by(predictions: Predictions, values: Sequence[str], unit: Array, weights: Array) -> dict[str, Any]:
    """The main metric of every subgroup, and the gap between the best and the worst of those that are known."""
    column = np.array(values, dtype=object)
    parts = {n: Part(predictions, np.flatnonzero(column == n), unit, weights) for n in sorted(set(values), key=order)}
    rows = []
    for name, part in parts.items():
        value, drawn = part.main_draws()
        groups = {g for g, own in zip(predictions.groups, values) if g and own == name}
        rows.append(
            {
                "name": name,
                "rows": len(part.truth),
                "groups": len(groups),
                "labels": int(scorable(part.truth).sum()),
                predictions.metric: Figure(value, percentile_interval(drawn)),
            }
        )
    return {"metric": predictions.metric, "subgroups": rows, "gap": _gap(parts)}


def _gap(parts: dict[str, Part]) -> dict[str, Any] | None:
    """The best less the worst, by the labels that both can be scored by."""
    known = {n: part for n, part in parts.items() if n != UNKNOWN and not np.isnan(part.main_draws()[0])}
    if len(known) < 2:
        return None
    best, worst = (pick(known, key=lambda n: known[n].main_draws()[0]) for pick in (max, min))
    if best == worst:  # all are equal
        best, worst = list(known)[:2]
    common = scorable(known[best].truth) & scorable(known[worst].truth)
    (a, drawn_a), (b, drawn_b) = (known[n].main_draws(common) for n in (best, worst))
    return {"best": best, "worst": worst, "difference": Figure(a - b, percentile_interval(drawn_a - drawn_b))}


def order(name: str) -> tuple[bool, float, str]:
    """Subgroups in the order in which they are read: by the first number of their names, what is unknown last."""
    number = re.search(r"-?\d+(\.\d+)?", name)
    first = float(number[0]) - 1e-9 * name.startswith("under") if number else 0.0
    return name == UNKNOWN, first, name


def _calibrations(predictions: Predictions) -> dict[str, dict[str, Any]]:
    made = {"own": predictions.own, "fitted": predictions.fitted}
    return {name: calibration_figures(predictions, c) for name, c in made.items() if c is not None}


def calibration_figures(predictions: Predictions, calibration: Calibration) -> dict[str, Any]:
    """ECE (equal width, equal mass), Brier score, log loss and the reliability curve.

    With one label a row: of the chosen class (Guo et al. 2017). With several: of every label of every row.
    """
    p, truth = calibration(predictions.scores), predictions.indicator()
    if calibration.several:
        known = ~np.isnan(p)
        confidence, right = p[known], truth[known]
    else:
        confidence, right = p.max(1), truth[np.arange(len(p)), p.argmax(1)]
    curve = reliability_curve(confidence, right)
    return {
        "scale": [float(s) for s in calibration.scale],
        "ece": expected_calibration_error(confidence, right),
        "ece equal mass": expected_calibration_error(confidence, right, mass=True),
        "brier": brier_score(p, truth, calibration.several),
        "log loss": log_loss(p, truth, calibration.several),
        "reliability": {
            "confidence": curve.confidence.tolist(),
            "accuracy": curve.accuracy.tolist(),
            "rows": curve.counts.tolist(),
        },
    }


def chance_figures(predictions: Predictions) -> dict[str, float]:
    """What guessing scores: the better of naming the commonest class and of drawing at random, in the long run.

    With several labels a row: the commonest set of labels, and saying yes to every label.
    """
    truth = predictions.indicator()
    shares = truth.mean(0)
    present, n = shares[shares > 0], len(predictions.labels)
    scored = shares[scorable(truth)]
    _, sets = np.unique(truth, axis=0, return_counts=True)
    commonest = float(sets.max() / len(truth))
    if predictions.several:
        decisions = (commonest, 0.5, float((2 * present / (1 + present)).mean()))
    else:
        constant = 2 * commonest / (1 + commonest) / len(present)
        drawn = float((2 * present / n / (present + 1 / n)).mean())
        decisions = (max(commonest, 1 / n), 1 / len(present), max(constant, drawn))
    areas = (0.5, float(scored.mean())) if len(scored) else (float("nan"),) * 2
    names = ("accuracy", "balanced accuracy", "macro F1", "macro AUROC", "macro AUPRC")
    return dict(zip(names, (*decisions, *areas)))
