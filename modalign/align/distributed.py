"""Losses over the rows of every process.

Each process holds some rows. A loss over all of them is made of *shares*: what each process computes of its own rows,
the shares' sum being the loss. Its value is summed (`sum_over_processes`), its gradient is not: each process
differentiates its own share, and what a share owes to another process's rows goes there in the backward pass of
`gather_rows`. So a process's rows get the whole gradient of the global loss, and the gradients of a parameter that all
processes have (the temperature, the towers) sum to the whole one over the processes.

Every function here is a collective: all processes call it, in the same order, and run backward. One without rows
gives tensors of no rows that require a gradient where the others' do. Without a process group they do nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

_alone: ContextVar[bool] = ContextVar("alone", default=False)


def processes() -> int:
    """How many processes share the rows; 1 without a process group, and within `alone`."""
    if _alone.get() or not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()


@contextmanager
def alone() -> Iterator[None]:
    """Within it a loss is that of this process's rows only: for a split that each process evaluates whole.

    Example:
        >>> with alone():
        ...     processes()
        1
    """
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def row_counts(rows: int, device: torch.device) -> list[int]:
    """Rows of each process. Waits for the device, where there are several: they say how much memory is needed."""
    return [rows] if processes() == 1 else [int(n) for (n,) in _gather_numbers([rows], device)]


def own_rows(counts: Sequence[int]) -> slice:
    """This process's part of all rows."""
    rank = 0 if processes() == 1 else dist.get_rank()
    start = sum(counts[:rank])
    return slice(start, start + counts[rank])


def gather_rows(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """(n, ...) rows of this process -> (N, ...) rows of all, in the order of the processes; with gradient.

    Args:
        rows: this process's; n may differ between processes, and be 0.
        counts: rows of each process (`row_counts`).
    """
    if processes() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows, counts)
    return gathered


def sum_over_processes(share: Tensor) -> Tensor:
    """The sum of all processes' shares, whose gradient is that of this process's own share."""
    if processes() == 1:
        return share
    total: Tensor = _Sum.apply(share)
    return total


@dataclass(frozen=True)
class Columns:
    """All processes' rows of one tower.

    Attributes:
        values: (N, d).
        groups: (N, K) ids or None.
        own: this process's part of them.
        counts: rows of each process.
    """

    values: Tensor
    groups: Tensor | None
    own: slice
    counts: list[int]


def gather_columns(values: Tensor, groups: Tensor | None) -> Columns:
    """Gather a tower's rows and their groups.

    Args:
        values: (n, d) this process's rows.
        groups: (n, K) ids, equal across processes where the items are; None: every row is its own only positive.

    Raises:
        ValueError: some processes give groups and others do not, or not as many columns.
    """
    if processes() == 1:
        return Columns(values, groups, slice(0, len(values)), [len(values)])
    columns = -1 if groups is None else groups.shape[1]
    numbers = _gather_numbers([len(values), columns], values.device)
    counts = [n for n, _ in numbers]
    if len({k for _, k in numbers}) > 1:
        raise ValueError(
            f"columns of groups by process: {[max(k, 0) for _, k in numbers]}; every process gives the same, or none"
        )
    gathered = None if groups is None else gather_rows(groups, counts)
    return Columns(gather_rows(values, counts), gathered, own_rows(counts), counts)


ROWS = ("x", "y", "views", "groups", "rows", "hard", "hard_mask", "parts", "parts_mask")
"""The parameters of a loss that have one row an item."""


def over_all_rows(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a loss that is a plain function of a batch's rows one of all processes' rows.

    Each process gathers them all and computes the whole loss, so it costs each what it would cost one. What the loss
    draws at random may differ between the processes: the result is the mean. Where no process has a row it is 0.

    Args:
        loss: a function or module with parameters named as in `ROWS`; the others (scale, options) are passed on.

    Example:
        >>> import torch
        >>> mean = over_all_rows(lambda x, scale: scale * x.mean())
        >>> mean(x=torch.ones(2, 3), scale=torch.tensor(2.0)).item()
        2.0
    """
    parameters = inspect.signature(loss.forward if isinstance(loss, torch.nn.Module) else loss)

    @functools.wraps(loss)
    def over_all(*args: Any, **kwargs: Any) -> Tensor:
        if processes() == 1:
            return loss(*args, **kwargs)
        given = parameters.bind(*args, **kwargs)
        first = next(_first(given.arguments[name]) for name in ROWS if given.arguments.get(name) is not None)
        counts = row_counts(len(first), first.device)
        for name in ROWS:
            if given.arguments.get(name) is not None:
                given.arguments[name] = _gather_each(given.arguments[name], counts)
        if not sum(counts):
            floats = [v for v in given.arguments.values() if isinstance(v, Tensor) and v.is_floating_point()]
            return sum((v.sum() for v in floats), first.new_zeros(())) * 0.0
        return sum_over_processes(loss(*given.args, **given.kwargs) / len(counts))

    return over_all


def _first(given: Tensor | Sequence[Tensor]) -> Tensor:
    return given if isinstance(given, Tensor) else given[0]


def _gather_each(given: Tensor | Sequence[Tensor], counts: Sequence[int]) -> Any:
    if isinstance(given, Tensor):
        return gather_rows(given, counts)
    return tuple(gather_rows(view, counts) for view in given)


def _gather_numbers(numbers: Sequence[int], device: torch.device) -> list[list[int]]:
    own = torch.tensor(numbers, device=device)
    everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, own)
    return [list(map(int, given)) for given in torch.stack(everyone).tolist()]


class _Gather(torch.autograd.Function):
    """Filled up to the longest, since not every backend gathers unequal tensors."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: Sequence[int]) -> Tensor:
        ctx.own = own_rows(counts)
        filled = rows.new_zeros(max(counts), *rows.shape[1:])
        filled[: len(rows)] = rows
        everyone = [torch.empty_like(filled) for _ in counts]
        dist.all_gather(everyone, filled)
        return torch.cat([given[:n] for given, n in zip(everyone, counts)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own], None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor) -> Tensor:
        total = share.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad
