"""The learnable temperature of the contrastive losses."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Temperature(nn.Module):
    """A log-scale `s` with logits = exp(s) * cosine, clamped to [0, ln max_scale] as CLIP does (Radford et al. 2021).

    Args:
        init: the first temperature, 1 / exp(s).
        learnable: False keeps it constant.
        max_scale: the largest exp(s).
        bias: the first value of the bias that sigmoid losses add to the logits, learnt (Zhai et al. 2023); None: there
            is none.
    """

    def __init__(
        self, init: float = 0.07, learnable: bool = True, max_scale: float = 100.0, bias: float | None = None
    ) -> None:
        super().__init__()
        self.max = math.log(max_scale)
        start = min(max(-math.log(init), 0.0), self.max)
        self.log_scale = nn.Parameter(torch.tensor(start), requires_grad=learnable)
        self.bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))

    def forward(self) -> Tensor:
        """exp(s), a scalar. Not clamped here: at the bound a clamp passes no gradient, and s could never leave it."""
        return self.log_scale.exp()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Put the parameter back inside the bounds; called after each update, so that it cannot stick outside."""
        self.log_scale.clamp_(0.0, self.max)
