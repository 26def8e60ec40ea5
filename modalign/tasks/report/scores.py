"""How scores are spread: of rows that have a label and of those that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.tasks.evaluation import Evaluation
from modalign.tasks.predictions import indicator
from modalign.tasks.report.drawing import BLUE, RED, Chart, padded, ticks
from modalign.tasks.report.markup import chart, esc

Array = NDArray[Any]
MOST = 12


def margin_chart(evaluation: Evaluation, scores: Array) -> str:
    """One label a row: the score of the true class beside that of the best other one."""
    truth = indicator([row.labels for row in evaluation.rows], evaluation.labels).astype(bool)
    own = np.where(truth, scores, -np.inf).max(1)
    other = np.where(truth, -np.inf, scores).max(1)
    drawn = _histograms(own, other, (460, 340), "score", "share of rows")
    share = float((own > other).mean())
    caption = (
        f"<span style='color:{BLUE}'>Blue</span>: the score with the true class; <span style='color:{RED}'>red</span>: "
        f"with the best other class. The true class is ahead in {share:.1%} of rows."
    )
    said = (
        f"Histograms: median score with the true class {np.median(own):.3f}, with the best other {np.median(other):.3f}"
    )
    return chart(drawn.svg(said), "Scores of the true class and of the best other", caption)


def distribution_section(evaluation: Evaluation, scores: Array) -> str:
    """Several labels a row: for each class, the scores of rows that have it and of those that do not."""
    truth = indicator([row.labels for row in evaluation.rows], evaluation.labels).astype(bool)
    counts = truth.sum(0)
    usable = [c for c in np.argsort(-counts, kind="stable") if 0 < counts[c] < len(truth)]
    shown = ""
    for c in usable[:MOST]:
        with_it, without = scores[truth[:, c], c], scores[~truth[:, c], c]
        drawn = _histograms(with_it, without, (230, 150))
        said = f"median score {np.median(with_it):.3f} with {evaluation.labels[c]}, {np.median(without):.3f} without"
        shown += chart(
            drawn.svg(said), evaluation.labels[c], f"{counts[c]:,} rows with, {len(truth) - counts[c]:,} without"
        )
    if not shown:
        return ""
    left = len(usable) - MOST
    more = f" The {MOST} commonest; {left} more are left out." if left > 0 else ""
    return (
        "<h3>Scores of each label</h3><p class='soft'>"
        f"<span style='color:{BLUE}'>Blue</span>: rows that have the label; <span style='color:{RED}'>red</span>: "
        f"rows that do not; each as a share of its own.{esc(more)}</p><div class='charts small'>{shown}</div>"
    )


def _histograms(a: Array, b: Array, size: tuple[int, int], x_label: str = "", y_label: str = "") -> Chart:
    """Two histograms on one axis, each of area 1 by counts."""
    span = padded(np.concatenate([a, b]))
    edges = np.linspace(*span, int(np.clip(2 * min(len(a), len(b)) ** 0.5, 8, 24)) + 1)
    heights = [np.histogram(values, edges)[0] / max(len(values), 1) for values in (a, b)]
    small = not x_label
    margins = (14, 6, 16, 22) if small else (52, 12, 12, 44)
    top = max(float(np.max(heights)), 1e-9) * 1.08
    drawn = Chart(span, (0, top), size, margins)
    drawn.axes(x_label, y_label, ticks(*span, 3 if small else 6), () if small else ticks(0, top))
    for values, fill in zip(reversed(heights), (RED, BLUE)):
        drawn.steps(edges, values, fill)
    return drawn
