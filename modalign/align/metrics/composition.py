"""Order and attribute: two texts and two recordings that differ in nothing but who did what, or what came first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from modalign.align.metrics.intervals import cluster_draws, percentile_interval, units_of

CHANCE = {"text": 1 / 4, "recording": 1 / 4, "group": 1 / 6}
"""Of random continuous scores (recalled from Winoground; checked by simulation in the tests)."""

ONE_RECORDING = "one recording"
"""The name of the question put to one recording of the two, with two texts: chance is 1/2."""


class CompositionScores(NamedTuple):
    """Of N pairs of pairs.

    Attributes:
        text: (N,) bool: each recording prefers its own text (CompA's text score).
        recording: (N,) bool: each text prefers its own recording (CompA's audio score).
        group: (N,) bool: both.
    """

    text: Tensor
    recording: Tensor
    group: Tensor

    def means(self) -> dict[str, float]:
        """Name -> share; chance is in `CHANCE`."""
        return {name: part.double().mean().item() for name, part in self._asdict().items()}


def composition_scores(scores: Tensor) -> CompositionScores:
    """CompA's three scores (Ghosh et al. 2024) of scores (N, 2, 2): [n, i, j] = cos(text i, recording j).

    Equal scores count as wrong, so that a model that cannot tell the two apart has 0 and not chance.

    Example:
        >>> import torch
        >>> composition_scores(torch.tensor([[[0.9, 0.1], [0.2, 0.8]]])).means()
        {'text': 1.0, 'recording': 1.0, 'group': 1.0}
    """
    text = (scores[:, 0, 0] > scores[:, 1, 0]) & (scores[:, 1, 1] > scores[:, 0, 1])
    recording = (scores[:, 0, 0] > scores[:, 0, 1]) & (scores[:, 1, 1] > scores[:, 1, 0])
    return CompositionScores(text, recording, text & recording)


def prefers(right: Tensor, reversed_: Tensor) -> Tensor:
    """(N,) 1 where a recording prefers its text to the one with the order reversed, 0.5 where both are equal."""
    return (right > reversed_).double() + 0.5 * (right == reversed_).double()


def temporal_accuracy(right: Tensor, reversed_: Tensor) -> float:
    """Share of recordings that prefer their text to the one with the order reversed (TACT); equal scores count half.

    Args:
        right: (N,) cosines with the text in the true order.
        reversed_: (N,) cosines with the text in the reversed order.
    """
    return prefers(right, reversed_).mean().item()


def two_way_bootstrap(
    values: NDArray[Any], first: Sequence[Hashable], second: Sequence[Hashable], draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """A 95 % percentile interval of a mean over things that two units made together, by resampling the units.

    A thing is drawn as often as its first unit times as often as its second; where both are one, as often as it. Over
    the units of one side alone, intervals would be too narrow: those of the other repeat as well. (The pigeonhole
    bootstrap, recalled from Owen 2007.)

    Args:
        values: (N,) of each thing.
        first: N keys of units.
        second: N keys, of the same units.
        draws: resamples.
        seed: of the resampling.

    Example:
        >>> two_way_bootstrap(np.ones(3), "aab", "bcc")
        (1.0, 1.0)
    """
    places, units = units_of([*first, *second])
    a, b = places[: len(first)], places[len(first) :]
    drawn = cluster_draws(units, draws, seed)
    weights = np.where(a == b, drawn[:, a], drawn[:, a] * drawn[:, b])
    total = weights.sum(1)
    means = weights @ np.asarray(values, dtype=float) / np.where(total > 0, total, 1)
    return percentile_interval(np.where(total > 0, means, np.nan))
