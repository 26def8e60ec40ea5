"""The registry of losses: one signature, one file each.

A loss is a function `loss(x, y, scale, groups=None, **options) -> scalar`:
x, y (B, d) unit rows of two towers, scale = 1 / temperature (scalar), groups (B, K) int64 or None: rows i and j are
positives of each other where they agree in any of the K columns (the same caption, the same recording).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from modalign.errors import RecipeError, suggest


class PairLoss(Protocol):
    """What a registered loss looks like when its options are bound."""

    def __call__(self, x: Tensor, y: Tensor, scale: Tensor, groups: Tensor | None = None) -> Tensor: ...


_losses: dict[str, Callable[..., Tensor]] = {}


def register_loss(name: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Decorator that makes a loss known by `name`."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if name in _losses:
            raise ValueError(f"the loss {name!r} is already registered")
        _losses[name] = function
        return function

    return register


def list_losses() -> list[str]:
    """Names of all registered losses."""
    return sorted(_losses)


def get_loss(name: str, options: Mapping[str, Any] | None = None) -> PairLoss:
    """A loss by name, its options bound.

    Raises:
        RecipeError: the name or an option is not known.
    """
    if name not in _losses:
        raise RecipeError(f"loss.name: no loss {name!r}; {suggest(name, _losses)}")
    known = [p for p in inspect.signature(_losses[name]).parameters if p not in {"x", "y", "scale", "groups"}]
    for option in options or {}:
        if option not in known:
            raise RecipeError(f"loss.options: {name!r} has no option {option!r}; {suggest(option, known)}")
    return partial(_losses[name], **(options or {}))
