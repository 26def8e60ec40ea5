"""From an encoder's pooled features to the shared space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalign.align.cache import FeatureTable
from modalign.align.closed_form import Ridge, ridge, whitening
from modalign.align.config import ProjectionConfig
from modalign.align.heads import head

SMALLEST = 0.1
"""What a feature's standard deviation counts as at least, beside the features' root mean square one."""


class Solved(nn.Module):
    """A linear map that is found in one step: its matrix and bias are constants, and training leaves them alone."""

    weight: Tensor
    bias: Tensor

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("weight", nn.Linear(width, dim, bias=False).weight.detach().clone())
        self.register_buffer("bias", torch.zeros(dim))

    def forward(self, features: Tensor) -> Tensor:
        """(B, width) -> (B, dim)."""
        return F.linear(features, self.weight, self.bias)


class Projection(nn.Module):
    """Center or standardise, regularise (in training), and project: (B, width) -> (B, dim), not yet normalised.

    `linear` is one matrix without bias (CLIP); `mlp` and `residual` are published heads (`heads.py`); `identity` keeps
    the encoder's own space, and trains nothing. A linear one may be solved instead of trained: see `closed_form.py`.
    """

    mean: Tensor
    sd: Tensor
    spread: Tensor

    def __init__(self, width: int, dim: int, config: ProjectionConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("sd", torch.ones(()))
        if config.standardize:
            self.register_buffer("spread", torch.ones(width))
        self.dropout = nn.Dropout(config.dropout)
        self.layers: nn.Module = Solved(width, dim) if config.solve else head(width, dim, config)
        if config.frozen:
            self.layers.requires_grad_(False)

    @torch.no_grad()
    def fit(self, features: Tensor | FeatureTable) -> None:
        """Take the constants from training features (N, width): mean and deviation, as far as they are asked for."""
        mean = torch.zeros_like(self.mean, dtype=torch.float64)
        for part in _parts(features):
            mean += part.to(mean).sum(0)
        mean /= len(features)
        if self.config.center or self.config.standardize:
            self.mean.copy_(mean)
        squares = torch.zeros_like(mean)
        for part in _parts(features):
            squares += (part.to(mean) - mean).square().sum(0)
        squares /= len(features)
        if self.config.standardize:
            # A feature that hardly moves in training would be huge where it moves a little more.
            own = squares.sqrt()
            spread = own.clamp_min(SMALLEST * float(own.square().mean().sqrt()) or 1.0)
            self.spread.copy_(spread)
            squares = squares / spread.square()
        self.sd.copy_(squares.mean().sqrt())

    @torch.no_grad()
    def whiten(self, features: Tensor, weights: Tensor) -> None:
        """Solve for the map that whitens training features (N, width), weighted (N,).

        The last dimension of the shared space stays free: see `regress`.
        """
        assert isinstance(self.layers, Solved)
        size = len(self.layers.weight) - 1
        mean, matrix = whitening(self.scaled(features.to(self.mean.device)).cpu(), weights, size, self.config.shrinkage)
        self.layers.weight[:size].copy_(matrix)
        self.layers.weight[size] = 0.0
        self.layers.bias[:size].copy_(-matrix @ mean)

    @torch.no_grad()
    def regress(self, features: Tensor, targets: Tensor, groups: Sequence[str]) -> Ridge:
        """Solve for the ridge regression of embeddings (N, dim) on training features (N, width).

        A dimension that no target uses, if there is one, gets 1: an item that says little has a short projection, and
        would be as near to its best caption as a clear one if it were only brought to unit length.
        """
        assert isinstance(self.layers, Solved)
        found = ridge(self.scaled(features.to(self.mean.device)).cpu(), targets.cpu(), groups)
        self.layers.weight.copy_(found.weight)
        self.layers.bias.copy_(found.bias)
        if not targets[:, -1].any():
            self.layers.bias[-1] = 1.0
        return found

    def train(self, mode: bool = True) -> Self:
        """Training mode, but a frozen head keeps its statistics."""
        super().train(mode)
        if self.config.frozen:
            self.layers.eval()
        return self

    def scaled(self, pooled: Tensor) -> Tensor:
        """Pooled features (B, width), centred and standardised as far as that is asked for."""
        features = pooled.to(self.mean.dtype) - self.mean
        return features / self.spread if self.config.standardize else features

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, width) -> (B, dim)."""
        features = self.scaled(pooled)
        if self.training and self.config.noise:
            features = features + self.config.noise * self.sd * torch.randn_like(features)
        projected: Tensor = self.layers(self.dropout(features))
        return projected


def _parts(features: Tensor | FeatureTable) -> Iterable[Tensor]:
    """A part at a time, since all together may be more than the memory holds."""
    return features.chunks() if isinstance(features, FeatureTable) else [features]
