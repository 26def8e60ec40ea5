"""Pre-norm transformer blocks with DropKey and stochastic depth.

DropKey (Li et al. 2023; MoRE's "linear attention dropping"): while training, attention logits are masked at random
before the softmax, for each batch item, head, query and key. MoRE's release sets its decreasing schedule on the block,
where the attention does not read it; here the ratio lives in the attention alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def linear_schedule(ratio: float, depth: int) -> list[float]:
    """From `ratio` in the first block to 0 in the last, in equal steps.

    Example:
        >>> linear_schedule(0.2, 3)
        [0.2, 0.1, 0.0]
    """
    return [ratio * (1 - i / (depth - 1)) if depth > 1 else ratio for i in range(depth)]


def drop_keys(logits: Tensor, ratio: float) -> Tensor:
    """Mask attention logits (B, H, Q, K) with a probability; a query that would lose every key keeps its best one.

    The best one is kept, and not minus infinity filled in for all, since a softmax over nothing is NaN.
    """
    if ratio <= 0:
        return logits
    # A key that a mask took away already is no key that could be kept.
    masked = logits <= torch.finfo(logits.dtype).min
    drop = masked | (torch.rand(logits.shape, device=logits.device) < ratio)
    best = F.one_hot(logits.argmax(-1), logits.shape[-1]).bool()
    drop = drop & ~(drop.all(-1, keepdim=True) & best)
    return logits.masked_fill(drop, torch.finfo(logits.dtype).min)


class Attention(nn.Module):
    """Multi-head self-attention (B, L, D).

    Attributes:
        drop_key: DropKey's ratio while training.
    """

    def __init__(self, width: int, heads: int, bias: bool = True, drop_key: float = 0.0) -> None:
        super().__init__()
        self.heads, self.drop_key = heads, drop_key
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend; mask (B, L) is True where a token is real, None where all are."""
        batch, length, width = tokens.shape
        q, k, v = self.qkv(tokens).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        keep = None if mask is None else mask[:, None, None, :]
        if self.training and self.drop_key > 0:
            logits = (q @ k.transpose(-2, -1)) * k.shape[-1] ** -0.5
            if keep is not None:
                logits = logits.masked_fill(~keep, torch.finfo(logits.dtype).min)
            out = drop_keys(logits, self.drop_key).softmax(-1) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        mixed: Tensor = self.out(out.transpose(1, 2).reshape(batch, length, width))
        return mixed


class DropPath(nn.Module):
    """Stochastic depth: leave a residual branch out for whole items while training, and scale the rest up."""

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Drop."""
        if not self.training or self.probability <= 0:
            return branch
        keep = torch.rand(len(branch), *[1] * (branch.ndim - 1), device=branch.device) >= self.probability
        return branch * keep.to(branch.dtype) / (1 - self.probability)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(
        self,
        width: int,
        heads: int,
        bias: bool = True,
        drop_key: float = 0.0,
        drop_path: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, bias, drop_key)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform (B, L, D)."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), mask))
        out: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return out


class Transformer(nn.Module):
    """Blocks, then a norm.

    Args:
        width: D.
        depth: how many blocks.
        heads: of attention.
        bias: of query, key and value.
        drop_key: DropKey's ratio in the first block.
        schedule: "constant", or "linear" down to 0 in the last block.
        drop_path: stochastic depth in the last block, from 0 in the first.
        dropout: in the feed-forward layers.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        *,
        bias: bool = True,
        drop_key: float = 0.0,
        schedule: str = "linear",
        drop_path: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        ratios = linear_schedule(drop_key, depth) if schedule == "linear" else [drop_key] * depth
        paths = linear_schedule(drop_path, depth)[::-1]
        self.blocks = nn.ModuleList(
            [Block(width, heads, bias, ratio, path, dropout) for ratio, path in zip(ratios, paths)]
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform (B, L, D)."""
        for block in self.blocks:
            tokens = block(tokens, mask)
        normed: Tensor = self.norm(tokens)
        return normed
