"""What every head shares: standardised inputs, zeros where a modality is missing, and modality dropout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalign.errors import RecipeError
from modalign.tasks.fusion.dropout import drop_modalities
from modalign.tasks.fusion.options import FusionOptions, HeadOutput


class Standardise(nn.Module):
    """(B, d) -> (features - mean) * scale, by constants of the training rows (none at first), or row by row.

    Constants are for features that stay as they are. While an encoder is trained they move, and where it has BatchNorm
    they are other ones in training than in eval: then each row is brought to mean 0 and variance 1 by itself.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, by_row: bool = False) -> None:
        super().__init__()
        self.by_row = by_row
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Take the mean, and the one spread of all values about it, from features (N, d)."""
        known = features.double()
        self.mean.copy_(known.mean(0))
        spread = (known - known.mean(0)).square().mean().sqrt()
        # Rows that are all the same (one alone) tell no spread; a tiny one would blow up whatever differs from them.
        self.scale.copy_(torch.where(spread > 1e-6, 1 / spread.clamp_min(1e-12), 1.0))

    def forward(self, features: Tensor) -> Tensor:
        """(B, d) -> (B, d)."""
        if self.by_row:
            return F.layer_norm(features, features.shape[-1:])
        return (features - self.mean) * self.scale


class FusionHead(nn.Module):
    """A head over the features of M modalities: abstract.

    Args:
        widths: the size of each modality's features, in the order in which they are given.
        outputs: C, how many figures a row gets.
        options: see `FusionOptions`.
        by_row: standardise each row's features by themselves; see `Standardise`.

    Attributes:
        inputs: the constants of each modality's features.
    """

    def __init__(self, widths: Sequence[int], outputs: int, options: FusionOptions, by_row: bool = False) -> None:
        super().__init__()
        self.widths, self.outputs, self.options = list(widths), outputs, options
        self.inputs = nn.ModuleList(Standardise(width, by_row) for width in widths)

    def fit_inputs(self, features: Sequence[Tensor], present: Tensor) -> None:
        """Take the constants of the inputs from training rows: M features (N, d_m), and (N, M) which are there."""
        for m, (inputs, own) in enumerate(zip(self.inputs, features)):
            assert isinstance(inputs, Standardise)
            if present[:, m].any():
                inputs.fit(own[present[:, m]])

    def start_from_text(self, texts: Sequence[Tensor], scale: float, bias: Tensor | None = None) -> None:
        """Make the logits those of classification by prompts: `scale` * mean over modalities of x_m . text_mc + bias.

        The head that starts from zero-shot, as in WiSE-FT (Wortsman et al. 2022), whose averaging of weights after
        training is not done here.

        Args:
            texts: (C, d) unit rows of the classes for each modality; a mean of features takes their mean.
            scale: the model's 1 / temperature.
            bias: (C,), or None for zeros.

        Raises:
            RecipeError: this head has no such form.
        """
        raise RecipeError(
            f"fusion.how: a {self.options.how!r} head cannot start from text; set start: random, or fusion.how: mean"
        )

    def _prepared(self, features: Sequence[Tensor], present: Tensor) -> tuple[list[Tensor], Tensor]:
        """Standardised features with zeros for what is missing (whatever stood there, NaN too), and what is there."""
        if self.training:
            present = drop_modalities(present, self.options.modality_dropout)
        made = []
        for m, (inputs, own) in enumerate(zip(self.inputs, features)):
            there = present[:, m : m + 1]
            # Zeros before any product: a NaN that is only masked out afterwards would still reach the gradient.
            made.append(torch.where(there, inputs(torch.where(there, own, 0.0)), 0.0))
        return made, present

    def forward(self, features: Sequence[Tensor], present: Tensor) -> HeadOutput:
        """M features (B, d_m) and (B, M) which are there -> `HeadOutput`."""
        raise NotImplementedError("abstract: a head returns a HeadOutput")
