"""Attention rollout (Abnar, Zuidema 2020): how attention mixes tokens, whatever is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modalign.modalities.spans import spread
from modalign.tasks.explain.attention import attention_of, rows_of
from modalign.tasks.explain.registry import Window, register_method


def rolled(attentions: Sequence[Tensor], rows: Tensor) -> Tensor:
    """`rows` times the product of (mean over heads + I), its rows normalised, the last layer first.

    Args:
        attentions: (N, H, L, L) of each layer, the first one first.
        rows: (N, R, L); the identity gives the product itself, whose rows sum to 1.

    Example:
        >>> rolled([torch.full((1, 3, 2, 2), 0.5)], torch.eye(2)[None])[0].tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """
    for attention in reversed(attentions):
        mixed = attention.float().mean(1) + torch.eye(attention.shape[-1])
        rows = rows @ (mixed / mixed.sum(-1, keepdim=True))
    return rows


@register_method(
    "rollout",
    "attention rollout (the same for any target)",
    "it needs self-attention whose tokens stand for parts of the input",
    lambda window: window.spans is not None,
    compares=False,
)
def rollout(window: Window) -> Tensor:
    """Relevance of the main input, not negative, and the same for every target."""
    spans = window.spans
    assert spans is not None
    layers, _, _ = attention_of(window, gradients=False)
    rows = rows_of(spans, layers[0].shape[0])
    return spread(rolled(layers, rows).flatten(), spans.spans, window.main.shape[1:])
