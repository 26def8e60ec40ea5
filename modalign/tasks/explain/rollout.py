"""Attention rollout (Abnar, Zuidema 2020): how attention mixes tokens, whatever is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modalign.modalities.spans import spread
from modalign.tasks.explain.attention import attention_of, rows_of
from modalign.tasks.explain.registry import Window, register_method


def rolled(attentions: Sequence[Tensor]) -> Tensor:
    """The product of (mean over heads + I), rows normalised, the last layer first: (N, L, L), whose rows sum to 1.

    Args:
        attentions: (N, H, L, L) of each layer, the first one first.

    Example:
        >>> rolled([torch.full((1, 3, 2, 2), 0.5)])[0].tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """
    size = attentions[0].shape[-1]
    out = torch.eye(size).expand(len(attentions[0]), -1, -1)
    for attention in attentions:
        mixed = attention.float().mean(1) + torch.eye(size)
        out = mixed / mixed.sum(-1, keepdim=True) @ out
    return out


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
    return spread((rows @ rolled(layers)).flatten(), spans.spans, window.main.shape[1:])
