"""Mean-and-maximum pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MeanMax(nn.Module):
    """Mean and maximum over the tokens, mixed to one vector: what there is, and what is there somewhere."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, D) -> (B, D)."""
        pooled: Tensor = self.mix(torch.cat([tokens.mean(1), tokens.amax(1)], 1))
        return pooled
