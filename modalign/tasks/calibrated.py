"""Generalised zero-shot figures: calibrated stacking, accuracies of seen and unseen classes, and the area between them.

Source: Chao et al. 2016, arXiv:1605.04253. A constant gamma is taken from the scores of the classes that training saw.
As gamma grows, rows go over from seen to unseen classes; the curve of the two accuracies is exact here, since every
row goes over at one value: its best seen score less its best unseen one. [M]: written from the paper, no code compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modalign.errors import RecipeError

Array = NDArray[Any]


class SeenUnseen(NamedTuple):
    """Accuracy among all classes of the rows of seen classes, of unseen ones, and the harmonic mean of the two."""

    seen: float
    unseen: float
    harmonic: float


class Fold(NamedTuple):
    """Scores (N, C) of one model, the rows' classes (N,) as columns, and which columns it saw (C,)."""

    scores: Array
    truth: Array
    seen: Array


@dataclass(frozen=True)
class Curve:
    """Accuracies by gamma. Between two neighbours of `gammas` nothing changes.

    Attributes:
        gammas: (K,) the values at which a row goes over, ascending.
        seen: (K + 1,) accuracy of seen classes before, between and after them; it falls.
        unseen: (K + 1,) accuracy of unseen classes; it rises.
    """

    gammas: Array
    seen: Array
    unseen: Array

    @property
    def area(self) -> float:
        """AUSUC: the area under the accuracy of unseen classes as a function of that of seen ones, 0 to 1."""
        x, y = self.seen[::-1], self.unseen[::-1]
        return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))

    @property
    def harmonic(self) -> Array:
        """(K + 1,) harmonic means."""
        return np.array([harmonic_mean(s, u) for s, u in zip(self.seen, self.unseen)])


def harmonic_mean(a: float, b: float) -> float:
    """2ab / (a + b), and 0 where both are 0."""
    return 2 * a * b / (a + b) if a + b else 0.0


def calibrate(scores: Array, seen: Array, gamma: float) -> Array:
    """Scores (N, C) with gamma taken from the columns that training saw (C,)."""
    return np.asarray(scores - gamma * np.asarray(seen, dtype=scores.dtype))


def seen_unseen(scores: Array, truth: Array, seen: Array, gamma: float = 0.0) -> SeenUnseen:
    """Mean recall of the seen and of the unseen classes among all classes: every class counts the same.

    Args:
        scores: (N, C).
        truth: (N,) columns.
        seen: (C,) of booleans.
        gamma: taken from the seen columns first.

    Example:
        >>> scores = np.array([[0.9, 0.8], [0.9, 0.8]])
        >>> seen_unseen(scores, np.array([0, 1]), np.array([True, False]))
        SeenUnseen(seen=1.0, unseen=0.0, harmonic=0.0)
    """
    truth, seen = _checked(truth, seen)
    right = calibrate(scores, seen, gamma).argmax(1) == truth
    weights = _weights(truth)
    a, b = (float(np.sum(weights[part] * right[part]) / np.sum(weights[part])) for part in (seen[truth], ~seen[truth]))
    return SeenUnseen(a, b, harmonic_mean(a, b))


def curve(scores: Array, truth: Array, seen: Array) -> Curve:
    """The exact curve over all gammas; arguments as for `seen_unseen`."""
    truth, seen = _checked(truth, seen)
    best_seen, best_unseen = (np.where(part, scores, -np.inf) for part in (seen, ~seen))
    crossing = best_seen.max(1) - best_unseen.max(1)
    of_seen = seen[truth]
    weights = _weights(truth)
    weights = weights / np.where(of_seen, weights[of_seen].sum(), weights[~of_seen].sum())
    gammas = np.unique(crossing)
    place = np.searchsorted(gammas, crossing)
    loses = np.bincount(place, weights * (of_seen & (best_seen.argmax(1) == truth)), len(gammas))
    gains = np.bincount(place, weights * (~of_seen & (best_unseen.argmax(1) == truth)), len(gammas))
    falling = np.concatenate([loses[::-1].cumsum()[::-1], [0.0]])
    rising = np.concatenate([[0.0], gains.cumsum()])
    return Curve(gammas, falling, rising)


def choose_gamma(folds: Sequence[Fold]) -> float:
    """The gamma with the highest harmonic mean, averaged over folds of validation rows.

    In each fold some classes play the unseen ones, and its model was trained without them. Of the interval in which the
    best value holds, the middle is taken; of several, the one nearest 0.

    Raises:
        RecipeError: no folds, or a fold without rows of seen or of unseen classes.
    """
    if not folds:
        raise RecipeError("no validation folds to choose gamma on")
    curves = [curve(*fold) for fold in folds]
    edges = np.unique(np.concatenate([c.gammas for c in curves]))
    middles = np.concatenate([[edges[0] - 1e-3], (edges[1:] + edges[:-1]) / 2, [edges[-1] + 1e-3]])
    values = np.mean([c.harmonic[np.searchsorted(c.gammas, middles)] for c in curves], axis=0)
    best = np.flatnonzero(values >= values.max() - 1e-12)
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    low = np.concatenate([[middles[0]], edges])  # the interval about middles[k] is from low[k] to high[k]
    high = np.concatenate([edges, [middles[-1]]])
    return float(min(((low[run[0]] + high[run[-1]]) / 2 for run in runs), key=abs))


def _weights(truth: Array) -> Array:
    counts = np.bincount(truth)
    return np.asarray(1.0 / counts[truth])


def _checked(truth: Array, seen: Array) -> tuple[Array, Array]:
    truth, seen = np.asarray(truth, dtype=int), np.asarray(seen, dtype=bool)
    if not seen[truth].any() or seen[truth].all():
        lacking = "seen" if not seen[truth].any() else "unseen"
        raise RecipeError(f"no row is of any {lacking} class, so seen and unseen classes cannot be compared")
    return truth, seen
