"""Convolutional encoders: MERL's ResNet1d-18, tsai's XResNet1d, and a small one that trains on a CPU in a minute."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modalign.modalities.base import Encoder
from modalign.modalities.layers.attention_pool import AttentionPool
from modalign.modalities.layers.mean_max import MeanMax
from modalign.modalities.layers.options import fraction, one_of, positive
from modalign.modalities.layers.residual import norm_layer
from modalign.modalities.layers.tsai import FixedLength, tsai_model


class Residual(nn.Module):
    """Two convolutions and a shortcut: (B, C, T) -> (B, D, T / stride)."""

    def __init__(self, inside: int, outside: int, stride: int = 1, kernel: int = 3, kind: str = "batch") -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inside, outside, kernel, stride, kernel // 2, bias=False)
        self.norm1 = norm_layer(kind, outside, dims=1)
        self.conv2 = nn.Conv1d(outside, outside, kernel, 1, kernel // 2, bias=False)
        self.norm2 = norm_layer(kind, outside, dims=1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(
                nn.Conv1d(inside, outside, 1, stride, bias=False), norm_layer(kind, outside, dims=1)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet1d18(
    channels: int = 12, *, width: int = 256, heads: int = 4, tokens: int | None = None, norm_kind: str = "batch",
    dropout: float = 0.0,
) -> FixedLength:  # fmt: skip
    """MERL's ResNet18-1D: 7-wide stem of stride 2, stages of 64, 128, 256, 512, no max-pool, attention pooling.

    5000 samples give 313 tokens, a 1x1 convolution brings them to `width`, and their mean asks in attention pooling.

    Args:
        channels: of the input.
        width: D (MERL: 256).
        heads: of attention pooling.
        tokens: how many there are, where their positions are learnt (MERL: 313, for 5000 samples); None: any length.
        norm_kind: "batch", or "group" where batches are small or gathered.
        dropout: on the tokens.
    """
    positive("resnet1d18", channels=channels, width=width, heads=heads, tokens=tokens or 1)
    one_of("resnet1d18", "norm_kind", norm_kind, ("batch", "group"))
    fraction("resnet1d18", dropout=dropout)
    layers: list[nn.Module] = [
        nn.Conv1d(channels, 64, 7, 2, 3, bias=False),
        norm_layer(norm_kind, 64, dims=1),
        nn.ReLU(),
    ]
    inside = 64
    for stage, outside in enumerate((64, 128, 256, 512)):
        layers += [
            Residual(inside, outside, 1 if stage == 0 else 2, kind=norm_kind),
            Residual(outside, outside, kind=norm_kind),
        ]
        inside = outside
    layers.append(nn.Conv1d(512, width, 1))
    options = {
        "channels": channels, "width": width, "heads": heads, "tokens": tokens, "norm_kind": norm_kind,
        "dropout": dropout,
    }  # fmt: skip
    pool = AttentionPool(width, heads, tokens)
    return FixedLength("resnet1d18", nn.Sequential(*layers), width, options=options, dropout=dropout, pool=pool)


def cnn(
    channels: int = 12,
    *,
    stages: Sequence[int] = (32, 64, 96, 128),
    kernel: int = 7,
    norm_kind: str = "batch",
    dropout: float = 0.1,
) -> FixedLength:
    """A small residual net: a 15-wide stem of stride 2, one block of stride 2 a stage, mean and maximum pooled.

    With 1000 samples (10 s at 100 Hz) a token is 0.32 s. 0.4 million weights; width: the last of `stages`.
    """
    positive("cnn", channels=channels, stages=stages, kernel=kernel)
    one_of("cnn", "norm_kind", norm_kind, ("batch", "group"))
    fraction("cnn", dropout=dropout)
    layers: list[nn.Module] = [
        nn.Conv1d(channels, stages[0], 15, 2, 7, bias=False),
        norm_layer(norm_kind, stages[0], dims=1),
        nn.ReLU(),
    ]
    for inside, outside in zip((stages[0], *stages), stages):
        layers.append(Residual(inside, outside, 2, kernel | 1, norm_kind))
    options = {
        "channels": channels, "stages": list(stages), "kernel": kernel, "norm_kind": norm_kind, "dropout": dropout,
    }  # fmt: skip
    width = stages[-1]
    return FixedLength("cnn", nn.Sequential(*layers), width, options=options, dropout=dropout, pool=MeanMax(width))


def xresnet1d(
    channels: int = 12,
    *,
    layers: Sequence[int] = (2, 2, 2, 2),
    expansion: int = 1,
    widen: float = 1.0,
    ks: int = 5,
    dropout: float = 0.0,
) -> Encoder:
    """tsai's XResNet1dPlus (18 layers by default; xresnet1d101: layers (3, 4, 23, 3), expansion 4)."""
    positive("xresnet1d", channels=channels, layers=layers, expansion=expansion, widen=widen, ks=ks)
    one_of("xresnet1d", "expansion", expansion, (1, 4))
    # tsai pads an even kernel by a module that registers its weight twice, which safetensors refuses.
    one_of("xresnet1d", "ks % 2", ks % 2, (1,))
    fraction("xresnet1d", dropout=dropout)
    model = tsai_model("XResNet1dPlus", "ecg")(
        c_in=channels, c_out=1, layers=list(layers), expansion=expansion, widen=widen, ks=ks
    )
    options = {
        "channels": channels, "layers": list(layers), "expansion": expansion, "widen": widen, "ks": ks,
        "dropout": dropout,
    }  # fmt: skip
    return FixedLength("xresnet1d", model.backbone, model.head_nf, options=options, dropout=dropout)
