"""The greedy keeper: the first item stays, what is near it goes, and so on with what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

Distance = Callable[[int, Sequence[int]], Tensor]
"""(item, others) -> (len(others),) how far the item is from each of the others."""


def greedy_keep(count: int, distance: Distance, threshold: float) -> list[int]:
    """Which of `count` items are kept: the first that is left stays, and later ones at `threshold` or nearer go.

    Every item that goes is within `threshold` of one that stays, and all that stay are further apart than it. Which
    ones stay depends on the order. Source: Less is More (Wolfda95/Less_is_More), `Hash_*.py`.

    Args:
        count: how many items there are.
        distance: see `Distance`; equal items have 0.
        threshold: in the distance's unit; below 0 all are kept.

    Example:
        >>> import torch
        >>> places = torch.tensor([0.0, 0.4, 1.1, 1.2, 5.0])
        >>> greedy_keep(5, lambda i, others: (places[others] - places[i]).abs(), 1.0)
        [0, 2, 4]
    """
    left, kept = list(range(count)), []
    while left:
        first, *others = left
        kept.append(first)
        apart = distance(first, others).tolist() if others else []
        left = [item for item, far in zip(others, apart) if far > threshold]
    return kept
