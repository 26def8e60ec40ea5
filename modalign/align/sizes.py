"""Sizes of a recipe: what is laid over it to train the same system small, for example on a CPU in minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modalign.align.overrides import override
from modalign.errors import RecipeError, suggest

SECTION = "sizes"


def sizes_of(tree: Mapping[str, Any], where: str = "recipe") -> dict[str, dict[str, Any]]:
    """A recipe's section `sizes`: name -> what it changes.

    Raises:
        RecipeError: it is no mapping of mappings.
    """
    sizes = tree.get(SECTION) or {}
    if not isinstance(sizes, dict) or not all(isinstance(change, dict) for change in sizes.values()):
        raise RecipeError(f"{where}: sizes: is a mapping of sizes, as sizes: {{tiny: {{training: {{epochs: 2}}}}}}")
    return {str(name): change for name, change in sizes.items()}


def lay_size(tree: Mapping[str, Any], overrides: Sequence[str], where: str) -> tuple[dict[str, Any], list[str]]:
    """The recipe at the size that it or an override `size=NAME` names, and the overrides that are left.

    Neither `size` nor `sizes` stays in the tree: a saved recipe says what was trained.

    Args:
        tree: a recipe as read, not changed.
        overrides: `key.key=value`; the last `size=` holds.
        where: the recipe's name, for errors.

    Raises:
        RecipeError: no such size; names those that there are.
    """
    sizes, rest = sizes_of(tree, where), []
    laid: dict[str, Any] = {key: value for key, value in tree.items() if key not in (SECTION, "size")}
    said: dict[str, Any] = {"size": tree.get("size")}
    for one in overrides:
        if one.partition("=")[0].strip() == "size":
            override(said, one)
        else:
            rest.append(one)
    name = said["size"]
    if name is None:
        return laid, rest
    if not isinstance(name, str) or name not in sizes:
        known = suggest(str(name), sizes) if sizes else "it has one size; leave it out"
        raise RecipeError(f"{where}: size: no size {name!r}: {known}")
    return lay(laid, sizes[name]), rest


def lay(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """One tree of mappings laid over another: mappings key by key, all else in the other's place; null takes a key out.

    Example:
        >>> lay({"a": {"b": 1, "c": [2, 3]}, "d": 4}, {"a": {"c": [5], "e": 6}, "d": None})
        {'a': {'b': 1, 'c': [5], 'e': 6}}
    """
    laid = dict(under)
    for key, value in over.items():
        if value is None:
            laid.pop(key, None)
        elif isinstance(value, Mapping):
            own = laid.get(key)
            laid[key] = lay(own if isinstance(own, Mapping) else {}, value)
        else:
            laid[key] = value
    return laid
