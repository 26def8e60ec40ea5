"""Overrides from the command line: `key.key=value`, put into a tree of mappings."""

from __future__ import annotations

from typing import Any

import yaml

from modalign.errors import RecipeError


def override(tree: dict[str, Any], said: str) -> None:
    """Put `key.key=value` (a YAML value) into a tree of mappings.

    Raises:
        RecipeError: it is not written so, or a key on the way is no mapping.
    """
    key, equals, value = said.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {said!r}: write it as key.key=value, for example training.epochs=3")
    node: Any = tree
    *path, last = key.strip().split(".")
    for part in path:
        node = node.setdefault(part, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise RecipeError(f"--set {said!r}: {part!r} is not a mapping in this recipe")
    try:
        node[last] = _scalar(value)
    except yaml.YAMLError:
        raise RecipeError(f"--set {said!r}: the value is not valid YAML") from None


def _scalar(value: str) -> Any:
    parsed = yaml.safe_load(value)
    if isinstance(parsed, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(parsed)
        except ValueError:
            return parsed
    return parsed
