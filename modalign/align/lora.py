"""LoRA and its kin through peft, on any tower's encoder: LoRA, rank-stabilised LoRA, DoRA, by range of layers.

Sources: Hu et al. 2021 (LoRA), Kalajdzievski 2023 (rank stabilisation), Liu et al. 2024 (DoRA); peft has all three.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from modalign.align.config import LoraOptions
from modalign.align.tuning import layer_list, layer_of
from modalign.errors import RecipeError
from modalign.modalities.base import Encoder


def add_lora(encoder: Encoder, options: LoraOptions, tower: str) -> Encoder:
    """Wrap an encoder so that only low-rank updates of its target layers train. At first its output is unchanged.

    Args:
        encoder: the encoder; its weights are frozen.
        options: rank, alpha (the update is scaled by alpha / r, or alpha / sqrt(r)), dropout, bias, targets, layers,
            and whether the lengths of the weights' rows train too (DoRA).
        tower: the tower's name, for errors.

    Raises:
        RecipeError: a target is not a module of this encoder, or of a kind that peft cannot adapt; or the encoder has
            no such layers.
    """
    from peft import LoraConfig, get_peft_model

    targets = options.targets or encoder.lora_targets()
    if options.layers is not None:
        targets = in_layers(encoder, targets, options.layers, tower)
    try:
        wrapped = get_peft_model(
            encoder,
            LoraConfig(
                r=options.r,
                lora_alpha=options.alpha,
                lora_dropout=options.dropout,
                bias=options.bias,
                target_modules=targets,
                use_rslora=options.rslora,
                use_dora=options.dora,
            ),
        )
    except ValueError as error:
        modules = [name for name, module in encoder.named_modules() if name and not list(module.children())]
        raise RecipeError(
            f"towers.{tower}.lora.targets: {str(error).splitlines()[0]} "
            f"Modules of this encoder: {', '.join(modules[:12])}, ..."
        ) from error
    return cast(Encoder, wrapped)


def in_layers(encoder: Encoder, targets: list[str], layers: tuple[int, int], tower: str) -> list[str]:
    """The whole names of the targets that lie in a range of layers, both ends in it.

    peft's own `layers_to_transform` passes over targets that are given by their whole name, as most of ours are.

    Raises:
        RecipeError: the encoder's layers cannot be told, or it has none of these.
    """
    where = f"towers.{tower}.lora.layers"
    name = layer_list(encoder)
    if not name:
        raise RecipeError(
            f"{where}: the layers of {type(encoder).__name__} cannot be told; name modules in lora.targets"
        )
    count = len(cast(nn.ModuleList, encoder.get_submodule(name)))
    first, last = (k + count if k < 0 else k for k in layers)
    if not 0 <= first <= last < count:
        raise RecipeError(f"{where}: {list(layers)} is no range of the {count} layers (0 to {count - 1}) of {name!r}")
    found = [
        module
        for module, _ in encoder.named_modules()
        if any(module == t or module.endswith(f".{t}") for t in targets)
        and first <= (-1 if (layer := layer_of(module, name)) is None else layer) <= last
    ]
    if not found:
        raise RecipeError(f"{where}: none of the targets {', '.join(targets[:6])} is in the layers {list(layers)}")
    return found


def merge_lora(encoder: Encoder) -> Encoder:
    """Add the low-rank updates to the weights and return the plain encoder."""
    return cast(Encoder, encoder.merge_and_unload())  # type: ignore[operator]


def unwrapped(encoder: Encoder) -> Encoder:
    """The encoder itself, where peft stands around it."""
    return cast(Encoder, encoder.get_base_model()) if hasattr(encoder, "get_base_model") else encoder  # type: ignore[operator]


def measure_again(encoder: nn.Module) -> None:
    """Let DoRA take the rows' lengths from the weights as they are now, where these were replaced under it."""
    for module in encoder.modules():
        for name in [*(getattr(module, "lora_magnitude_vector", None) or {})]:
            module.lora_variant[name].init(module, name)  # type: ignore[index, union-attr, operator]
