"""Attention pooling: the mean of the tokens asks, and tokens answer (CLIP's AttentionPool, as MERL uses it in 1-D)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPool(nn.Module):
    """Tokens (B, L, D) -> pooled (B, D): multi-head attention whose one query is the tokens' mean.

    Args:
        width: D.
        heads: must divide D.
        tokens: L, where positions are learnt (MERL: 313); None: no positions, any length.

    Example:
        >>> AttentionPool(256, 4)(torch.zeros(2, 313, 256)).shape
        torch.Size([2, 256])
    """

    def __init__(self, width: int, heads: int = 4, tokens: int | None = None) -> None:
        super().__init__()
        self.tokens = tokens
        self.positions = nn.Parameter(torch.randn(tokens + 1, width) / width**0.5) if tokens is not None else None
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool; mask (B, L) is True where a token is real."""
        if mask is None:
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        weights = mask.to(tokens.dtype).unsqueeze(-1)
        mean = (tokens * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp_min(1)
        keys = torch.cat([mean, tokens], 1)
        if self.positions is not None:
            keys = keys + self.positions.to(keys.dtype)
        real = torch.cat([mask.new_ones(len(mask), 1), mask], 1)
        pooled: Tensor = self.attention(keys[:, :1], keys, keys, key_padding_mask=~real, need_weights=False)[0]
        return pooled.squeeze(1)
