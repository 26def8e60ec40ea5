"""One file a loss, one signature, one registry. Importing this registers them all."""

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
    "get_loss",
    "infonce",
    "list_losses",
    "register_loss",
    "siglip",
]
