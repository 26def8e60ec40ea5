"""Recipes from their files: by name, by path, or from a saved model; overridden by key, and checked whole."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from modalign.align.config import (
    AdapterConfig,
    LoraOptions,
    LossConfig,
    LossTerm,
    Pair,
    ProjectionConfig,
    Recipe,
    Section,
    TemperatureConfig,
    TowerConfig,
    TrainingConfig,
)
from modalign.align.overrides import override
from modalign.align.sizes import lay_size
from modalign.errors import RecipeError, suggest


def list_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in files("modalign.recipes").iterdir() if p.name.endswith(".yaml"))


def recipe_of(folder: Path) -> dict[str, Any]:
    """The recipe that goes on from a saved model: the one it was trained by, its towers as saved, its weights first.

    Raises:
        RecipeError: the folder holds no model, or one whose training is not known.
    """
    if not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
        folder = folder / "model"
    try:
        tree = json.loads((folder / "training.json").read_text())["recipe"]
        return {**tree, "towers": json.loads((folder / "config.json").read_text())["towers"], "init": str(folder)}
    except (OSError, ValueError, KeyError, TypeError):
        raise RecipeError(
            f"{folder}: no model that says what it was trained by; name a recipe, and give the model as --set init=..."
        ) from None


def recipe_text(recipe: str | Path) -> str:
    """The YAML of a recipe given by name or by path.

    Raises:
        RecipeError: there is none.
    """
    path = Path(recipe)
    if path.is_file():
        return path.read_text()
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise RecipeError(f"{recipe}: no such file")
    if str(recipe) not in list_recipes():
        raise RecipeError(f"no recipe {str(recipe)!r}: {suggest(str(recipe), list_recipes())}")
    return (files("modalign.recipes") / f"{recipe}.yaml").read_text()


def load_recipe(recipe: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by name or path, apply `key.key=value` overrides (YAML values), and validate it.

    The folder of a saved model stands for the recipe that goes on from it (`recipe_of`). `size=NAME` lays one of the
    recipe's `sizes` over it before all else.

    Example:
        >>> load_recipe("motion", ["training.epochs=2"]).training.epochs     # doctest: +SKIP
        2.0

    Raises:
        RecipeError: names the recipe, the key and the mend.
    """
    try:
        tree = recipe_of(Path(recipe)) if Path(recipe).is_dir() else yaml.safe_load(recipe_text(recipe))
    except yaml.YAMLError as error:
        raise RecipeError(f"{recipe}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise RecipeError(f"{recipe}: a recipe is a mapping of keys; see `modalign init`")
    tree, rest = lay_size(tree, overrides or [], str(recipe))
    for one in rest:
        override(tree, one)
    return parse_recipe(tree, str(recipe))


def parse_recipe(tree: dict[str, Any], where: str = "recipe") -> Recipe:
    """Validate a recipe given as a mapping.

    Raises:
        RecipeError: every problem, a line each.
    """
    return parse_section(Recipe, tree, where)


S = TypeVar("S", bound=Section)


def parse_section(kind: type[S], tree: dict[str, Any], where: str) -> S:
    """Validate a config of any kind given as a mapping.

    Args:
        kind: a subclass of `Section`.
        tree: its keys.
        where: what errors call it.

    Raises:
        RecipeError: every problem, a line each.
    """
    try:
        return kind(**tree)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                message = f"no such key; {suggest(str(problem['loc'][-1]), _keys_at(kind, problem['loc'][:-1]))}"
            elif problem["type"] not in {"missing", "value_error"}:
                message = f"{message} (given: {problem['input']!r})"
            lines.append(f"{where}: {key}: {message}" if key else f"{where}: {message}")
        raise RecipeError("\n".join(lines)) from None
    except TypeError as error:
        raise RecipeError(f"{where}: {error}") from None


def _keys_at(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    model = kind
    names: dict[str, type[BaseModel]] = {
        "towers": TowerConfig,
        "projection": ProjectionConfig,
        "lora": LoraOptions,
        "adapter": AdapterConfig,
        "pairs": Pair,
    }
    names |= {"temperature": TemperatureConfig, "loss": LossConfig, "plus": LossTerm, "training": TrainingConfig}
    for part in location:
        known = model.model_fields.get(str(part))
        own = known.annotation if known else None
        model = own if isinstance(own, type) and issubclass(own, BaseModel) else names.get(str(part), model)
    return list(model.model_fields)
