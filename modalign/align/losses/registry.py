"""The registry of losses: one signature, one file each.

A loss is a function, or an `nn.Module` class where it keeps a state or weights of its own. It asks for what it needs
**by parameter name**, among the fields of `LossInputs`; its other parameters (of the constructor, for a class) are its
options. One that asks for `x` and `y` contrasts the two towers of a pair; one that asks for `views` takes two or more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from modalign.align.distributed import alone
from modalign.errors import RecipeError, suggest


@dataclass(frozen=True)
class LossInputs:
    """What a loss may ask for.

    Attributes:
        views: two or more (B, d) unit rows; row i of each is of the same recording. `x` and `y` are the first two.
        scale: 1 / temperature, a scalar.
        bias: of the logits, a scalar, or None.
        groups: (B, K) int64 or None: rows that agree in any column hold the same item (positives of each other).
        rows: (B,) positions in the training rows, for losses that keep a state by sample.
        progress: share of the training that is done, 0 to 1.
        hard: (B, K, d) rows of hard negative captions of y's, and `hard_mask` (B, K) True where there is one.
        parts: (B, P, d) rows of further true captions of y's, and `parts_mask` (B, P) likewise.
        names: the views' towers.
        features: (B, width) of each view, its encoder's pooled features before the projection; not by micro-batch.
    """

    views: tuple[Tensor, ...]
    scale: Tensor
    bias: Tensor | None = None
    groups: Tensor | None = None
    rows: Tensor | None = None
    progress: float = 0.0
    hard: Tensor | None = None
    hard_mask: Tensor | None = None
    parts: Tensor | None = None
    parts_mask: Tensor | None = None
    names: tuple[str, ...] = ()
    features: tuple[Tensor, ...] = ()

    @property
    def x(self) -> Tensor:
        """(B, d), the first view."""
        return self.views[0]

    @property
    def y(self) -> Tensor:
        """(B, d), the second view."""
        return self.views[1]


ASKED = ("x", "y", *(field.name for field in fields(LossInputs)))
"""What a loss is given at each step; its other parameters are options."""
ALWAYS = {"x", "y", "views", "scale", "bias", "groups", "names"}
"""What there is for any rows, those of val too; what asks for more is for training alone."""

Made = TypeVar("Made", bound=Callable[..., Any])


class Training(Protocol):
    """What a loss that keeps a state may know of the training, for the pair of towers `names`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The towers."""
        ...

    @property
    def dim(self) -> int:
        """Size of the shared space."""
        ...

    @property
    def widths(self) -> Mapping[str, int]:
        """Tower -> width of its pooled features."""
        ...

    @property
    def size(self) -> int:
        """How many training rows there are."""
        ...

    def embed(self, tower: str, model: str | None = None) -> Tensor:
        """(size, d) unit rows by position in the training rows, without augmentation; zeros where a row has none.

        Args:
            tower: which.
            model: the folder of a saved model that embeds in place of the one that trains.
        """
        ...


class StatefulLoss(nn.Module):
    """A loss that keeps a state or weights; they are saved in checkpoints.

    Attributes:
        by_row: names of the buffers whose first axis is the position in the training rows; a checkpoint keeps the
            rows' ids with them.
    """

    by_row: tuple[str, ...] = ()

    def start(self, training: Training) -> None:
        """Called once, before the first step and before a checkpoint is loaded: make the buffers and weights."""

    def epoch(self, training: Training) -> None:
        """Called before each epoch."""

    def clamp_(self) -> None:
        """Called after each update: put weights back inside their bounds."""


@dataclass(frozen=True)
class _Entry:
    make: Callable[..., Any]
    distributed: bool
    least_views: int
    most_rows: int | None


_losses: dict[str, _Entry] = {}


def register_loss(
    name: str, distributed: bool = False, least_views: int = 2, most_rows: int | None = None
) -> Callable[[Made], Made]:
    """Decorator that makes a loss known by `name`.

    Args:
        name: what recipes call it.
        distributed: whether it is right across processes: given this process's rows, it returns the loss of all rows
            (the same value everywhere), whose gradient with respect to these rows is that of the whole.
        least_views: how many views it needs; rows that have fewer are left out.
        most_rows: how many rows it takes at a time where val is evaluated; None: any number.
    """

    def register(made: Made) -> Made:
        if name in _losses:
            raise ValueError(f"the loss {name!r} is already registered")
        _losses[name] = _Entry(made, distributed, least_views, most_rows)
        return made

    return register


def list_losses() -> list[str]:
    """Names of all registered losses."""
    return sorted(_losses)


def distributed_losses() -> list[str]:
    """Names of those that are right across processes."""
    return [name for name in list_losses() if _losses[name].distributed]


class Loss(nn.Module):
    """A loss with its options bound.

    Attributes:
        name: as registered.
        needs: the fields of `LossInputs` that it asks for.
        distributed: whether it is right across processes.
        least_views, most_rows: as registered.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        entry = _losses[name]
        self.name, self.distributed, self.least_views = name, entry.distributed, entry.least_views
        self.most_rows = entry.most_rows
        is_class = inspect.isclass(entry.make)
        asked = entry.make.forward if is_class else entry.make  # type: ignore[attr-defined]
        self.needs = frozenset(inspect.signature(asked).parameters) & frozenset(ASKED)
        self.state: StatefulLoss | None = entry.make(**options) if is_class else None
        self._function: Callable[..., Tensor] | None = None if is_class else partial(entry.make, **options)

    @property
    def any_number(self) -> bool:
        """Whether it takes two or more views, and not a pair."""
        return "views" in self.needs

    @property
    def anywhere(self) -> bool:
        """Whether it can be computed of any rows, and not only while training."""
        return self.state is None and self.needs <= ALWAYS

    def forward(self, inputs: LossInputs) -> Tensor:
        """The loss, computed in float32 at least, whatever autocast says."""
        with torch.autocast(inputs.x.device.type, enabled=False):
            raised = in_float32(inputs)
            call = self._function or self.state
            assert call is not None
            value: Tensor = call(**{name: getattr(raised, name) for name in self.needs})
        return value


def in_float32(inputs: LossInputs) -> LossInputs:
    """Half precision is too coarse for sums of exponentials; single and double stay as they are."""

    def up(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(up(v) for v in value)
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.to(torch.promote_types(value.dtype, torch.float32))
        return value

    return replace(inputs, **{field.name: up(getattr(inputs, field.name)) for field in fields(inputs)})


def get_loss(name: str, options: Mapping[str, Any] | None = None, has_bias: bool = False) -> Loss:
    """A loss by name, its options bound.

    Args:
        name: as registered.
        options: the loss's own.
        has_bias: whether the model has a bias of the logits.

    Raises:
        RecipeError: the name or an option is not known, or the model lacks the bias that it adds.
    """
    if name not in _losses:
        raise RecipeError(f"loss.name: no loss {name!r}; {suggest(name, _losses)}")
    known = [p for p in inspect.signature(_losses[name].make).parameters if p not in ASKED]
    for option in options or {}:
        if option not in known:
            raise RecipeError(f"loss.options: {name!r} has no option {option!r}; {suggest(option, known)}")
    loss = Loss(name, options or {})
    if "bias" in loss.needs and not has_bias:
        raise RecipeError(f"loss.name: {name!r} adds a bias to the logits; set temperature.bias, for example to -10")
    _try(loss)
    return loss


def _try(loss: Loss) -> None:
    """Refuse options that no batch could be computed with before anything heavy starts."""
    if not loss.needs <= ALWAYS | {"progress"} or loss.state is not None:
        return  # its constructor checks them, or it is for training alone
    generator = torch.Generator().manual_seed(0)
    views = tuple(normalize(torch.randn(4, 8, generator=generator), dim=1) for _ in range(max(loss.least_views, 2)))
    with torch.random.fork_rng(devices=[]), alone():
        for progress in (0.0, 1.0) if "progress" in loss.needs else (0.0,):
            value = loss(LossInputs(views, torch.tensor(2.0), torch.tensor(0.0), progress=progress))
            if not torch.isfinite(value):
                raise RecipeError(f"loss.options: {loss.name!r} gives {value.item()} with these options")
