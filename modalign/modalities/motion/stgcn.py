"""UniMTS's encoder: a spatial-temporal graph convolution over the 22 joints of a body.

Source: xiyuanzh/UniMTS at 656fcda (METHODS section 3), after Yan, Xiong, Lin, "Spatial temporal graph convolutional
networks for skeleton-based action recognition", 2018. Signals stand in rows by joint: `pelvis/acc_x`, `pelvis/acc_y`,
... `right_wrist/acc_z`, with the gyroscope's three rows after each accelerometer's where the encoder takes both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modalign.errors import RecipeError
from modalign.modalities.base import Encoder, EncoderOutput, masked_mean
from modalign.modalities.layers.options import fraction, positive
from modalign.modalities.layers.tsai import check_input
from modalign.modalities.motion.fields import STANDARD
from modalign.modalities.motion.skeleton.joints import JOINTS, PARENTS

WIDTHS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 512)
"""The width of each block."""
STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
"""Time is halved where the width first grows to 128 and to 256."""


def joint_channels(gyro: bool) -> tuple[str, ...]:
    """The rows that the encoder takes, in its order: 66, or 132 with the gyroscope.

    Example:
        >>> joint_channels(False)[:4]
        ('pelvis/acc_x', 'pelvis/acc_y', 'pelvis/acc_z', 'left_hip/acc_x')
    """
    return tuple(f"{joint}/{name}" for joint in JOINTS for name in (STANDARD if gyro else STANDARD[:3]))


def adjacency(parents: Sequence[int] = PARENTS) -> Tensor:
    """The graph (3, V, V), normalised by columns (`A D^-1`), in three parts by which joint gives to which.

    `A[k, v, w]` weighs what joint v gives to joint w, so that each joint takes the mean over itself and its neighbours,
    in the partition k: 0 the joint itself, 1 a neighbour nearer the centre (the root), 2 one further from it.

    Example:
        >>> int((adjacency().sum(0) > 0).sum())
        64
    """
    count = len(parents)
    depth = [0] * count
    graph = torch.eye(count)
    for joint, parent in enumerate(parents):
        if parent >= 0:
            depth[joint] = depth[parent] + 1
            graph[joint, parent] = graph[parent, joint] = 1.0
    graph = graph / graph.sum(0, keepdim=True)
    hops = torch.tensor(depth)
    further = hops.unsqueeze(1) - hops.unsqueeze(0)  # [v, w]: how much further from the centre v is than w
    return torch.stack([graph * (further == 0), graph * (further < 0), graph * (further > 0)])


class GraphBlock(nn.Module):
    """A graph convolution in each frame, then a convolution over time, with a residual.

    Args:
        given: channels in.
        width: channels out.
        graph: (3, V, V).
        kernel: frames of the convolution over time, odd.
        stride: of the convolution over time.
        residual: False for the first block.
        dropout: after the convolution over time.
        importance: whether the edges have weights that are learnt, 1 at first.
    """

    graph: Tensor

    def __init__(
        self,
        given: int,
        width: int,
        graph: Tensor,
        *,
        kernel: int,
        stride: int,
        residual: bool,
        dropout: float,
        importance: bool,
    ) -> None:
        super().__init__()
        self.register_buffer("graph", graph, persistent=False)
        self.importance = nn.Parameter(torch.ones_like(graph)) if importance else None
        self.spatial = nn.Conv2d(given, width * len(graph), 1)
        self.before = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())
        self.temporal = nn.Conv2d(width, width, (kernel, 1), (stride, 1), (kernel // 2, 0))
        self.after = nn.Sequential(nn.BatchNorm2d(width), nn.Dropout(dropout))
        self.stride = stride
        self.shortcut: nn.Module | None = None
        if residual:
            same = given == width and stride == 1
            self.shortcut = (
                nn.Identity() if same else nn.Sequential(nn.Conv2d(given, width, 1, (stride, 1)), nn.BatchNorm2d(width))
            )

    def mix(self, values: Tensor) -> Tensor:
        """The graph convolution (B, C, T, V) -> (B, width, T, V): each joint takes the mean of its neighbourhood."""
        graph = self.graph if self.importance is None else self.graph * self.importance
        batch, _, length, joints = values.shape
        parts = self.spatial(values).view(batch, len(graph), -1, length, joints)
        return torch.einsum("bkctv,kvw->bctw", parts, graph)

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T, V), mask (B, T) -> (B, width, T', V), mask (B, T').

        Frames of padding are set to zero before the convolution over time, whose own padding is zero too, so that an
        item has the same features alone and padded.
        """
        mixed = self.mix(values)
        mixed = self.before(mixed) * mask[:, None, :, None].to(mixed.dtype)
        out = self.after(self.temporal(mixed))
        if self.shortcut is not None:
            out = out + self.shortcut(values)
        return torch.relu(out), mask[:, :: self.stride]


class STGCN(Encoder):
    """Signals of the 22 joints (B, 66 or 132, T) -> tokens (one a frame of the last block), pooled by their mean.

    Args:
        gyro: whether each joint has a gyroscope beside its accelerometer.
        widths: of the blocks, ten in UniMTS.
        strides: of their convolutions over time; as many.
        kernel: frames of the convolution over time.
        dropout: in each block but the first.
        importance: whether edges have weights that are learnt.

    Example:
        >>> encoder = STGCN(widths=[16, 32], strides=[1, 2])
        >>> output = encoder(torch.randn(2, 66, 200), torch.ones(2, 200, dtype=torch.bool))
        >>> tuple(output.tokens.shape), tuple(output.pooled.shape)
        ((2, 100, 32), (2, 32))
    """

    padding = "exact"

    def __init__(
        self,
        gyro: bool = False,
        *,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
        kernel: int = 9,
        dropout: float = 0.0,
        importance: bool = True,
    ) -> None:
        super().__init__()
        positive("stgcn", widths=widths, strides=strides, kernel=kernel)
        fraction("stgcn", dropout=dropout)
        if not widths or len(widths) != len(strides):
            raise RecipeError(
                f"encoder 'stgcn': widths and strides have one number a block, not {len(widths)} and {len(strides)}"
            )
        if kernel % 2 == 0:
            raise RecipeError(f"encoder 'stgcn': kernel is odd, not {kernel}")
        self.channels, self.width, self.gyro = 6 if gyro else 3, widths[-1], gyro
        self.norm = nn.BatchNorm1d(self.channels * len(JOINTS))
        graph = adjacency()
        given = [self.channels, *widths[:-1]]
        self.blocks = nn.ModuleList(
            GraphBlock(
                given[k], widths[k], graph, kernel=kernel, stride=strides[k], residual=k > 0,
                dropout=dropout if k else 0.0, importance=importance,
            )
            for k in range(len(widths))
        )  # fmt: skip
        self._options = {
            "gyro": gyro, "widths": list(widths), "strides": list(strides), "kernel": kernel, "dropout": dropout,
            "importance": importance,
        }  # fmt: skip

    def options(self) -> dict[str, Any]:
        """The options it was built from."""
        return dict(self._options)

    def processing_defaults(self) -> dict[str, Any]:
        """UniMTS's: rows by joint, devices put on joints by name, 10 s at 20 Hz, shorter ones begun again."""
        return {
            "channels": joint_channels(self.gyro), "placement": "body", "rate": 20.0, "window": 10.0, "short": "wrap",
            "padding": self.padding,
        }  # fmt: skip

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, 22 * 3 or 22 * 6, T), mask (B, T) -> tokens (B, L, D), mask (B, L), pooled (B, D).

        Raises:
            ModelError: another number of rows.
        """
        check_input("stgcn", values, self.channels * len(JOINTS), 1)
        values = self.norm(values.to(self.norm.weight.dtype))
        # (B, V * C, T) -> (B, C, T, V)
        features = values.view(len(values), len(JOINTS), self.channels, -1).permute(0, 2, 3, 1)
        for block in self.blocks:
            features, mask = block(features, mask)
        tokens = features.mean(3).transpose(1, 2)
        return EncoderOutput(tokens, mask, masked_mean(tokens, mask))
