"""Going on from a saved model: its weights, constants and temperature, tower by tower."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modalign.align.lora import measure_again
from modalign.errors import RecipeError

if TYPE_CHECKING:
    from modalign.align.model import AlignmentModel


def start_from(model: AlignmentModel, source: AlignmentModel, names: Collection[str], where: str) -> None:
    """Give a model the weights, constants and temperature of another, tower by tower; under a LoRA, those of its base.

    Args:
        model: changed in place.
        source: a plain model (`merge()` it first).
        names: the towers to take.
        where: the source's name, for errors.

    Raises:
        RecipeError: nothing is shared, or a tower differs.
    """
    shared = [name for name in model.towers if name in names and name in source.towers]
    if not shared:
        raise RecipeError(f"init: {where} has none of these towers; it has {', '.join(source.towers)}")
    for name in shared:
        mine, theirs = model.tower(name), source.tower(name)
        encoder = {_plain(key): value for key, value in mine.encoder.state_dict().items() if ".lora_" not in key}
        _copy(encoder, theirs.encoder.state_dict(), f"init: the encoder of {name!r} in {where}")
        _copy(
            mine.projection.state_dict(), theirs.projection.state_dict(), f"init: the projection of {name!r} in {where}"
        )
        measure_again(mine.encoder)
        if mine.adapter is not None and theirs.adapter is not None:
            _copy(mine.adapter.state_dict(), theirs.adapter.state_dict(), f"init: the adapter of {name!r} in {where}")
        mine.processing = theirs.processing
    with torch.no_grad():
        model.temperature.log_scale.copy_(source.temperature.log_scale)
        if model.temperature.bias is not None and source.temperature.bias is not None:
            model.temperature.bias.copy_(source.temperature.bias)
        model.temperature.clamp_()
    model.started = frozenset(shared)
    model.remember_buffers()


def _plain(key: str) -> str:
    """A weight's name without what peft puts around it."""
    return key.removeprefix("base_model.model.").replace(".base_layer.", ".")


@torch.no_grad()
def _copy(into: Mapping[str, Tensor], source: Mapping[str, Tensor], where: str) -> None:
    wrong = [k for k in {*into, *source} if k not in into or k not in source or into[k].shape != source[k].shape]
    if wrong:
        raise RecipeError(f"{where} is another one than the recipe's ({sorted(wrong)[0]}); give it the same options")
    for key, value in into.items():
        value.copy_(source[key])
