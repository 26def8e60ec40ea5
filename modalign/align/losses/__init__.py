"""One file a loss, one signature, one registry. Importing this registers them all."""

from modalign.align.losses import (
    clap,
    dcl,
    gap,
    gist,
    gram,
    hard_captions,
    isogclr,
    m3col,
    multiview,
    protoclip,
    symile,
)
from modalign.align.losses.infonce import infonce
from modalign.align.losses.registry import (
    Loss,
    LossInputs,
    StatefulLoss,
    Training,
    get_loss,
    list_losses,
    register_loss,
)
from modalign.align.losses.siglip import siglip

__all__ = [
    "Loss",
    "LossInputs",
    "StatefulLoss",
    "Training",
    "clap",
    "dcl",
    "gap",
    "get_loss",
    "gist",
    "gram",
    "hard_captions",
    "infonce",
    "isogclr",
    "list_losses",
    "m3col",
    "multiview",
    "protoclip",
    "register_loss",
    "siglip",
    "symile",
]
