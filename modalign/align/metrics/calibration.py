"""Whether probabilities are what they say: ECE, Brier score, reliability, and temperatures fitted on other rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS = 15
SCALES = (1e-3, 1e4)
"""Where a scale (1 / temperature) is looked for."""


class Reliability(NamedTuple):
    """Bins that hold something: mean confidence (K,), share of right ones (K,), counts (K,)."""

    confidence: Array
    accuracy: Array
    counts: Array


def reliability_curve(confidence: Array, right: Array, bins: int = BINS, mass: bool = False) -> Reliability:
    """Confidence beside accuracy, by bins of confidence.

    Args:
        confidence: (N,) probabilities.
        right: (N,) of 0 and 1: whether what was said with this probability is so.
        bins: how many.
        mass: bins of equal counts (equal confidences stay together) in place of equal width.
    """
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    edges = np.unique(np.quantile(confidence, inner)) if mass else inner
    place = np.digitize(confidence, edges, right=True)  # (low, high], as in Guo et al. 2017
    size = len(edges) + 1
    counts = np.bincount(place, minlength=size)
    kept = counts > 0
    sums = [np.bincount(place, weights=values, minlength=size)[kept] for values in (confidence, right)]
    return Reliability(sums[0] / counts[kept], sums[1] / counts[kept], counts[kept])


def expected_calibration_error(confidence: Array, right: Array, bins: int = BINS, mass: bool = False) -> float:
    """Mean distance of confidence and accuracy over the bins, weighted by their counts (Guo et al. 2017).

    Example:
        >>> expected_calibration_error(np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 1, 1, 0]))
        0.1
    """
    curve = reliability_curve(confidence, right, bins, mass)
    shares = curve.counts / curve.counts.sum()
    return float((shares * np.abs(curve.confidence - curve.accuracy)).sum())


def brier_score(probabilities: Array, truth: Array, several: bool = False) -> float:
    """Mean squared distance of probabilities (N, C) from truth (N, C): summed over classes, or the mean over labels."""
    squares = (probabilities - truth) ** 2
    return float(np.nanmean(squares) if several else squares.sum(1).mean())


def log_loss(probabilities: Array, truth: Array, several: bool = False) -> float:
    """Mean negative log likelihood of truth (N, C); with several labels a row, of each label, averaged."""
    tiny = np.finfo(np.float64).tiny
    p = probabilities.astype(np.float64)
    if several:
        return float(-np.nanmean(np.log(np.where(truth > 0, p, 1 - p).clip(tiny))))
    return float(-np.log((p * truth).sum(1).clip(tiny)).mean())


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities: a softmax of scaled scores, or with several labels a logistic curve a label.

    Attributes:
        scale: one number, or one a label (1 / temperature); NaN for a label that nothing could be fitted to.
        bias: likewise, added after scaling; 0 for the softmax.
        several: whether rows may have several labels.
    """

    scale: tuple[float, ...]
    bias: tuple[float, ...] = (0.0,)
    several: bool = False

    def __call__(self, scores: Array) -> Array:
        """Scores (N, C) -> probabilities (N, C)."""
        logits = scores.astype(np.float64) * np.array(self.scale) + np.array(self.bias)
        if self.several:
            from scipy.special import expit

            each: Array = expit(logits)
            return each
        grown = np.exp(logits - logits.max(1, keepdims=True))
        shares: Array = grown / grown.sum(1, keepdims=True)
        return shares


def fit_scale(scores: Array, truth: Array) -> float | None:
    """The scale (1 / temperature) of the softmax that makes these rows likeliest (Guo et al. 2017).

    Never fit it on the rows that are evaluated. None where no scale is best: every row is right (the larger the
    better), or chance would do better (the smaller the better).

    Args:
        scores: (N, C).
        truth: (N, C), one 1 a row.
    """
    from scipy.optimize import minimize_scalar

    def loss(exponent: float) -> float:
        return log_loss(Calibration((float(np.exp(exponent)),))(scores), truth)

    low, high = np.log(SCALES)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    all_right = bool((scores.argmax(1) == truth.argmax(1)).all())
    inside = low + 0.01 < found.x < high - 0.01
    return float(np.exp(found.x)) if inside and not all_right else None


def fit_logistic(scores: Array, truth: Array) -> tuple[float, float] | None:
    """Slope and intercept of the logistic curve from scores (N,) to truth (N,), by Platt's (1999) smoothed targets.

    None where truth is all 0 or all 1.
    """
    from sklearn.linear_model import LogisticRegression

    positives = int(truth.sum())
    if not 0 < positives < len(truth):
        return None
    high, low = (positives + 1) / (positives + 2), 1 / (len(truth) - positives + 2)
    target = np.where(truth > 0, high, low)
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0  # cosines of a class may differ by 0.01
    one = ((scores.astype(np.float64) - centre) / spread)[:, None]
    model = LogisticRegression(C=1e6, max_iter=1000).fit(
        np.concatenate([one, one]), np.repeat([1, 0], len(one)), np.concatenate([target, 1 - target])
    )
    slope = float(model.coef_[0, 0]) / spread
    return slope, float(model.intercept_[0]) - slope * centre
