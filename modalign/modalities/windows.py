"""Relevance of windows of a recording, put back onto its own samples. Used by motion and ECG."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modalign.modalities.spans import lay


def unfilled(relevance: Tensor, length: int, wrapped: bool) -> tuple[Tensor, float]:
    """A window's relevance (C, t) over the samples that it really has, and where its first one lies.

    Args:
        relevance: (C, t).
        length: samples of the window at the model's rate, before it was cut or filled.
        wrapped: whether it was filled by beginning again.
    """
    taken = relevance.shape[1]
    if length >= taken:
        return relevance, float((length - taken) // 2)
    if not wrapped:
        return relevance[:, :length], 0.0
    folded = torch.zeros(len(relevance), length)
    return folded.index_add_(1, torch.arange(taken) % length, relevance), 0.0


def restore(
    relevances: Sequence[Tensor], starts: Sequence[float], lengths: Sequence[int], ratio: float, count: int,
    wrapped: bool,
) -> Tensor:  # fmt: skip
    """Put windows together: (C, count) over the source's samples.

    Args:
        relevances: of each window, (C, t) at the model's rate.
        starts: of each window, in source samples.
        lengths: of each window at the model's rate, before it was cut or filled.
        ratio: source samples a model sample.
        count: of source samples.
        wrapped: whether short windows were filled by beginning again.
    """
    out = torch.zeros(len(relevances[0]), count)
    for relevance, start, length in zip(relevances, starts, lengths):
        own, offset = unfilled(relevance.float(), length, wrapped)
        first = start + offset * ratio
        out += lay(own, first, first + own.shape[1] * ratio, count)
    return out
