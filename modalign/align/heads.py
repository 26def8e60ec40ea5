"""The trained layers of a projection: published heads, (B, width) -> (B, dim)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from modalign.align.config import ProjectionConfig
from modalign.errors import RecipeError

DROPOUT = 0.5
"""Of msclap's head."""


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm that normalises a single row by its running statistics: a batch may hold one caption only."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, dim) -> (B, dim)."""
        if len(input) > 1:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Residual(nn.Module):
    """`LayerNorm(e + dropout(W2 gelu(e)))`, `e = W1 x`, without biases: msclap's head (Elizalde et al. 2023).

    Example:
        >>> import torch
        >>> Residual(8, 4).eval()(torch.ones(2, 8)).shape
        torch.Size([2, 4])
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, dim, bias=False)
        self.second = nn.Linear(dim, dim, bias=False)
        self.dropout = nn.Dropout(DROPOUT)
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor) -> Tensor:
        """(B, width) -> (B, dim)."""
        projected = self.first(features)
        normed: Tensor = self.norm(projected + self.dropout(self.second(F.gelu(projected))))
        return normed


def mlp(width: int, hidden: int, dim: int, activation: str, norm: str) -> nn.Module:
    """Linear, activation, linear (LAION CLAP's head: ReLU; MERL's of text: GELU).

    With `norm` "batch", each linear layer is without bias and followed by a BatchNorm (MoRE's heads; MERL's of ECG).
    """
    act: nn.Module = nn.GELU() if activation == "gelu" else nn.ReLU()
    if norm == "none":
        return nn.Sequential(nn.Linear(width, hidden), act, nn.Linear(hidden, dim))
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False), BatchNorm(hidden), act,
        nn.Linear(hidden, dim, bias=False), BatchNorm(dim),
    )  # fmt: skip


def head(width: int, dim: int, config: ProjectionConfig) -> nn.Module:
    """The layers that a projection's config asks for.

    Raises:
        RecipeError: identity, and the sizes differ.
    """
    if config.kind == "linear":
        return nn.Linear(width, dim, bias=False)
    if config.kind == "mlp":
        return mlp(width, config.hidden or dim, dim, config.activation, config.norm)
    if config.kind == "residual":
        return Residual(width, dim)
    if width != dim:
        raise RecipeError(f"projection.kind: identity needs dim = {width}, the encoder's width, not {dim}")
    return nn.Identity()
