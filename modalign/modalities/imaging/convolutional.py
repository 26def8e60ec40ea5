"""Convolutional 2-D encoders: MONAI's DenseNet121 and ResNets, and a small residual net that trains on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modalign.errors import MissingExtraError, ModelError
from modalign.modalities.base import Encoder, EncoderOutput
from modalign.modalities.layers.mean_max import MeanMax
from modalign.modalities.layers.options import fraction, one_of, positive
from modalign.modalities.layers.residual import HalvingResidual, norm_layer


class Conv2dEncoder(Encoder):
    """A convolutional backbone (B, C, H, W) -> (B, D, h, w). Tokens are its places, row by row.

    Args:
        name: what errors call it.
        backbone: the net without its head.
        width: D.
        options: from which the same encoder is built again; `channels` among them.
        stride: pixels from a token to the next.
        size: the images' side by default, for the processing.
        pool: tokens (B, L, D) -> pooled (B, D); None: their mean.
        dropout: on the tokens, in training.
    """

    padding = "fixed"

    def __init__(
        self,
        name: str,
        backbone: nn.Module,
        width: int,
        *,
        options: dict[str, Any],
        stride: int,
        size: int,
        pool: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.name, self.backbone, self.width, self.stride = name, backbone, width, stride
        self.pool, self.dropout = pool, nn.Dropout(dropout)
        self._options, self._size = options, size

    def options(self) -> dict[str, Any]:
        """The options it was built from."""
        return dict(self._options)

    def processing_defaults(self) -> dict[str, Any]:
        """The size it was made for, and its channels."""
        return {"size": [self._size, self._size], "channels": self._options["channels"]}

    def forward(self, values: Tensor) -> EncoderOutput:
        """Values (B, C, H, W) -> tokens (B, h w, D), mask (B, h w; all True), pooled (B, D).

        Raises:
            ModelError: another number of channels, or an image smaller than one token.
        """
        channels = self._options["channels"]
        if values.ndim != 4 or values.shape[1] != channels or min(values.shape[2:]) < self.stride:
            raise ModelError(
                f"encoder {self.name!r} takes (B, {channels}, H, W) of {self.stride} pixels a side or more, not "
                f"{tuple(values.shape)}; set processing.channels to its option channels, or processing.size"
            )
        # A model in half precision takes float32 batches; under autocast this changes nothing.
        # Channels last: faster on a CPU, and what tensor cores want. The weights stay as safetensors takes them.
        values = values.to(next(self.backbone.parameters()).dtype, memory_format=torch.channels_last)
        features = self.backbone(values)
        tokens = self.dropout(features.flatten(2).transpose(1, 2))
        pooled = tokens.mean(1) if self.pool is None else self.pool(tokens)
        return EncoderOutput(tokens, tokens.new_ones(tokens.shape[:2]).bool(), pooled)


def group_norms(module: nn.Module) -> nn.Module:
    """Put GroupNorm in every BatchNorm's place, of any dimension, and give the module back.

    MONAI's ResNet passes its option `norm` to the stem alone (1.6.1), hence this.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, norm_layer("group", child.num_features, dims=2))
        else:
            group_norms(child)
    return module


def cnn(
    channels: int = 1,
    *,
    stages: Sequence[int] = (16, 32, 64, 128),
    norm_kind: str = "batch",
    dropout: float = 0.1,
    size: int = 96,
) -> Conv2dEncoder:
    """A small residual net: a 5-wide stem of stride 2, one block of stride 2 a stage, mean and maximum pooled.

    Args:
        channels: of the image, 1 or 3.
        stages: widths; the last is D. Each halves the image once more, the first after the stem.
        norm_kind: "batch", or "group" where batches are small or gathered.
        dropout: on the tokens.
        size: the processing's side where a recipe does not say it.

    Example:
        >>> cnn()(torch.zeros(2, 1, 96, 96)).tokens.shape
        torch.Size([2, 9, 128])
    """
    positive("cnn", channels=channels, stages=stages, size=size)
    one_of("cnn", "norm_kind", norm_kind, ("batch", "group"))
    fraction("cnn", dropout=dropout)
    layers: list[nn.Module] = [
        nn.Conv2d(channels, stages[0], 5, 2, 2, bias=False),
        norm_layer(norm_kind, stages[0], dims=2),
        nn.ReLU(),
    ]
    layers += [HalvingResidual(a, b, norm_kind, dims=2) for a, b in zip((stages[0], *stages), stages)]
    options = {
        "channels": channels, "stages": list(stages), "norm_kind": norm_kind, "dropout": dropout, "size": size,
    }  # fmt: skip
    return Conv2dEncoder(
        "cnn", nn.Sequential(*layers), stages[-1], options=options, stride=2 << len(stages), size=size,
        pool=MeanMax(stages[-1]), dropout=dropout,
    )  # fmt: skip


def densenet121(channels: int = 1, *, norm_kind: str = "batch", dropout: float = 0.0, size: int = 224) -> Conv2dEncoder:
    """MONAI's DenseNet121, as most X-ray classifiers are: width 1024, a token in 32 pixels, random weights.

    Args:
        channels: of the image, 1 or 3.
        norm_kind: "batch", or "group" where batches are small or gathered.
        dropout: on the tokens.
        size: the processing's side where a recipe does not say it.
    """
    _check("densenet121", channels, norm_kind, dropout, size)
    net = monai_nets("densenet").DenseNet121(spatial_dims=2, in_channels=channels, out_channels=1)
    features = nn.Sequential(net.features, nn.ReLU(inplace=True))
    return _encoder("densenet121", features, 1024, channels, norm_kind, dropout, size)


def _resnet(depth: int, block: str, layers: Sequence[int], width: int) -> Callable[..., Conv2dEncoder]:
    name = f"resnet{depth}"

    def build(channels: int = 1, *, norm_kind: str = "batch", dropout: float = 0.0, size: int = 224) -> Conv2dEncoder:
        _check(name, channels, norm_kind, dropout, size)
        # MONAI's defaults are its 3-D ones; stride 2 and plain shortcuts are the image net's (He et al. 2015).
        net = monai_nets("resnet").ResNet(
            block, list(layers), [64, 128, 256, 512], spatial_dims=2, n_input_channels=channels, conv1_t_size=7,
            conv1_t_stride=2, feed_forward=False, bias_downsample=False,
        )  # fmt: skip
        parts = ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4")
        features = nn.Sequential(*[getattr(net, part) for part in parts])
        return _encoder(name, features, width, channels, norm_kind, dropout, size)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"MONAI's ResNet-{depth}, 2-D: width {width}, a token in 32 pixels, random weights."
    return build


resnet18 = _resnet(18, "basic", (2, 2, 2, 2), 512)
resnet50 = _resnet(50, "bottleneck", (3, 4, 6, 3), 2048)


def monai_nets(module: str) -> Any:
    """A module of monai.networks.nets, imported (seconds) only when a net is built.

    Raises:
        MissingExtraError: monai is not installed.
    """
    from importlib import import_module

    try:
        return import_module(f"monai.networks.nets.{module}")
    except ImportError as error:
        raise MissingExtraError(f"MONAI's {module}", "medical") from error


def _check(name: str, channels: int, norm_kind: str, dropout: float, size: int) -> None:
    positive(name, channels=channels, size=size)
    one_of(name, "norm_kind", norm_kind, ("batch", "group"))
    fraction(name, dropout=dropout)


def _encoder(
    name: str, features: nn.Module, width: int, channels: int, norm_kind: str, dropout: float, size: int
) -> Conv2dEncoder:
    if norm_kind == "group":
        group_norms(features)
    options = {"channels": channels, "norm_kind": norm_kind, "dropout": dropout, "size": size}
    return Conv2dEncoder(name, features, width, options=options, stride=32, size=size, dropout=dropout)
