"""Heads by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modalign.tasks.fusion.head import FusionHead
from modalign.tasks.fusion.late import LateFusion
from modalign.tasks.fusion.options import FusionOptions
from modalign.tasks.fusion.sequential import SequentialFusion

HEADS: Mapping[str, type[FusionHead]] = {"concat": LateFusion, "mean": LateFusion, "sequential": SequentialFusion}


def build_head(widths: Sequence[int], outputs: int, options: FusionOptions, by_row: bool = False) -> FusionHead:
    """The head that `options.how` names.

    Raises:
        RecipeError: the options do not fit it.
    """
    return HEADS[options.how](widths, outputs, options, by_row)
