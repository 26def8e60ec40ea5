"""tsai's models as encoders: one adapter, and a lookup that imports tsai (ten seconds) only when one is built.

Convolutional nets of tsai move under padding (cosine 0.985 and 0.959 measured), hence `padding = "fixed"`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from modalign.errors import MissingExtraError, ModelError
from modalign.modalities.base import Encoder, EncoderOutput
from modalign.modalities.spans import TokenSpans


def tsai_model(name: str, extra: str) -> Any:
    """A class of tsai.models; `extra` is what a user installs to have it.

    Raises:
        MissingExtraError: tsai is not installed.
    """
    try:
        # fastai silences all warnings of the process when it is imported.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(import_module(f"tsai.models.{name}"), name)
    except ImportError as error:
        raise MissingExtraError(f"the encoder {name} of tsai", extra) from error


class FixedLength(Encoder):
    """A convolutional backbone (B, C, T) -> (B, D, L): tokens are its steps; no padded batch is taken.

    Args:
        name: what errors call it.
        backbone: the net without its head.
        width: D.
        options: from which the same encoder is built again; `channels` among them.
        dropout: on the tokens, in training.
        pool: tokens (B, L, D) -> pooled (B, D); None: their mean.
        shortest: samples, under which the backbone has nothing to work on.
        samples: the only length it takes, or None.
    """

    padding = "fixed"

    def __init__(
        self,
        name: str,
        backbone: nn.Module,
        width: int,
        *,
        options: dict[str, Any],
        dropout: float = 0.0,
        pool: nn.Module | None = None,
        shortest: int = 1,
        samples: int | None = None,
    ) -> None:
        super().__init__()
        self.name, self.backbone, self.width = name, backbone, width
        self.shortest, self.samples = shortest, samples
        self.dropout, self.pool = nn.Dropout(dropout), pool
        self._options = options

    def options(self) -> dict[str, Any]:
        """The options it was built from."""
        return dict(self._options)

    def processing_defaults(self) -> dict[str, Any]:
        """No padded batches."""
        return {"padding": self.padding}

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, C, T), mask (B, T; all True) -> tokens (B, L, D), mask (B, L), pooled (B, D).

        Raises:
            ModelError: another number of channels or samples than it was built for, or a padded batch.
        """
        check_input(self.name, values, self._options["channels"], self.shortest)
        if self.samples is not None and values.shape[2] != self.samples:
            raise ModelError(
                f"encoder {self.name!r} takes windows of {self.samples} samples, not {values.shape[2]}; set its option "
                "samples to the window's seconds times the rate of the processing"
            )
        # On a GPU the same is refused by the collate function, since reading the mask here would wait for the device.
        if mask.device.type == "cpu" and not torch.compiler.is_compiling() and not mask.all():
            raise ModelError(
                f"encoder {self.name!r} takes no padded batch (embeddings would move); give one length to all"
            )
        # A model in half precision takes float32 batches; under autocast this changes nothing.
        features = self.backbone(values.to(next(self.backbone.parameters()).dtype))
        tokens = self.dropout(features.transpose(1, 2))
        pooled = tokens.mean(1) if self.pool is None else self.pool(tokens)
        return EncoderOutput(tokens, mask.new_ones(tokens.shape[:2], dtype=torch.bool), pooled)

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans | None:
        """What a backbone that is a transformer says of its tokens."""
        spans = getattr(self.backbone, "spans", None)
        return None if spans is None else spans(inputs["values"].shape[1:])


def check_input(name: str, values: Tensor, channels: int, shortest: int) -> None:
    """Refuse another number of channels than the encoder's, and what is too short for it.

    Raises:
        ModelError: says the mend.
    """
    if values.ndim != 3 or values.shape[1] != channels:
        raise ModelError(
            f"encoder {name!r} takes (B, {channels}, T), not {tuple(values.shape)}; set its option channels to what "
            "the processing gives"
        )
    if values.shape[2] < shortest:
        raise ModelError(
            f"encoder {name!r} takes {shortest} samples or more, not {values.shape[2]}; give longer windows"
        )
