"""LAION CLAP's loss with a small network on each side and two temperatures."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from modalign.align.losses.infonce import infonce
from modalign.align.losses.registry import StatefulLoss, Training, register_loss
from modalign.errors import RecipeError

MOST = math.log(100)


@register_loss("clap")
class Clap(StatefulLoss):
    """`[NCE(x, y'; a) + NCE(x', y; t)] / 2`, x' and y' the embeddings after an MLP of their own.

    LAION CLAP (Wu et al. 2023) with its option `clap_mlploss`, by its public code. `a` is the model's scale; `t` is the
    loss's own. The MLPs train with the model, and are not part of it: inference takes x and y.

    Args:
        init: the first temperature of the second scale.

    Raises:
        RecipeError: init is out of bounds.
    """

    def __init__(self, init: float = 0.07) -> None:
        super().__init__()
        if not 0.01 <= init <= 1:
            raise RecipeError(f"loss.options.init: {init!r} is not in [0.01, 1]")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(init)))

    @torch.no_grad()
    def clamp_(self) -> None:
        """As CLAP does after each update."""
        self.log_scale.clamp_(0.0, MOST)

    def start(self, training: Training) -> None:
        """Make the MLPs, of the shared space's size."""
        self.mlp_x, self.mlp_y = (
            nn.Sequential(nn.Linear(training.dim, training.dim), nn.ReLU(), nn.Linear(training.dim, training.dim))
            for _ in range(2)
        )

    def forward(self, x: Tensor, y: Tensor, scale: Tensor, groups: Tensor | None = None) -> Tensor:
        """The loss.

        Args:
            x: (B, d) unit rows.
            y: (B, d) unit rows, row i paired with x's row i.
            scale: 1 / temperature, a scalar.
            groups: (B, K) ids of the items.
        """
        own = self.log_scale.exp()
        return (infonce(x, self.mlp_y(y), scale, groups) + infonce(self.mlp_x(x), y, own, groups)) / 2
