"""Every probe on every features and share of the labels: the scores, and what they come to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modalign.align.embed import Advance
from modalign.align.manifest import Row
from modalign.align.metrics import cluster_bootstrap
from modalign.tasks.evaluation import Array, score_of, unit_of_resampling
from modalign.tasks.features import HAND, UNTRAINED, long_table
from modalign.tasks.probe.fits import PROBES, probed_labels, probed_numbers
from modalign.tasks.probe.subsets import strata_of, subset

Key = tuple[str, str, float]
"""Features, probe, fraction."""


@dataclass(frozen=True)
class Run:
    """One probe on one subset.

    Attributes:
        key: features, probe, fraction.
        seed: of the subset.
        scores: (N, C) of the test rows; (N, 1) numbers for regression.
        rows: how many rows it was fitted on.
        strength: chosen within them.
    """

    key: Key
    seed: int
    scores: Array = field(repr=False)
    rows: int
    strength: float


@dataclass(frozen=True)
class Summary:
    """A probe at a share of the labels: the mean over seeds, its 95 % interval over test people, each seed's figure."""

    key: Key
    value: float
    interval: tuple[float, float]
    figures: tuple[float, ...]
    rows: int


@dataclass
class Runs:
    """All runs on the same test rows.

    Attributes:
        rows: the test rows.
        labels: of the scores' columns; the target's name for regression.
        several: whether rows may have several labels.
        runs: all.
        numbers: (N,) the test rows' targets, for regression.
        auroc: macro AUROC for one label a row too, where accuracy would follow the commoner class.
    """

    rows: list[Row]
    labels: list[str]
    several: bool
    runs: list[Run]
    numbers: Array | None = None
    auroc: bool = False

    @property
    def metric(self) -> str:
        """What `summaries` tell."""
        if self.numbers is not None:
            return "R2"
        return "macro AUROC" if self.several or self.auroc else "accuracy"

    def figure(self, scores: Array, index: Array | None = None) -> float:
        """The figure of these scores, of all test rows or those at some positions."""
        index = np.arange(len(self.rows)) if index is None else index
        if self.numbers is not None:
            return r_squared(self.numbers[index], scores[index, 0])
        rows = [self.rows[i] for i in index]
        return score_of(scores[index], rows, self.labels, self.several or self.auroc)

    def summaries(self) -> dict[Key, Summary]:
        """What each probe comes to."""
        units, _ = unit_of_resampling(self.rows)
        found = {}
        for key in dict.fromkeys(run.key for run in self.runs):
            own = [run for run in self.runs if run.key == key]
            figures = [self.figure(run.scores) for run in own]
            interval = self._interval([run.scores for run in own], units)
            found[key] = Summary(key, float(np.mean(figures)), interval, tuple(figures), own[0].rows)
        return found

    def _interval(self, scores: Sequence[Array], units: Sequence[str]) -> tuple[float, float]:
        """Of the mean over seeds, resampling test people."""
        if self.metric == "accuracy":  # one comparison for all draws
            place = {label: i for i, label in enumerate(self.labels)}
            truth = np.array([place[row.labels[0]] for row in self.rows])
            correct = np.mean([s.argmax(1) == truth for s in scores], axis=0)
            return cluster_bootstrap(lambda index: float(correct[index].mean()), units)
        return cluster_bootstrap(lambda index: float(np.mean([self.figure(s, index) for s in scores])), units, 200)

    def table(self) -> Any:
        """A DataFrame with a row for each run and test row: every figure can be computed from it."""
        names = ("features", "probe", "fraction")
        said = [({**dict(zip(names, run.key)), "seed": run.seed}, run.scores) for run in self.runs]
        table = long_table(self.rows, self.labels, said)
        if self.numbers is not None:
            table["target"] = [*self.numbers] * len(self.runs)
        return table


def r_squared(truth: Array, predicted: Array) -> float:
    """1 - squared error / variance; NaN where the truth does not vary."""
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / spread if spread > 0 else float("nan")


def run_probes(
    features: Mapping[str, Array],
    rows: Sequence[Row],
    labels: Sequence[str],
    fractions: Sequence[float],
    probes: Sequence[str],
    *,
    seeds: int = 3,
    numbers: Array | None = None,
    by_group: bool = True,
    advance: Advance | None = None,
) -> Runs:
    """Fit every probe on every features and share of the train rows, and score the test rows.

    Args:
        features: kind -> (N, d).
        rows: N rows of the splits train and test.
        labels: C labels, or the target's name for regression.
        fractions: of the train rows.
        probes: names in `PROBES`.
        seeds: subsets of each fraction below 1.
        numbers: (N,) targets for regression.
        by_group: whether strengths are chosen on held-out people, or on held-out rows (official splits that people
            cross).
        advance: called with 1 for each subset done.
    """
    place = {name: np.array([i for i, row in enumerate(rows) if row.split == name]) for name in ("train", "test")}
    train_rows = [rows[i] for i in place["train"]]
    several = any(len(row.labels) > 1 for row in rows) and numbers is None
    strata = strata_of(train_rows) if numbers is None else [""] * len(train_rows)
    runs = []
    for fraction in fractions:
        for seed in range(seeds if fraction < 1 else 1):
            learn = place["train"][subset(train_rows, fraction, seed, strata)]
            learnt = [rows[i] for i in learn]
            for kind, X in features.items():
                for name in probes_for(probes, kind):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # an MLP that stops at its last iteration
                        fit = PROBES[name]
                        if numbers is not None:
                            found = probed_numbers(fit, X[learn], learnt, numbers[learn], X[place["test"]], by_group)
                        else:
                            found = probed_labels(fit, X[learn], learnt, X[place["test"]], labels, several, by_group)
                    runs.append(Run((kind, name, fraction), seed, found[0], len(learn), found[1]))
            if advance:
                advance(1)
    tested = [rows[i] for i in place["test"]]
    return Runs(tested, list(labels), several, runs, None if numbers is None else numbers[place["test"]])


def probes_for(probes: Sequence[str], kind: str) -> list[str]:
    """What is fitted on these features: hand features and the untrained encoder's have the linear probe alone."""
    baseline = kind == HAND or kind.startswith(UNTRAINED)
    return [name for name in probes if not baseline or name == probes[0]]
