"""From an aligned model to one with a head: which towers take part, what of them is trained, and the pairs kept."""

from __future__ import annotations

import copy
from typing import Any, Literal

from modalign.align.config import LossConfig, ModelConfig, Pair, Recipe
from modalign.align.model import AlignmentModel, seeded
from modalign.align.start import start_from
from modalign.errors import RecipeError
from modalign.tasks.finetune.config import FinetuneConfig
from modalign.tasks.finetune.model import FineTuned
from modalign.tasks.finetune.target import Target

TUNE = {"full": "full", "lora": "lora", "head": "frozen"}


def pairs_for(base: AlignmentModel, config: FinetuneConfig) -> list[Pair]:
    """The pairs that the contrastive term keeps: those of the base's training with one of the modalities in them.

    Raises:
        RecipeError: the base has none, nor a text tower.
    """
    if not config.contrastive:
        return []
    said = [Pair(**pair) for pair in _recipe(base).get("pairs", [])]
    if not said and config.text in base.towers:
        said = [Pair(a=config.text, b=name) for name in config.modalities if name != config.text]
    kept = [p for p in said if {p.a, p.b} & set(config.modalities) and p.a in base.towers and p.b in base.towers]
    if not kept:
        raise RecipeError(
            f"contrastive: the model has no pair of {' or '.join(config.modalities)} with another tower; leave it at 0"
        )
    return [p.model_copy(update={"weight": p.weight * config.contrastive}) for p in kept]


def start_of(base: AlignmentModel, config: FinetuneConfig) -> Literal["text", "random"]:
    """What the head starts from: the classes' prompts where it is free to and can.

    Raises:
        RecipeError: they are asked for, and the base has no text tower.
    """
    fits = config.head == "classification" and config.features == "aligned" and config.fusion.how != "sequential"
    if config.start == "text" and config.text not in base.towers:
        raise RecipeError(f"start: text needs a tower for prompts, and this model has none called {config.text!r}")
    if config.start == "random" or (config.start == "auto" and not (fits and config.text in base.towers)):
        return "random"
    return "text"


def build(base: AlignmentModel, config: FinetuneConfig, target: Target, pairs: list[Pair]) -> FineTuned:
    """The towers that take part, with the base's weights, constants and temperature, and a head of random weights.

    The other ends of the pairs (text) stay as they are, and so does the temperature: they hold the space in place.

    Args:
        base: stays as it is.
        config: what to tune.
        target: what the head learns.
        pairs: of `pairs_for`.

    Raises:
        ModelError: the base lacks a tower.
        RecipeError: LoRA's targets, the fusion, or an encoder do not fit.
    """
    for name in config.modalities:
        base.tower(name)
    names = list(dict.fromkeys([*config.modalities, *(end for pair in pairs for end in (pair.a, pair.b))]))
    lora = any(base.tower(name).config.tune == "lora" for name in names)
    source = copy.deepcopy(base).merge() if lora else base
    towers = {}
    for name in names:
        own, tuned = source.tower(name).saved_config(), name in config.modalities
        tune = TUNE[config.tune] if tuned else "frozen"
        # The mean stays in its buffer; only a frozen tower may ask for another one to be fitted.
        projection = own.projection if tune == "frozen" else own.projection.model_copy(update={"center": False})
        augment = config.augment.get(name, []) if tune != "frozen" else []
        towers[name] = own.model_copy(
            update={"tune": tune, "lora": config.lora, "augment": augment, "projection": projection}
        )
    settings = config.model_copy(update={"start": start_of(base, config)})
    with seeded(config.seed):
        aligned = AlignmentModel(ModelConfig(towers=towers, dim=source.dim, temperature=source.source.temperature))
        tuned_model = FineTuned(aligned, settings, target)
    start_from(aligned, source, names, "the base")
    aligned.temperature.requires_grad_(False)
    for name in names:
        if towers[name].tune == "frozen":
            aligned.tower(name).requires_grad_(False)
        elif config.features == "tower" and not pairs:
            aligned.tower(name).projection.requires_grad_(False)  # nothing reads it
    return tuned_model


def recipe_for(base: AlignmentModel, tuned: FineTuned, pairs: list[Pair]) -> Recipe:
    """The recipe by which the trainer's data and schedule are made; it may have no pairs, as none that is read has."""
    config, source, said = tuned.settings, tuned.aligned.source, _recipe(base)
    bias = source.temperature.bias is not None
    loss = LossConfig(**said["loss"]) if "loss" in said else LossConfig(name="siglip" if bias else "infonce")
    templates = {name: list(own) for name, own in said.get("templates", {}).items()}
    if config.templates:
        templates |= dict.fromkeys(config.modalities, config.templates)
    return Recipe.model_construct(
        towers=source.towers,
        dim=source.dim,
        temperature=source.temperature,
        name=f"{said.get('name') or 'model'}, fine-tuned",
        seed=config.seed,
        pairs=pairs,
        loss=loss,
        training=config.training,
        text=config.text,
        templates=templates,
    )


def _recipe(base: AlignmentModel) -> dict[str, Any]:
    said: dict[str, Any] = (base.record or {}).get("recipe") or {}
    return said
