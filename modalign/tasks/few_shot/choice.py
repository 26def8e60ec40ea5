"""Choosing a method's parameters on validation rows, or by cross-validation within the rows it learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from modalign.align.metrics import macro_auroc
from modalign.tasks.few_shot.base import Array, FewShotEstimator

FOLDS = 4


@dataclass(frozen=True)
class Choice:
    """`estimator`, fitted; `parameters` chosen; `figure` they had on validation, or None where there was nothing."""

    estimator: FewShotEstimator
    parameters: dict[str, float]
    figure: float | None


def choose(
    estimator: FewShotEstimator,
    X: Array,
    y: Any,
    validation: tuple[Array, Any] | None = None,
    groups: Sequence[str] | None = None,
) -> Choice:
    """Fit with those values of the estimator's grid that do best: accuracy, or macro AUROC for several labels a row.

    Of several best ones the middle of them is taken, since validation rows are few and the edge of a plateau is near
    its fall. With no validation rows, the rows learnt from are cross-validated; with one row a class the defaults stay.

    Args:
        estimator: not fitted; left as it is.
        X: embeddings (N, d).
        y: N labels, or (N, C) of 0 and 1.
        validation: the same of validation rows.
        groups: N names: rows of one name are held out together in cross-validation.
    """
    from sklearn.base import clone

    y = np.asarray(y)
    estimator = clone(estimator)
    if estimator.classes is None:
        estimator.set_params(classes=np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y))
    candidates = [dict(zip(estimator.grid, values)) for values in product(*estimator.grid.values())]
    if validation is not None:
        parts = [(X, y, validation[0], np.asarray(validation[1]))]
    else:
        parts = [(X[fitted], y[fitted], X[held], y[held]) for fitted, held in _folds(y, groups)]
    figures = _figures(estimator, candidates, parts) if parts else np.array([np.nan])
    if np.isnan(figures).all():
        defaults = {name: estimator.get_params()[name] for name in estimator.grid}
        return Choice(estimator.fit(X, y), defaults, None)
    best = np.flatnonzero(np.isclose(figures, np.nanmax(figures), rtol=0, atol=1e-9))
    picked = int(best[len(best) // 2])
    estimator.set_params(**candidates[picked])
    return Choice(estimator.fit(X, y), candidates[picked], float(figures[picked]))


Part = tuple[Array, Array, Array, Array]
"""Rows to learn from and their labels, rows held out and theirs."""


def _figures(estimator: FewShotEstimator, candidates: Sequence[dict[str, float]], parts: Sequence[Part]) -> Array:
    """What each candidate has on all held-out rows together."""
    from sklearn.base import clone

    scores: list[list[Array]] = [[] for _ in candidates]
    for X, y, held, _ in parts:
        model = clone(estimator).fit(X, y)
        for n, parameters in enumerate(candidates):
            model.set_params(**parameters)
            if estimator.refits:
                model.fit(X, y)
            scores[n].append(model.decision_function(held))
    truth = np.concatenate([part[3] for part in parts])
    return np.array([_figure(truth, np.concatenate(s), np.asarray(estimator.classes)) for s in scores])


def _figure(truth: Array, scores: Array, classes: Array) -> float:
    if truth.ndim == 2:
        return macro_auroc(truth, scores)[0]
    return float((classes[scores.argmax(1)] == truth).mean())


def _folds(y: Array, groups: Sequence[str] | None) -> Iterator[tuple[Array, Array]]:
    """Folds within the rows learnt from, whose fitted part has every class."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    names = np.asarray(groups) if groups is not None else np.arange(len(y))
    folds = min(FOLDS, len(set(names.tolist())))
    if y.ndim == 2:
        if folds > 1:
            yield from GroupKFold(folds).split(y, groups=names)
        return
    classes, counts = np.unique(y, return_counts=True)
    folds = min(folds, int(counts.min()))
    if folds < 2:
        return
    for fitted, held in StratifiedGroupKFold(folds).split(y, y, names):
        if len(np.unique(y[fitted])) == len(classes):
            yield fitted, held
