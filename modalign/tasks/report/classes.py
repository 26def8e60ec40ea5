"""Figures of each class as bars with intervals: recall and precision, or AUROC where rows have several labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.align.metrics import cluster_draws, count, percentile_interval, units_of, weighted_areas
from modalign.align.metrics.classification import precision, recall
from modalign.tasks.evaluation import Evaluation, unit_of_resampling
from modalign.tasks.report.markup import esc, measured, scroll

Array = NDArray[Any]
Figure = tuple[float, tuple[float, float]]


def truth_of(evaluation: Evaluation) -> Array:
    """(N, C) of 0 and 1: which labels each row has."""
    return np.array([[label in row.labels for label in evaluation.labels] for row in evaluation.rows], dtype=int)


def class_section(evaluation: Evaluation, scores: Array) -> str:
    """The bars of every class, the lowest first."""
    truth = truth_of(evaluation)
    several = evaluation.multi_label
    counts = truth.sum(0)
    columns = aurocs(evaluation, truth, scores) if several else recall_and_precision(evaluation, truth, scores)
    first = next(iter(columns.values()))
    order = sorted(range(len(counts)), key=lambda c: (np.isnan(first[c][0]), first[c][0]))
    head = "".join(f"<th scope='col' class='n'>{name}</th><th scope='col'>95 % interval</th>" for name in columns)
    body = ""
    for c in order:
        cells = "".join(measured(*figures[c], 0.5 if several else None) for figures in columns.values())
        label = esc(evaluation.labels[c])
        body += f"<tr><th scope='row'>{label}</th><td class='n'>{counts[c]:,}</td>{cells}</tr>"
    unit = unit_of_resampling(evaluation.rows)[1]
    what = "Dotted: chance." if several else "Precision is empty for a class that was never chosen."
    about = f"The lowest first; 95 % intervals by bootstrap over {unit}. {what}"
    inner = (
        f"<table><thead><tr><th scope='col'>class</th><th scope='col' class='n'>rows</th>{head}</tr>"
        f"</thead><tbody>{body}</tbody></table>"
    )
    title = " and ".join(columns)
    return f"<h3>Each class: {title}</h3><p class='soft'>{about}</p>" + scroll(inner, f"Each class: {title}")


def recall_and_precision(evaluation: Evaluation, truth: Array, scores: Array) -> dict[str, list[Figure]]:
    """Recall and precision of each class, of one label a row."""
    unit, units = units_of(unit_of_resampling(evaluation.rows)[0])
    chosen = np.eye(len(evaluation.labels), dtype=int)[scores.argmax(1)]
    by_unit = count(truth, chosen, unit, units)
    whole, drawn = by_unit.weighted(np.ones((1, units))), by_unit.weighted(cluster_draws(units))
    return {
        figure.__name__: [
            (float(value), percentile_interval(draws)) for value, draws in zip(figure(whole)[0], figure(drawn).T)
        ]
        for figure in (recall, precision)
    }


def aurocs(evaluation: Evaluation, truth: Array, scores: Array) -> dict[str, list[Figure]]:
    """AUROC of each class; NaN for those of all rows or of none."""
    unit, units = units_of(unit_of_resampling(evaluation.rows)[0])
    weights = np.concatenate([np.ones((1, units)), cluster_draws(units, 200)])  # the first: every row once
    figures: list[Figure] = []
    for c in range(truth.shape[1]):
        areas, _ = weighted_areas(truth[:, c], scores[:, c], weights, unit)
        figures.append((float(areas[0]), percentile_interval(areas[1:])))
    return {"AUROC": figures}
