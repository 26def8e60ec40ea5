"""3-D encoders: MONAI's DenseNet121, SwinUNETR's encoder and ViT, and a small net that trains on a CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from modalign.errors import MissingExtraError, ModelError, RecipeError
from modalign.modalities.base import Encoder, EncoderOutput
from modalign.modalities.imaging.convolutional import group_norms, monai_nets
from modalign.modalities.layers.mean_max import MeanMax
from modalign.modalities.layers.options import fraction, one_of, positive
from modalign.modalities.layers.residual import HalvingResidual, norm_layer
from modalign.modalities.spans import TokenSpans, grid_spans


class VolumeEncoder(Encoder):
    """A backbone (B, C, D, H, W) -> (B, D', d, h, w). Tokens are its places: slice by slice, row by row.

    Args:
        name: what errors call it.
        backbone: the net without its head.
        width: D', the size of a token.
        options: from which the same encoder is built again; `channels` among them.
        stride: voxels from a token to the next, along each axis.
        pool: tokens (B, L, D') -> pooled (B, D'); None: their mean.
        dropout: on the tokens, in training.
    """

    padding = "fixed"
    layer_list = ""  # their stages are no list

    def __init__(
        self,
        name: str,
        backbone: nn.Module,
        width: int,
        *,
        options: dict[str, Any],
        stride: int,
        pool: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.name, self.backbone, self.width, self.stride = name, backbone, width, stride
        self.pool, self.dropout = pool, nn.Dropout(dropout)
        self._options = options

    def options(self) -> dict[str, Any]:
        """The options it was built from."""
        return dict(self._options)

    def processing_defaults(self) -> dict[str, Any]:
        """Volumes of its channels."""
        return {"mode": "volume", "channels": self._options["channels"]}

    def forward(self, values: Tensor) -> EncoderOutput:
        """Values (B, C, D, H, W) -> tokens (B, d h w, D'), mask (B, d h w; all True), pooled (B, D').

        Raises:
            ModelError: another number of channels, or a volume smaller than one token.
        """
        check_volume(self.name, values, self._options["channels"], self.stride)
        # A model in half precision takes float32 batches; under autocast this changes nothing.
        features = self.backbone(values.to(next(self.backbone.parameters()).dtype))
        tokens = self.dropout(features.flatten(2).transpose(1, 2))
        pooled = tokens.mean(1) if self.pool is None else self.pool(tokens)
        return EncoderOutput(tokens, tokens.new_ones(tokens.shape[:2]).bool(), pooled)


def monai_transformer(module: str) -> Any:
    """A module of MONAI's transformers, which rearrange axes with einops: a package that MONAI itself does not require.

    Raises:
        MissingExtraError: monai or einops is not installed.
    """
    if find_spec("einops") is None:
        raise MissingExtraError(f"MONAI's {module} (einops)", "medical")
    return monai_nets(module)


def check_volume(name: str, values: Tensor, channels: int, least: int) -> None:
    """Refuse another number of axes or channels than the encoder's, and what is too small for it.

    Raises:
        ModelError: says the mend.
    """
    if values.ndim != 5 or values.shape[1] != channels or min(values.shape[2:]) < least:
        raise ModelError(
            f"encoder {name!r} takes (B, {channels}, D, H, W) of {least} voxels along each axis or more, not "
            f"{tuple(values.shape)}; set processing.windows to its option channels, or processing.shape"
        )


def cnn3d(
    channels: int = 1, *, stages: Sequence[int] = (16, 32, 64, 128), stem: int = 2, norm_kind: str = "batch",
    dropout: float = 0.1,
) -> VolumeEncoder:  # fmt: skip
    """A small residual net: a 5-wide stem, one block of stride 2 a stage, mean and maximum pooled.

    Args:
        channels: of the volume.
        stages: widths; the last is D. Each halves the volume once more, the first after the stem.
        stem: the stem's stride, 2 or 4: most of the cost lies in the first layers.
        norm_kind: "batch", or "group" where batches are small or gathered.
        dropout: on the tokens.

    Example:
        >>> cnn3d()(torch.zeros(2, 1, 64, 64, 64)).tokens.shape
        torch.Size([2, 8, 128])
    """
    positive("cnn3d", channels=channels, stages=stages)
    one_of("cnn3d", "norm_kind", norm_kind, ("batch", "group"))
    one_of("cnn3d", "stem", stem, (2, 4))
    fraction("cnn3d", dropout=dropout)
    layers: list[nn.Module] = [
        nn.Conv3d(channels, stages[0], 5, stem, 2, bias=False), norm_layer(norm_kind, stages[0], dims=3), nn.ReLU(),
    ]  # fmt: skip
    layers += [HalvingResidual(a, b, norm_kind, dims=3) for a, b in pairwise((stages[0], *stages))]
    options = {
        "channels": channels, "stages": list(stages), "stem": stem, "norm_kind": norm_kind, "dropout": dropout,
    }  # fmt: skip
    return VolumeEncoder(
        "cnn3d", nn.Sequential(*layers), stages[-1], options=options, stride=stem << len(stages),
        pool=MeanMax(stages[-1]), dropout=dropout,
    )  # fmt: skip


def densenet121_3d(
    channels: int = 1, *, growth: int = 32, features: int = 64, blocks: Sequence[int] = (6, 12, 24, 16),
    norm_kind: str = "batch", dropout: float = 0.0,
) -> VolumeEncoder:  # fmt: skip
    """MONAI's DenseNet121 in 3-D: width 1024, a token in 32 voxels along each axis, random weights.

    Args:
        channels: of the volume.
        growth: channels that a layer adds.
        features: channels of the stem.
        blocks: layers of each dense block.
        norm_kind: "batch", or "group" where batches are small or gathered.
        dropout: on the tokens.
    """
    positive("densenet121_3d", channels=channels, growth=growth, features=features, blocks=blocks)
    one_of("densenet121_3d", "norm_kind", norm_kind, ("batch", "group"))
    fraction("densenet121_3d", dropout=dropout)
    net = monai_nets("densenet").DenseNet(
        spatial_dims=3, in_channels=channels, out_channels=1, init_features=features, growth_rate=growth,
        block_config=tuple(blocks),
    )  # fmt: skip
    width = int(net.class_layers.out.in_features)
    backbone = nn.Sequential(net.features, nn.ReLU(inplace=True))
    if norm_kind == "group":
        group_norms(backbone)
    options = {
        "channels": channels, "growth": growth, "features": features, "blocks": list(blocks), "norm_kind": norm_kind,
        "dropout": dropout,
    }  # fmt: skip
    return VolumeEncoder("densenet121_3d", backbone, width, options=options, stride=2 << len(blocks), dropout=dropout)


class SwinBackbone(nn.Module):
    """SwinUNETR's encoder: its deepest features, normalised over channels as its decoder gets them."""

    def __init__(self, channels: int, features: int, window: int, depths: Sequence[int], heads: Sequence[int]) -> None:
        super().__init__()
        # The name and the arguments of SwinUNETR, so that `swinViT.*` weights of one fit as they are.
        self.swinViT = monai_transformer("swin_unetr").SwinTransformer(
            in_chans=channels, embed_dim=features, window_size=(window,) * 3, patch_size=(2,) * 3, depths=tuple(depths),
            num_heads=tuple(heads), spatial_dims=3,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, 16 F, D / 32, H / 32, W / 32)."""
        deepest: Tensor = self.swinViT(x)[-1]
        return deepest


def swin_unetr(
    channels: int = 1, *, feature_size: int = 48, window: int = 7, depths: Sequence[int] = (2, 2, 2, 2),
    heads: Sequence[int] = (3, 6, 12, 24), dropout: float = 0.0,
) -> VolumeEncoder:  # fmt: skip
    """SwinUNETR's encoder (Hatamizadeh et al. 2022, by MONAI), its tokens' mean pooled: width 16 `feature_size`.

    Args:
        channels: of the volume.
        feature_size: a multiple of 12 (published: 48); 24 or 12 for small data and machines.
        window: voxels along a side within which tokens attend to each other, in the first stage twice as many.
        depths: blocks of each of four stages.
        heads: of each stage.
        dropout: on the tokens.
    """
    positive("swin_unetr", channels=channels, feature_size=feature_size, window=window, depths=depths, heads=heads)
    fraction("swin_unetr", dropout=dropout)
    if len(depths) != 4 or len(heads) != 4:
        raise RecipeError(f"encoder 'swin_unetr': depths and heads are four numbers, not {depths} and {heads}")
    wrong = [h for i, h in enumerate(heads) if feature_size * 2**i % h]
    if feature_size % 12 or wrong:
        raise RecipeError(
            f"encoder 'swin_unetr': feature_size is a multiple of 12 that heads {list(heads)} divide at every stage, "
            f"not {feature_size}"
        )
    options = {
        "channels": channels, "feature_size": feature_size, "window": window, "depths": list(depths),
        "heads": list(heads), "dropout": dropout,
    }  # fmt: skip
    backbone = SwinBackbone(channels, feature_size, window, depths, heads)
    return VolumeEncoder("swin_unetr", backbone, feature_size * 16, options=options, stride=32, dropout=dropout)


class Vit3d(Encoder):
    """MONAI's ViT on patches of a volume of one shape; the mean of the tokens is pooled, no class token.

    Args:
        channels: of the volume.
        shape: voxels (D, H, W) that positions are learnt for.
        patch: voxels along a side of a patch; divides `shape`.
        width: D.
        depth: how many layers.
        heads: must divide `width`.
        dropout: in the blocks.

    Raises:
        RecipeError: an option is out of range, or does not fit another.
    """

    padding = "fixed"

    def __init__(
        self,
        channels: int = 1,
        *,
        shape: Sequence[int] = (96, 96, 96),
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        positive("vit3d", channels=channels, shape=shape, patch=patch, width=width, depth=depth, heads=heads)
        fraction("vit3d", dropout=dropout)
        if len(shape) != 3 or any(n % patch for n in shape) or width % heads:
            raise RecipeError(
                f"encoder 'vit3d': shape is three multiples of patch ({patch}) and width a multiple of heads "
                f"({heads}), not {list(shape)} and {width}"
            )
        self.width, self.shape = width, tuple(shape)
        self.vit = monai_transformer("vit").ViT(
            in_channels=channels, img_size=tuple(shape), patch_size=(patch,) * 3, hidden_size=width, mlp_dim=4 * width,
            num_layers=depth, num_heads=heads, dropout_rate=dropout, spatial_dims=3,
        )  # fmt: skip
        self._options = {
            "channels": channels, "shape": list(shape), "patch": patch, "width": width, "depth": depth, "heads": heads,
            "dropout": dropout,
        }  # fmt: skip

    def options(self) -> dict[str, Any]:
        """The options it was built from."""
        return dict(self._options)

    def processing_defaults(self) -> dict[str, Any]:
        """Volumes of its shape and channels."""
        return {"mode": "volume", "channels": self._options["channels"], "shape": self.shape}

    def forward(self, values: Tensor) -> EncoderOutput:
        """Values (B, C, D, H, W) -> tokens (B, patches, width), mask (B, patches; all True), pooled (B, width).

        Raises:
            ModelError: another shape than its positions are for.
        """
        channels = self._options["channels"]
        if values.ndim != 5 or tuple(values.shape[1:]) != (channels, *self.shape):
            raise ModelError(
                f"encoder 'vit3d' takes (B, {channels}, {', '.join(map(str, self.shape))}), not {tuple(values.shape)}; "
                "set its options channels and shape, or leave processing.shape to it"
            )
        tokens, _ = self.vit(values.to(self.vit.norm.weight.dtype))
        return EncoderOutput(tokens, tokens.new_ones(tokens.shape[:2]).bool(), tokens.mean(1))

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans:
        """A token is a cube; the mean is pooled."""
        channels, patch = (int(str(self._options[key])) for key in ("channels", "patch"))
        spans = grid_spans(inputs["values"].shape[1:], (channels, patch, patch, patch))
        return TokenSpans(spans, spans.new_full((len(spans),), 1 / len(spans)))
