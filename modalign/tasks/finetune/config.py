"""What to fine-tune, with which head, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from modalign.align.config import LoraOptions, Section, TrainingConfig
from modalign.align.overrides import override
from modalign.align.recipe_files import parse_section
from modalign.errors import RecipeError
from modalign.tasks.fusion.options import FusionOptions

RATES = {"full": 1e-4, "lora": 1e-3, "head": 1e-2}
"""The learning rate of each way of tuning, where none is given."""


class FinetuneConfig(Section):
    """A whole fine-tuning; `training` is a recipe's."""

    modalities: list[str] = Field(min_length=1, description="the towers to classify with, fused where several")
    head: Literal["classification", "regression"] = "classification"
    target: str = Field("", description="a manifest column to learn in place of the labels; numbers for regression")
    tune: Literal["full", "lora", "head"] = Field("lora", description="what of the encoders is trained with the head")
    lora: LoraOptions = LoraOptions()
    features: Literal["aligned", "tower"] = Field(
        "aligned", description="what the head reads: unit rows of the shared space, or the encoder's pooled features"
    )
    start: Literal["auto", "text", "random"] = Field(
        "auto", description="the head's first weights: the classes' prompts, or random; auto: prompts where they fit"
    )
    class_weights: Literal["none", "balanced"] = "none"
    contrastive: float = Field(0.0, ge=0, description="weight of the loss of the batch's pairs, as a regulariser")
    fusion: FusionOptions = FusionOptions()
    augment: dict[str, list[dict[str, Any]]] = Field(default_factory=dict, description="tower -> augmentations")
    text: str = Field("text", description="the tower that encodes prompts and captions")
    templates: list[str] = Field(default_factory=list, description="prompt templates with {label}")
    seed: int = 0
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _rate(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and isinstance(tree.get("training", {}), dict):
            training = {"learning_rate": RATES.get(tree.get("tune", "lora"), 1e-3), "batch_size": 32}
            return {**tree, "training": {**training, **tree.get("training", {})}}
        return tree

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities: {', '.join(self.modalities)}: one stands twice")
        if self.head == "regression":
            if not self.target:
                raise ValueError("target: regression needs the manifest's column of numbers (--target age)")
            if self.class_weights != "none" or self.start == "text":
                raise ValueError("class_weights and start: text are for classes; leave them out for regression")
        if self.start == "text" and (self.features != "aligned" or self.fusion.how == "sequential"):
            raise ValueError("start: text needs features: aligned, and fusion.how: concat or mean")
        idle = [name for name in self.augment if name not in self.modalities]
        if idle:
            raise ValueError(f"augment: {idle[0]!r} is none of the modalities {', '.join(self.modalities)}")
        if self.augment and self.tune == "head":
            raise ValueError("augment: with tune: head each item is encoded once, so it has no use; tune: lora or full")
        return self


def finetune_config(tree: dict[str, Any], overrides: Sequence[str] = ()) -> FinetuneConfig:
    """Check a config given as a mapping, with `key.key=value` overrides.

    Example:
        >>> finetune_config({"modalities": ["ecg"]}, ["lora.r=4", "training.epochs=3"]).lora.r
        4

    Raises:
        RecipeError: names the key and the mend.
    """
    for one in overrides:
        override(tree, one)
    return parse_section(FinetuneConfig, tree, "finetune")


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        RecipeError: it is none.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}: must be a mapping of keys")
    return tree
