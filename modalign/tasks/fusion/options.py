"""Options of a head over one tower or several, and what a head returns."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from modalign.align.config import Section

How = Literal["concat", "mean", "sequential"]


class FusionOptions(Section):
    """How a head joins modalities, and what it does where one is missing. With one modality: a linear head."""

    how: How = Field("concat", description="concat or mean of the features, or MultiModN's sequence of states")
    missing: Literal["learned", "zero", "skip"] = Field(
        "learned", description="what stands for a missing modality; skip: the mean of those that are there"
    )
    modality_dropout: float = Field(0.0, ge=0, le=1, description="in training, the chance that a modality is left out")
    dropout: float = Field(0.0, ge=0, lt=1, description="on the joined features, while training")
    state: int = Field(32, ge=1, description="size of the sequential form's state")
    hidden: int = Field(64, ge=1, description="width of the sequential form's encoders")
    penalty: float = Field(1.0, ge=0, description="weight of the sequential form's state change, times 0.01")


class HeadOutput(NamedTuple):
    """What a head returns.

    Attributes:
        logits: (B, C), of all modalities that are there.
        states: (S, B, C): what is decoded on the way, the logits last; each is trained.
        penalty: added to the loss, a scalar.
    """

    logits: Tensor
    states: Tensor
    penalty: Tensor
