"""Order and attribute: two texts and two recordings that differ in nothing but who did what, or what came first."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

CHANCE = {"text": 1 / 4, "recording": 1 / 4, "group": 1 / 6}
"""Of random continuous scores (recalled from Winoground; checked by simulation in the tests)."""


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


def temporal_accuracy(right: Tensor, reversed_: Tensor) -> float:
    """Share of recordings that prefer their text to the one with the order reversed (TACT); equal scores count half.

    Args:
        right: (N,) cosines with the text in the true order.
        reversed_: (N,) cosines with the text in the reversed order.
    """
    return ((right > reversed_).double() + 0.5 * (right == reversed_).double()).mean().item()
