"""Transformers over patches of time: MERL's ViT-1D, and MoRE's with a convolutional patch embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modalign.errors import ModelError, RecipeError
from modalign.modalities.base import Encoder, EncoderOutput, masked_mean
from modalign.modalities.layers.options import fraction, one_of, positive
from modalign.modalities.layers.transformer import Transformer
from modalign.modalities.layers.tsai import check_input
from modalign.modalities.spans import TokenSpans, grid_spans, mean_rows, one_row, with_special

SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}
"""Size -> width, depth, heads."""


class Vit1d(Encoder):
    """MERL's ViT-1D: patches of `patch` samples of all leads, learnt positions, no class token, mean of the tokens.

    A token counts only where all its samples are real, so a padded recording has the embedding that it has alone.
    """

    padding = "exact"

    def __init__(
        self, name: str, channels: int, patch: int, tokens: int, width: int, depth: int, heads: int,
        options: dict[str, Any], **regular: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.name, self.channels, self.patch, self.width = name, channels, patch, width
        self.embed = nn.Conv1d(channels, width, patch, patch)
        self.positions = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.transformer = Transformer(width, depth, heads, **regular)
        self._options = options

    def options(self) -> dict[str, Any]:
        """The options it was built from."""
        return dict(self._options)

    def processing_defaults(self) -> dict[str, Any]:
        """Padded batches are taken. MERL's 500 Hz, and windows as long as the positions at that rate (10 s)."""
        return {"padding": self.padding, "rate": 500, "seconds": self.positions.shape[1] * self.patch / 500}

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, C, T), mask (B, T) -> tokens (B, T // patch, D), their mask, pooled (B, D).

        Raises:
            ModelError: another number of channels, fewer samples than a patch, or more patches than positions.
        """
        check_input(self.name, values, self.channels, self.patch)
        tokens = self.embed(values.to(self.embed.weight.dtype)).transpose(1, 2)
        length = tokens.shape[1]
        if length > self.positions.shape[1]:
            raise ModelError(
                f"encoder {self.name!r} has positions for {self.positions.shape[1]} tokens of {self.patch} samples, "
                f"not {length}; set processing.seconds, or the encoder's option tokens"
            )
        real = self._real(mask)
        out = self.transformer(tokens + self.positions[:, :length], real)
        return EncoderOutput(out, real, masked_mean(out, real))

    def _real(self, mask: Tensor) -> Tensor:
        return mask.unfold(1, self.patch, self.patch).all(-1)

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans:
        """A token is `patch` samples of all leads; their mean is pooled."""
        spans = grid_spans(inputs["values"].shape[1:], (self.channels, self.patch))
        return TokenSpans(spans, mean_rows(self._real(inputs["mask"])[0]))


def _vit1d(size: str) -> Any:
    width, depth, heads = SIZES[size]
    name = f"vit1d-{size}"

    def build(
        channels: int = 12,
        *,
        patch: int = 50,
        tokens: int = 100,
        width: int = width,
        depth: int = depth,
        heads: int = heads,
        drop_path: float = 0.0,
        drop_key: float = 0.0,
        schedule: str = "linear",
        dropout: float = 0.0,
    ) -> Vit1d:
        _check(name, width, heads, schedule, drop_path=drop_path, drop_key=drop_key, dropout=dropout)
        positive(name, channels=channels, patch=patch, tokens=tokens, depth=depth)
        options = {
            "channels": channels, "patch": patch, "tokens": tokens, "width": width, "depth": depth, "heads": heads,
            "drop_path": drop_path, "drop_key": drop_key, "schedule": schedule, "dropout": dropout,
        }  # fmt: skip
        return Vit1d(
            name, channels, patch, tokens, width, depth, heads, options,
            drop_path=drop_path, drop_key=drop_key, schedule=schedule, dropout=dropout,
        )  # fmt: skip

    build.__name__ = build.__qualname__ = f"vit1d_{size}"
    build.__doc__ = (
        f"MERL's ViT-1D {size}: width {width}, {depth} layers, {heads} heads; 5000 samples are 100 tokens of 50."
    )
    return build


vit1d_tiny, vit1d_small, vit1d_base = (_vit1d(size) for size in SIZES)


class MoreVit(Encoder):
    """MoRE's ECG transformer: two convolutions make 196 tokens of 1000 samples, and a class token is pooled.

    Tokens are the class token and then a token every 5 samples that saw 25 (at 100 Hz: every 50 ms, 250 ms wide).
    """

    padding = "fixed"

    def __init__(
        self, channels: int, stem: int, tokens: int, width: int, depth: int, heads: int, **regular: Any
    ) -> None:
        super().__init__()
        self.channels, self.width = channels, width
        self.embed = nn.Sequential(
            nn.Conv1d(channels, stem, 5, 5), nn.ReLU(), nn.BatchNorm1d(stem),
            nn.Conv1d(stem, width, 5), nn.ReLU(), nn.BatchNorm1d(width),
        )  # fmt: skip
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, tokens + 1, width) * 0.02)
        self.transformer = Transformer(width, depth, heads, bias=False, **regular)
        self._options = {
            "channels": channels, "stem": stem, "tokens": tokens, "width": width, "depth": depth, "heads": heads,
            **regular,
        }  # fmt: skip

    def options(self) -> dict[str, Any]:
        """The options it was built from."""
        return dict(self._options)

    def processing_defaults(self) -> dict[str, Any]:
        """10 s at 100 Hz, as its positions are; `normalise` is the recipe's choice."""
        return {"padding": self.padding, "rate": 100, "seconds": (self.positions.shape[1] + 3) * 5 / 100}

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, C, T), mask (B, T; all True) -> tokens (B, 1 + T // 5 - 4, D), mask, pooled (B, D).

        Raises:
            ModelError: another number of channels, another length than the positions', or a padded batch.
        """
        check_input("more_vit", values, self.channels, 25)
        if mask.device.type == "cpu" and not torch.compiler.is_compiling() and not mask.all():
            raise ModelError("encoder 'more_vit' takes no padded batch (embeddings would move); give one length to all")
        tokens = self.embed(values.to(self.cls.dtype)).transpose(1, 2)
        if tokens.shape[1] + 1 > self.positions.shape[1]:
            raise ModelError(
                f"encoder 'more_vit' has positions for {self.positions.shape[1] - 1} tokens, not {tokens.shape[1]}; "
                "set processing.seconds (10 at 100 Hz), or its option tokens"
            )
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], 1) + self.positions[:, : tokens.shape[1] + 1]
        out = self.transformer(tokens)
        return EncoderOutput(out, mask.new_ones(out.shape[:2], dtype=torch.bool), out[:, 0])

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans:
        """The class token, which is pooled, and tokens of the 25 samples that each saw, 5 apart."""
        shape = inputs["values"].shape[1:]
        spans = with_special(grid_spans(shape, (self.channels, 25), (self.channels, 5)), 1)
        return TokenSpans(spans, one_row(len(spans), 0))


def more_vit(
    channels: int = 12,
    *,
    stem: int = 256,
    tokens: int = 196,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    drop_key: float = 0.3,
    schedule: str = "constant",
    drop_path: float = 0.0,
    dropout: float = 0.0,
) -> MoreVit:
    """MoRE's convolutional patch ViT (ViT-B by default). DropKey: 0.3 in every block, as it was pretrained.

    `schedule="linear"` with `drop_key=0.2` is the schedule that its fine-tuning meant (0.2 down to 0).
    """
    _check("more_vit", width, heads, schedule, drop_path=drop_path, drop_key=drop_key, dropout=dropout)
    positive("more_vit", channels=channels, stem=stem, tokens=tokens, depth=depth)
    return MoreVit(
        channels, stem, tokens, width, depth, heads,
        drop_key=drop_key, schedule=schedule, drop_path=drop_path, dropout=dropout,
    )  # fmt: skip


def _check(name: str, width: int, heads: int, schedule: str, **shares: float) -> None:
    positive(name, width=width, heads=heads)
    if width % heads:
        raise RecipeError(f"encoder {name!r}: width ({width}) is a multiple of heads ({heads})")
    one_of(name, "schedule", schedule, ("constant", "linear"))
    fraction(name, **shares)
