"""From an encoder's pooled features to the shared space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modalign.align.config import ProjectionConfig
from modalign.errors import RecipeError


class Projection(nn.Module):
    """Center, regularise (in training), and project: (B, width) -> (B, dim), not yet normalised.

    `linear` is one matrix without bias (CLIP); `mlp` is Linear-ReLU-Linear (LAION CLAP's head); `identity` keeps the
    encoder's own space, and trains nothing.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, width: int, dim: int, config: ProjectionConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("sd", torch.ones(()))
        hidden = config.hidden or dim
        self.dropout = nn.Dropout(config.dropout)
        self.layers: nn.Module
        if config.kind == "linear":
            self.layers = nn.Linear(width, dim, bias=False)
        elif config.kind == "mlp":
            self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        else:
            if width != dim:
                raise RecipeError(f"projection.kind: identity needs dim = {width}, the encoder's width, not {dim}")
            self.layers = nn.Identity()

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Take the constants from training features (N, width): the mean where `center` is asked for, and their sd."""
        if self.config.center:
            self.mean.copy_(features.double().mean(0))
        self.sd.copy_((features.double() - features.double().mean(0)).square().mean().sqrt())

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, width) -> (B, dim)."""
        features = pooled.to(self.mean.dtype) - self.mean
        if self.training and self.config.noise:
            features = features + self.config.noise * self.sd * torch.randn_like(features)
        projected: Tensor = self.layers(self.dropout(features))
        return projected
