"""One file a loss, one signature, one registry. Importing this registers them all."""

from modalign.align.losses.cwcl import cwcl
from modalign.align.losses.infonce import infonce
from modalign.align.losses.registry import PairLoss, get_loss, list_losses, register_loss
from modalign.align.losses.siglip import siglip
from modalign.align.losses.supcon import supcon

__all__ = ["PairLoss", "cwcl", "get_loss", "infonce", "list_losses", "register_loss", "siglip", "supcon"]
