"""The registry of losses: one signature, one file each.

A loss is a function `loss(x, y, scale, groups=None, **options) -> scalar`:
x, y (B, d) unit rows of two towers, scale = 1 / temperature (scalar), groups (B, K) int64 or None: rows i and j are
positives of each other where they agree in any of the K columns (the same caption, the same recording). One that has
a parameter `bias` (scalar, added to the logits) is given the model's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from modalign.errors import RecipeError, suggest


class PairLoss(Protocol):
    """What a registered loss looks like when its options are bound."""

    def __call__(
        self, x: Tensor, y: Tensor, scale: Tensor, groups: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor: ...


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


STATE = ("x", "y", "scale", "groups", "bias")
"""What a loss is given at each step; its other parameters are options."""


def get_loss(name: str, options: Mapping[str, Any] | None = None, has_bias: bool = False) -> PairLoss:
    """A loss by name, its options bound.

    Args:
        name: as registered.
        options: the loss's own.
        has_bias: whether the model has a bias of the logits.

    Raises:
        RecipeError: the name or an option is not known, or the model lacks the bias, or has one in vain.
    """
    if name not in _losses:
        raise RecipeError(f"loss.name: no loss {name!r}; {suggest(name, _losses)}")
    function, bound = _losses[name], dict(options or {})
    parameters = inspect.signature(function).parameters
    known = [p for p in parameters if p not in STATE]
    for option in options or {}:
        if option not in known:
            raise RecipeError(f"loss.options: {name!r} has no option {option!r}; {suggest(option, known)}")
    takes_bias = "bias" in parameters
    if takes_bias and not has_bias:
        raise RecipeError(f"loss.name: {name!r} adds a bias to the logits; set temperature.bias, for example to -10")
    if has_bias and not takes_bias:
        raise RecipeError(f"temperature.bias: the loss {name!r} adds none to the logits; leave it out")

    def loss(x: Tensor, y: Tensor, scale: Tensor, groups: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        state = {"bias": bias} if takes_bias else {}
        return function(x, y, scale, groups, **state, **bound)

    return loss
