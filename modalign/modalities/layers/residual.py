"""Normalisation by name, and the residual block of small 2-D and 3-D nets."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MEAN_POOL = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


def norm_layer(kind: str, channels: int, dims: int) -> nn.Module:
    """BatchNorm, or GroupNorm of eight groups, which is the same in training and inference and in any batch."""
    return BATCH_NORM[dims](channels) if kind == "batch" else nn.GroupNorm(math.gcd(8, channels), channels)


class HalvingResidual(nn.Module):
    """Two 3-wide convolutions and a shortcut that halve each of `dims` axes: (B, C, ...) -> (B, C', ... / 2)."""

    def __init__(self, inside: int, outside: int, kind: str, dims: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dims]
        self.conv1 = convolution(inside, outside, 3, 2, 1, bias=False)
        self.norm1 = norm_layer(kind, outside, dims)
        self.conv2 = convolution(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = norm_layer(kind, outside, dims)
        # The mean of each cell first: a strided 1-wide convolution would not look at most of its places.
        self.shortcut = nn.Sequential(
            MEAN_POOL[dims](2, ceil_mode=True),
            convolution(inside, outside, 1, bias=False),
            norm_layer(kind, outside, dims),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))
