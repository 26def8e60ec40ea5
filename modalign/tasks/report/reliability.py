"""Whether probabilities are what they say: confidence beside accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.align.metrics import cluster_draws, expected_calibration_error, percentile_interval, units_of
from modalign.align.metrics.calibration import Calibration
from modalign.tasks.evaluation import Evaluation, unit_of_resampling
from modalign.tasks.report.drawing import BLUE, INK, SOFT, Chart
from modalign.tasks.report.markup import chart

Array = NDArray[Any]
BINS = 10
TENTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def probabilities(evaluation: Evaluation, scores: Array) -> Array | None:
    """(N, C) probabilities of one label a row: a softmax of cosines at the model's scale, or scores that are some.

    None for several labels a row, since cosines with prompts are no probabilities there.
    """
    if evaluation.multi_label:
        return None
    if evaluation.scale is not None:
        return Calibration((evaluation.scale,))(scores)
    return scores if scores.min() >= 0 and np.allclose(scores.sum(1), 1, atol=1e-3) else None


def reliability_chart(evaluation: Evaluation, scores: Array) -> str:
    """Accuracy by confidence in ten bins, with intervals, over the share of rows in each; or nothing."""
    p = probabilities(evaluation, scores)
    if p is None:
        return ""
    confidence, chosen = p.max(1), p.argmax(1)
    correct = np.array([evaluation.labels[c] == row.labels[0] for c, row in zip(chosen, evaluation.rows)], dtype=float)
    member = np.eye(BINS)[np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)]
    share = member.mean(0)
    member = member[:, share > 0]
    counts = member.sum(0)
    accuracy, middle = correct @ member / counts, confidence @ member / counts
    intervals = _intervals(member, correct, unit_of_resampling(evaluation.rows)[0])
    error = expected_calibration_error(confidence, correct, BINS)
    drawn = Chart((0, 1), (0, 1), (460, 340))
    drawn.steps(np.linspace(0, 1, BINS + 1), share, SOFT, 0.18)
    drawn.axes("confidence of the chosen class", "accuracy; grey: share of rows", TENTHS, TENTHS)
    drawn.line(np.array([[0, 0], [1, 1]]), SOFT, 1.2, "4 4")
    for x, (low, high) in zip(middle, intervals):
        drawn.line(np.array([[x, low], [x, high]]), INK, 1.5)
    drawn.line(np.stack([middle, accuracy], 1), BLUE, 1.8)
    drawn.dots(np.stack([middle, accuracy], 1), BLUE, 9, 1)
    said = ", ".join(f"confidence {m:.2f} accuracy {a:.2f}" for m, a in zip(middle, accuracy))
    gap = float(confidence.mean() - correct.mean())
    about = "too sure" if gap > 0 else "not sure enough"
    caption = (
        f"On the dotted line, of rows said to be 80 % sure 80 % are right. Expected calibration error {error:.3f} in "
        f"{BINS} bins; the mean confidence is {confidence.mean():.3f} and the accuracy {correct.mean():.3f} ({about})."
    )
    return chart(drawn.svg(f"Reliability: {said}"), "Reliability", caption)


def _intervals(member: Array, correct: Array, units: Sequence[str]) -> list[tuple[float, float]]:
    """The share of right rows of each bin, (N, K) members, under the draws of whole groups."""
    unit, number = units_of(units)
    by_unit = np.zeros((2, number, member.shape[1]))
    np.add.at(by_unit[0], unit, member * correct[:, None])
    np.add.at(by_unit[1], unit, member)
    right, rows = cluster_draws(number) @ by_unit
    with np.errstate(invalid="ignore"):
        return [percentile_interval(draws) for draws in (right / rows).T]
