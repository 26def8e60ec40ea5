"""Late fusion: the features side by side, or their mean, with a vector for what is missing, and a linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modalign.errors import RecipeError
from modalign.tasks.fusion.head import FusionHead, Standardise
from modalign.tasks.fusion.options import FusionOptions, HeadOutput


class LateFusion(FusionHead):
    """Concatenation (MoRE's head: two embeddings, dropout, linear) or mean of the features, and a linear layer.

    A missing modality is a learned vector (zeros at first), zeros, or with the mean is left out of it.

    Args:
        widths: sizes of the features; equal ones for the mean.
        outputs: C.
        options: `how` is "concat" or "mean".
        by_row: see `Standardise`.

    Example:
        >>> head = LateFusion([4, 3], 2, FusionOptions())
        >>> output = head([torch.randn(5, 4), torch.randn(5, 3)], torch.ones(5, 2, dtype=torch.bool))
        >>> output.logits.shape, output.states.shape
        (torch.Size([5, 2]), torch.Size([1, 5, 2]))

    Raises:
        RecipeError: features of unequal sizes have no mean, or `missing: skip` is asked of a concatenation.
    """

    def __init__(self, widths: Sequence[int], outputs: int, options: FusionOptions, by_row: bool = False) -> None:
        super().__init__(widths, outputs, options, by_row)
        if options.how == "mean" and len(set(widths)) > 1:
            raise RecipeError(f"fusion.how: mean needs features of one size, not {list(widths)}; take concat")
        if options.how == "concat" and options.missing == "skip":
            raise RecipeError(
                "fusion.missing: skip needs fusion.how: mean; a concatenation needs something in its place"
            )
        learned = options.missing == "learned" and len(widths) > 1
        self.missing = nn.ParameterList(nn.Parameter(torch.zeros(w), requires_grad=learned) for w in widths)
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(sum(widths) if options.how == "concat" else widths[0], outputs)

    def start_from_text(self, texts: Sequence[Tensor], scale: float, bias: Tensor | None = None) -> None:
        """See `FusionHead.start_from_text`: with all modalities there, and under `skip` with any."""
        if any(width != text.shape[1] for width, text in zip(self.widths, texts)):
            raise RecipeError("start: text needs features: aligned, which lie in one space with the prompts")
        with torch.no_grad():
            for inputs in self.inputs:
                assert isinstance(inputs, Standardise)
                inputs.scale.fill_(scale)
            shares = torch.stack(list(texts)) / len(texts)
            self.linear.weight.copy_(torch.cat(list(shares), 1) if self.options.how == "concat" else shares.sum(0))
            self.linear.bias.copy_(torch.zeros_like(self.linear.bias) if bias is None else bias)

    def forward(self, features: Sequence[Tensor], present: Tensor) -> HeadOutput:
        """M features (B, d_m) and (B, M) which are there -> `HeadOutput` with one state."""
        made, present = self._prepared(features, present)
        if self.options.missing != "skip":
            made = [torch.where(present[:, m : m + 1], x, self.missing[m]) for m, x in enumerate(made)]
        if self.options.how == "concat":
            joined = torch.cat(made, 1)
        else:
            total = torch.stack(made).sum(0)
            counted = present.sum(1, keepdim=True).clamp_min(1) if self.options.missing == "skip" else len(made)
            joined = total / counted
        logits = self.linear(self.dropout(joined))
        return HeadOutput(logits, logits.unsqueeze(0), logits.new_zeros(()))
