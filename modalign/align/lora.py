"""LoRA through peft, on any tower's encoder (Hu et al. 2021)."""

from __future__ import annotations

from typing import cast

from modalign.align.config import LoraOptions
from modalign.errors import RecipeError
from modalign.modalities.base import Encoder


def add_lora(encoder: Encoder, options: LoraOptions, tower: str) -> Encoder:
    """Wrap an encoder so that only low-rank updates of its target layers train. At first its output is unchanged.

    Args:
        encoder: the encoder; its weights are frozen.
        options: rank, alpha (the update is scaled by alpha / r), dropout, bias, targets.
        tower: the tower's name, for errors.

    Raises:
        RecipeError: a target is not a module of this encoder, or of a kind that peft cannot adapt.
    """
    from peft import LoraConfig, get_peft_model

    targets = options.targets or encoder.lora_targets()
    try:
        wrapped = get_peft_model(
            encoder,
            LoraConfig(
                r=options.r,
                lora_alpha=options.alpha,
                lora_dropout=options.dropout,
                bias=options.bias,
                target_modules=targets,
            ),
        )
    except ValueError as error:
        modules = [name for name, module in encoder.named_modules() if name and not list(module.children())]
        raise RecipeError(
            f"towers.{tower}.lora.targets: {str(error).splitlines()[0]} "
            f"Modules of this encoder: {', '.join(modules[:12])}, ..."
        ) from error
    return cast(Encoder, wrapped)


def merge_lora(encoder: Encoder) -> Encoder:
    """Add the low-rank updates to the weights and return the plain encoder."""
    return cast(Encoder, encoder.merge_and_unload())  # type: ignore[operator]
