"""Whether probabilities are what they say: confidence beside how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.align.metrics import (
    Calibration,
    cluster_draws,
    expected_calibration_error,
    percentile_interval,
    units_of,
)
from modalign.align.metrics.calibration import BINS
from modalign.tasks.evaluation import Evaluation, Result, unit_of_resampling
from modalign.tasks.predictions import indicator
from modalign.tasks.report.drawing import BLUE, ORANGE, SOFT, Chart
from modalign.tasks.report.markup import chart

Array = NDArray[Any]
TENTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def calibrations(evaluation: Evaluation) -> dict[str, Calibration]:
    """What makes probabilities of the scores: the model's own temperature, and what was fitted on val.

    With several labels a row there is only the latter, for a model without a learnt bias: cosines with prompts are no
    probabilities there.
    """
    own = evaluation.own
    if own is None and evaluation.scale is not None and not evaluation.multi_label:
        own = Calibration((evaluation.scale,))
    found = {"the model's own temperature": own, "fitted on val": evaluation.fitted}
    return {name: calibration for name, calibration in found.items() if calibration is not None}


def reliability_chart(evaluation: Evaluation, main: Result) -> str:
    """Accuracy by confidence in bins, with intervals, over the share of rows in each; or nothing."""
    made = calibrations(evaluation)
    if not made or main.scores is None:
        return ""
    truth = indicator([row.labels for row in evaluation.rows], evaluation.labels)
    units = unit_of_resampling(evaluation.rows)[0]
    several = evaluation.multi_label
    what = "confidence of every label" if several else "confidence of the chosen class"
    drawn = Chart((0, 1), (0, 1), (460, 340))
    lines, said = [], []
    for k, (name, calibration) in enumerate(made.items()):
        stroke = (BLUE, ORANGE)[k] if len(made) > 1 or not several else ORANGE
        confidence, right, unit = _points(calibration(main.scores), truth, units, several)
        member = np.eye(BINS)[np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)]
        share = member.mean(0)
        member = member[:, share > 0]
        points = np.stack([confidence @ member, right @ member]) / member.sum(0)
        if not k:
            drawn.steps(np.linspace(0, 1, BINS + 1), share, SOFT, 0.18)
            drawn.axes(what, "share that is right; grey: of rows", TENTHS, TENTHS)
            drawn.line(np.array([[0, 0], [1, 1]]), SOFT, 1.2, "4 4")
        for x, (low, high) in zip(points[0], _intervals(member, right, unit)):
            drawn.line(np.array([[x, low], [x, high]]), stroke, 1)
        drawn.line(points.T, stroke, 1.8, "6 3" if k else "")
        drawn.dots(points.T, stroke, 8, 1)
        error = expected_calibration_error(confidence, right)
        lines.append(
            f"<span style='color:{stroke}'>{name}</span>: expected calibration error {error:.3f}, mean confidence "
            f"{confidence.mean():.3f}, right {right.mean():.3f}"
        )
        said.append(f"{name}: " + ", ".join(f"confidence {a:.2f} right {b:.2f}" for a, b in points.T))
    caption = f"On the dotted line, of what is said to be 80 % sure 80 % is right. {'; '.join(lines)}."
    return chart(drawn.svg(f"Reliability. {'; '.join(said)}"), "Reliability", caption)


def _points(p: Array, truth: Array, units: Sequence[str], several: bool) -> tuple[Array, Array, list[str]]:
    """Confidence, whether it is right, and the unit, of each row's chosen class or of every label of each."""
    if not several:
        return p.max(1), truth[np.arange(len(p)), p.argmax(1)].astype(float), list(units)
    known = ~np.isnan(p)
    return p[known], truth[known].astype(float), np.repeat(np.array(units, dtype=object), known.sum(1)).tolist()


def _intervals(member: Array, right: Array, units: Sequence[str]) -> list[tuple[float, float]]:
    """The share that is right in each bin, (N, K) members, under the draws of whole groups."""
    unit, number = units_of(units)
    by_unit = np.zeros((2, number, member.shape[1]))
    np.add.at(by_unit[0], unit, member * right[:, None])
    np.add.at(by_unit[1], unit, member)
    hits, rows = cluster_draws(number) @ by_unit
    with np.errstate(invalid="ignore"):
        return [percentile_interval(draws) for draws in (hits / rows).T]
