"""What the dense losses share: which rows hold the same item, and cross-entropy against soft targets."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.errors import RecipeError

T = TypeVar("T")


def same_item(groups: Tensor | None, like: Tensor) -> Tensor:
    """(B, B) bool: True where two rows hold the same item, so always on the diagonal.

    Args:
        groups: (B, K) ids, rows that agree in any column hold the same; None: none does.
        like: (B, ...) for the number of rows and the device.
    """
    if groups is None:
        return torch.eye(len(like), dtype=torch.bool, device=like.device)
    return (groups.unsqueeze(1) == groups.unsqueeze(0)).any(-1)


def shares(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask (B, C) as targets: each row's True columns share 1 evenly; a row without any gets zeros."""
    return mask.to(dtype) / mask.sum(1, keepdim=True).clamp_min(1)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of `-sum_j targets_ij log softmax_j(logits)_ij`; logits of -inf are no columns at all.

    Args:
        logits: (B, C).
        targets: (B, C), each row summing to 1; 0 where logits are -inf.
    """
    return -(logits.log_softmax(1).masked_fill(targets == 0, 0) * targets).sum(1).mean()


def own_cross_entropy(logits: Tensor) -> Tensor:
    """Mean over rows i of `-log softmax_i(logits_i)`: row i's column is column i."""
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def check_direction(direction: str) -> None:
    """Refuse a direction that is not one.

    Raises:
        RecipeError: it is none of "both", "x2y" and "y2x".
    """
    if direction not in ("both", "x2y", "y2x"):
        raise RecipeError(f"loss.options.direction: {direction!r} is not one of both, x2y, y2x")


def ways(x: T, y: T, direction: str) -> list[tuple[T, T]]:
    """(from, to) of the directions that count.

    Example:
        >>> ways("x", "y", "both")
        [('x', 'y'), ('y', 'x')]

    Raises:
        RecipeError: the direction is not known.
    """
    check_direction(direction)
    return [way for name, way in (("x2y", (x, y)), ("y2x", (y, x))) if direction in (name, "both")]


def needs_two(loss: str, x: Tensor) -> None:
    """Refuse a single row where a loss is a mean over other rows.

    Raises:
        RecipeError: one row.
    """
    if len(x) < 2:
        raise RecipeError(
            f"loss.name: {loss!r} compares different rows, and this batch has {len(x)}; use larger batches"
        )
