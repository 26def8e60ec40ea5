"""A 2-D encoder on each slice, and gated attention over the slices: multiple-instance learning (Ilse et al. 2018)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modalign.errors import ModelError, RecipeError, suggest
from modalign.modalities.base import Encoder, EncoderOutput
from modalign.modalities.imaging.encoders2d import ENCODERS_2D
from modalign.modalities.layers.options import positive
from modalign.modalities.spans import TokenSpans


class GatedAttention(nn.Module):
    """Tokens (B, L, D), mask (B, L) -> pooled (B, D): a weight a token, by a tanh and a sigmoid branch.

    Args:
        width: D.
        hidden: of the branches.

    Example:
        >>> GatedAttention(8)(torch.zeros(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)).shape
        torch.Size([2, 8])
    """

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.content, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)

    def weights(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, L): how much each token counts; they sum to 1 over the real ones."""
        scores = self.score(torch.tanh(self.content(tokens)) * torch.sigmoid(self.gate(tokens))).squeeze(-1)
        return torch.softmax(scores.float().masked_fill(~mask, float("-inf")), 1).to(tokens.dtype)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Pool."""
        return (tokens * self.weights(tokens, mask).unsqueeze(-1)).sum(1)


class SliceEncoder(Encoder):
    """Each slice through one 2-D encoder; tokens are slices, pooled by gated attention over the real ones.

    The 2-D encoder sees padded slices too (they cost time, and change nothing in eval mode); in training their zeros
    enter its BatchNorm, so set the same number of slices for all, or its option norm_kind = group.

    Args:
        encoder: cnn, densenet121, resnet18, resnet50 or vit.
        hidden: of the gated attention.
        options_2d: the 2-D encoder's options.

    Raises:
        RecipeError: the encoder or one of its options is not known.

    Example:
        >>> SliceEncoder()(torch.zeros(2, 5, 1, 96, 96), torch.ones(2, 5, dtype=torch.bool)).tokens.shape
        torch.Size([2, 5, 128])
    """

    padding = "exact"

    def __init__(self, encoder: str = "cnn", *, hidden: int = 128, options_2d: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        positive("slices", hidden=hidden)
        if encoder not in ENCODERS_2D:
            raise RecipeError(f"encoder 'slices': no 2-D encoder {encoder!r}: {suggest(encoder, ENCODERS_2D)}")
        factory, options = ENCODERS_2D[encoder], dict(options_2d or {})
        try:
            inspect.signature(factory).bind(**options)
        except TypeError as error:
            raise RecipeError(f"encoder 'slices': options_2d of {encoder!r}: {error}") from None
        self.name, self.hidden = encoder, hidden
        self.encoder = factory(**options)
        self.width = self.encoder.width
        self.pool = GatedAttention(self.width, hidden)

    def options(self) -> dict[str, Any]:
        """The options, and those that the 2-D encoder is built again from."""
        return {"encoder": self.name, "hidden": self.hidden, "options_2d": self.encoder.options()}

    def lora_targets(self) -> list[str]:
        """The 2-D encoder's; the attention over slices is new in every model, but is small enough to adapt too."""
        return [*self.encoder.lora_targets(), "pool.content", "pool.gate", "pool.score"]

    def processing_defaults(self) -> dict[str, Any]:
        """Whole slices, resized to what the 2-D encoder takes."""
        said = self.encoder.processing_defaults()
        defaults = {"mode": "slices", "sizing": "resize", "shape": tuple(said["size"]), "channels": said["channels"]}
        return {**defaults, **{key: said[key] for key in ("mean", "std") if key in said}}

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, S, C, H, W), mask (B, S) -> tokens (B, S, D), mask, pooled (B, D).

        Raises:
            ModelError: no stack of slices.
        """
        if values.ndim != 5 or mask.shape != values.shape[:2]:
            raise ModelError(
                f"encoder 'slices' takes (B, S, C, H, W) and a mask (B, S), not {tuple(values.shape)} and "
                f"{tuple(mask.shape)}; leave processing.mode to it"
            )
        tokens = self.encoder(values=values.flatten(0, 1)).pooled.unflatten(0, values.shape[:2])
        return EncoderOutput(tokens, mask, self.pool(tokens, mask))

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans | None:
        """What the 2-D encoder says of its tokens, for each slice; the attention over slices counts by its gradient."""
        slices = inputs["values"][0]
        inside = self.encoder.token_spans({"values": slices[:1]})
        if inside is None:
            return None
        count, each = len(slices), len(inside.spans)
        place = torch.arange(count, dtype=torch.float32).repeat_interleave(each)
        own = torch.stack([place, place + 1], 1).unsqueeze(1)
        return TokenSpans(torch.cat([own, inside.spans.repeat(count, 1, 1)], 1), inside.read.repeat(count))
