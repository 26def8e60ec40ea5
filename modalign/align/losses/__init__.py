"""One file a loss, one signature, one registry. Importing this registers them all."""

from modalign.align.losses.clap import Clap
from modalign.align.losses.cwcl import cwcl
from modalign.align.losses.dcl import dcl, dclw
from modalign.align.losses.gap import align, uniform, xuniform
from modalign.align.losses.gist import Gist
from modalign.align.losses.gram import gram
from modalign.align.losses.hard_captions import compa, compa_modular, negclip
from modalign.align.losses.infonce import infonce
from modalign.align.losses.isogclr import ISogCLR
from modalign.align.losses.m3col import m3col
from modalign.align.losses.multiview import mv_dhel, mv_infonce
from modalign.align.losses.protoclip import ProtoClip
from modalign.align.losses.registry import (
    Loss,
    LossInputs,
    StatefulLoss,
    Training,
    distributed_losses,
    get_loss,
    list_losses,
    register_loss,
)
from modalign.align.losses.siglip import siglip
from modalign.align.losses.supcon import supcon
from modalign.align.losses.symile import symile
from modalign.align.losses.uma import Uma

__all__ = [
    "Clap",
    "Gist",
    "ISogCLR",
    "Loss",
    "LossInputs",
    "ProtoClip",
    "StatefulLoss",
    "Training",
    "Uma",
    "align",
    "compa",
    "compa_modular",
    "cwcl",
    "dcl",
    "dclw",
    "distributed_losses",
    "get_loss",
    "gram",
    "infonce",
    "list_losses",
    "m3col",
    "mv_dhel",
    "mv_infonce",
    "negclip",
    "register_loss",
    "siglip",
    "supcon",
    "symile",
    "uniform",
    "xuniform",
]
