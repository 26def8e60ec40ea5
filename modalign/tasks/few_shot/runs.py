"""Every method on every episode: the scores, and what they come to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from modalign.align.embed import Advance
from modalign.align.manifest import Row
from modalign.errors import RecipeError, suggest
from modalign.tasks.evaluation import Array, score_of
from modalign.tasks.features import long_table
from modalign.tasks.few_shot.choice import choose
from modalign.tasks.few_shot.episodes import draw, recording_of, repeated_recordings
from modalign.tasks.few_shot.registry import list_few_shot, make_few_shot
from modalign.tasks.floor import indicator

CHOOSE_ON = {
    "few": "as many validation rows a label as shots",
    "val": "all validation rows",
    "support": "cross-validation within the rows learnt from",
}
"""What parameters may be chosen on."""

Key = tuple[str, str, int]
"""Features, method, shots."""


@dataclass(frozen=True)
class Run:
    """One method on one episode.

    Attributes:
        key: features, method, shots.
        episode: its number.
        scores: (N, C) of the test rows, float32.
        parameters: those chosen.
        validation: the figure that they had where they were chosen; None where there was nothing to choose on.
        repeated: how many of the rows learnt from are of a recording that gave another.
    """

    key: Key
    episode: int
    scores: Array = field(repr=False)
    parameters: Mapping[str, float] = field(default_factory=dict)
    validation: float | None = None
    repeated: int = 0


@dataclass(frozen=True)
class Summary:
    """A method at a number of shots: the mean over episodes, its 95 % interval, and each episode's figure."""

    key: Key
    value: float
    interval: tuple[float, float] | None
    validation: float
    figures: tuple[float, ...]


@dataclass
class Runs:
    """All runs on the same test rows.

    Attributes:
        rows: the test rows.
        labels: of the scores' columns.
        several: whether rows may have several labels.
        runs: all.
        auroc: macro AUROC for one label a row too, where accuracy would follow the commoner class.
    """

    rows: list[Row]
    labels: list[str]
    several: bool
    runs: list[Run]
    auroc: bool = False

    @property
    def metric(self) -> str:
        """What `summaries` tell."""
        return "macro AUROC" if self.several or self.auroc else "accuracy"

    def figures(self, key: Key) -> list[tuple[Run, float]]:
        """The runs of a method at a number of shots, and each one's figure."""
        several = self.several or self.auroc
        return [(run, score_of(run.scores, self.rows, self.labels, several)) for run in self.runs if run.key == key]

    def summaries(self) -> dict[Key, Summary]:
        """What each method comes to."""
        found = {}
        for key in dict.fromkeys(run.key for run in self.runs):
            each = self.figures(key)
            figures = [figure for _, figure in each]
            known = [run.validation for run, _ in each if run.validation is not None]
            validation = float(np.mean(known)) if known else float("nan")
            value, interval = mean_interval(figures)
            found[key] = Summary(key, value, interval, validation, tuple(figures))
        return found

    def middle(self, key: Key) -> Run:
        """The run whose figure is nearest to the mean."""
        each = self.figures(key)
        mean = np.mean([figure for _, figure in each])
        return min(each, key=lambda pair: abs(pair[1] - mean))[0]

    def table(self) -> pd.DataFrame:
        """A row for each run and test row, with a score for each label: every figure can be computed from it."""
        names = ("features", "method", "shots")
        said = [({**dict(zip(names, run.key)), "episode": run.episode}, run.scores) for run in self.runs]
        table: pd.DataFrame = long_table(self.rows, self.labels, said)
        return table


def mean_interval(figures: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """The mean, and its 95 % interval by Student's t; None for one figure.

    Example:
        >>> mean_interval([0.5, 0.7])[0]
        0.6
    """
    from scipy.stats import t

    mean = float(np.mean(figures))
    if len(figures) < 2:
        return mean, None
    half = float(t.ppf(0.975, len(figures) - 1) * np.std(figures, ddof=1) / np.sqrt(len(figures)))
    return mean, (mean - half, mean + half)


def methods_for(methods: Sequence[str], several: bool, text: bool) -> list[str]:
    """The methods that can be used: all by default, or those asked for.

    Args:
        methods: names, or none for all that fit.
        several: rows may have several labels.
        text: class names have embeddings beside these features.

    Raises:
        RecipeError: one that was asked for is not known, or has no form for several labels.
    """
    able = list_few_shot(multi_label=several)
    for name in methods:
        if name not in list_few_shot():
            raise RecipeError(f"no few-shot method {name!r}; {suggest(name, list_few_shot())}")
        if name not in able:
            raise RecipeError(f"{name!r} has no form for several labels a row; these have: {', '.join(able)}")
    wanted = list(methods) or able
    return [name for name in wanted if text or not make_few_shot(name).needs_text]


def run_episodes(
    features: Mapping[str, Array],
    rows: Sequence[Row],
    labels: Sequence[str],
    shots: Sequence[int],
    episodes: int,
    *,
    text: Mapping[str, Array] | None = None,
    methods: Mapping[str, Sequence[str]] | None = None,
    choose_on: str = "few",
    seed: int = 0,
    advance: Advance | None = None,
) -> Runs:
    """Learn from a few train rows a label, choose on validation, score the test rows; again and again.

    Args:
        features: kind -> (N, d), unit rows.
        rows: N labelled rows of the splits train, val and test.
        labels: all C; those that no train row has are never chosen.
        shots: rows a label.
        episodes: draws; all features and methods see the same.
        text: kind -> (C, d) unit rows of the labels, where there are some.
        methods: kind -> the methods to run on it; all that fit, by default.
        choose_on: "few", "val" or "support"; without validation rows it is "support".
        seed: of the draws.
        advance: called with 1 for each episode done.
    """
    several = any(len(row.labels) > 1 for row in rows)
    place = {name: [i for i, row in enumerate(rows) if row.split == name] for name in ("train", "val", "test")}
    trained = {label for i in place["train"] for label in rows[i].labels}
    known = [label for label in labels if label in trained]
    columns = [list(labels).index(label) for label in known]
    truth = _truth(rows, known, several)
    train_rows, val_rows = [rows[i] for i in place["train"]], [rows[i] for i in place["val"]]
    test = np.array(place["test"])
    runs = []
    for episode in range(episodes):
        supports = draw(train_rows, known, shots, (seed, episode, 0))
        held = draw(val_rows, known, shots, (seed, episode, 1)) if val_rows and choose_on == "few" else {}
        for k, support in supports.items():
            learn = np.array([place["train"][i] for i in support])
            val = _validation(place["val"], held.get(k, []), choose_on, rows, known)
            groups = [recording_of(rows[i]) for i in learn]
            for kind, X in features.items():
                names = (text or {}).get(kind)
                chosen_text = None if names is None else names[columns]
                for method in (methods or {}).get(kind) or methods_for([], several, names is not None):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # folds without a class, fits that stop early: both measured
                        chosen = choose(
                            make_few_shot(method, known, chosen_text),
                            X[learn],
                            truth[learn],
                            (X[val], truth[val]) if len(val) else None,
                            groups,
                        )
                    scores = spread(chosen.estimator.decision_function(X[test]), columns, len(labels))
                    repeated = repeated_recordings(train_rows, support)
                    runs.append(
                        Run((kind, method, k), episode, scores, chosen.parameters, chosen.figure, repeated)
                    )  # fmt: skip
        if advance:
            advance(1)
    return Runs([rows[i] for i in test], list(labels), several, runs)


def _truth(rows: Sequence[Row], labels: Sequence[str], several: bool) -> Any:
    if several:
        return indicator(rows, labels)
    return np.array([row.labels[0] for row in rows])


def _validation(
    val: Sequence[int], held: Sequence[int], choose_on: str, rows: Sequence[Row], known: Sequence[str]
) -> Array:
    picked = {"few": [val[i] for i in held], "val": list(val), "support": []}[choose_on]
    return np.array([i for i in picked if set(rows[i].labels) & set(known)], dtype=int)


def spread(scores: Array, columns: Sequence[int], width: int) -> Array:
    """Scores of the labels that train has in the columns of all labels; the others one and the same, below all."""
    whole = np.full((len(scores), width), scores.min(initial=0.0) - 1)
    whole[:, columns] = scores
    return whole.astype(np.float32)
