"""The probes: what is fitted on frozen features, for labels and for numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modalign.align.manifest import Row
from modalign.tasks.evaluation import Array
from modalign.tasks.floor import (
    STRENGTHS,
    Scorer,
    chosen_strength,
    held_out_folds,
    indicator,
    logistic_scores,
)

HIDDEN = 128
"""Width of the MLP's one hidden layer."""


@dataclass(frozen=True)
class Probe:
    """A probe.

    Attributes:
        classify: train features, their rows, test features, labels, several labels a row, strength -> scores (N, C).
        regress: train features, their numbers, test features, strength -> numbers (N,).
        strengths: as scikit-learn's C, from strong to weak regularisation; chosen on held-out groups of the train rows.
    """

    classify: Scorer
    regress: Callable[[Array, Array, Array, float], Array]
    strengths: Sequence[float]


def mlp_scores(
    train: Array, rows: Sequence[Row], test: Array, labels: Sequence[str], several: bool, strength: float
) -> Array:
    """Probabilities (N, C) of scikit-learn's MLP with one hidden layer on standardised features."""
    from sklearn.neural_network import MLPClassifier

    model = _standardised(MLPClassifier(**_mlp(strength)))
    if several:
        truth = indicator(rows, labels)
        usable = [c for c in range(truth.shape[1]) if 0 < truth[:, c].sum() < len(truth)]
        scores = np.zeros((len(test), len(labels)))
        if usable:
            found = np.asarray(model.fit(train, truth[:, usable]).predict_proba(test))
            # For one label alone scikit-learn gives a column for each of its two values.
            scores[:, usable] = found[:, -1:] if len(usable) == 1 else found
        return scores
    model.fit(train, [row.labels[0] for row in rows])
    scores = np.zeros((len(test), len(labels)))
    scores[:, [list(labels).index(c) for c in model.classes_]] = model.predict_proba(test)
    return scores


def ridge_numbers(train: Array, numbers: Array, test: Array, strength: float) -> Array:
    """Ridge regression on standardised features, of a standardised target."""
    from sklearn.linear_model import Ridge

    return _regressed(Ridge(alpha=1 / strength), train, numbers, test)


def mlp_numbers(train: Array, numbers: Array, test: Array, strength: float) -> Array:
    """scikit-learn's MLP with one hidden layer on standardised features, of a standardised target."""
    from sklearn.neural_network import MLPRegressor

    return _regressed(MLPRegressor(**_mlp(strength)), train, numbers, test)


PROBES: Mapping[str, Probe] = {
    "linear": Probe(logistic_scores, ridge_numbers, STRENGTHS),
    "mlp": Probe(mlp_scores, mlp_numbers, (0.01, 0.1, 1.0)),
}


def probed_labels(
    probe: Probe, train: Array, rows: Sequence[Row], test: Array, labels: Sequence[str], several: bool, by_group: bool
) -> tuple[Array, float]:
    """Scores (N, C) of the test features, and the strength chosen within the train rows."""
    by_group = by_group and _people(rows) > 1
    strength = chosen_strength(train, rows, labels, several, by_group, probe.classify, probe.strengths)
    return probe.classify(train, rows, test, labels, several, strength), strength


def probed_numbers(
    probe: Probe, train: Array, rows: Sequence[Row], numbers: Array, test: Array, by_group: bool
) -> tuple[Array, float]:
    """Numbers (N, 1) of the test features, and the strength whose squared error is least on held-out groups."""
    folds = held_out_folds(rows, by_group and _people(rows) > 1)
    strength = 1.0
    if folds:
        errors = {
            s: sum(
                float(((probe.regress(train[a], numbers[a], train[b], s) - numbers[b]) ** 2).sum()) for a, b in folds
            )
            for s in probe.strengths
        }
        strength = min(errors, key=lambda s: (errors[s], s))
    return probe.regress(train, numbers, test, strength)[:, None], strength


def _people(rows: Sequence[Row]) -> int:
    return len({row.group or row.cluster or row.id for row in rows})


def _mlp(strength: float) -> dict[str, Any]:
    return {
        "hidden_layer_sizes": (HIDDEN,), "alpha": 1 / strength, "solver": "lbfgs", "max_iter": 300, "random_state": 0
    }  # fmt: skip


def _standardised(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), model)


def _regressed(model: Any, train: Array, numbers: Array, test: Array) -> Array:
    mean, spread = numbers.mean(), numbers.std() or 1.0
    found: Array = _standardised(model).fit(train, (numbers - mean) / spread).predict(test) * spread + mean
    return found
