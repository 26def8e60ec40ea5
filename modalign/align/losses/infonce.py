"""Symmetric InfoNCE, with equal items as positives of each other."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from modalign.align.distributed import gather_columns, sum_over_processes
from modalign.align.losses.positives import Positives
from modalign.align.losses.registry import register_loss
from modalign.align.losses.targets import check_direction
from modalign.align.losses.tiles import surprise
from modalign.errors import RecipeError

Direction = Literal["both", "x2y", "y2x"]


@register_loss("infonce", distributed=True)
def infonce(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    groups: Tensor | None = None,
    direction: Direction = "both",
    smoothing: float = 0.0,
) -> Tensor:
    """Mean over the two directions of `-(1/|P_i|) sum_{j in P_i} log softmax_j(scale * x_i . y_j)`.

    P_i are the columns that hold the same item as row i; the duplicates stay in the denominator. Without duplicates it
    is the CLIP loss (Radford et al. 2021; van den Oord et al. 2018). Computed tile by tile (`tiles.py`), and over the
    rows of all processes.

    Args:
        x: (B, d) unit rows.
        y: (B, d) unit rows, row i paired with x's row i.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids; None: every row is its own only positive.
        direction: "both", "x2y" (each x finds its y) or "y2x".
        smoothing: share of each target that is spread evenly over all columns, in [0, 1]
            (Szegedy et al. 2016; as in torch's `cross_entropy`).

    Example:
        >>> import torch
        >>> eye = torch.eye(3)
        >>> round(infonce(eye, eye, torch.tensor(2.0)).item(), 6)            # ln(1 + 2 exp(-2))
        0.239545

    Raises:
        RecipeError: direction is not known, or smoothing is no share.
    """
    check_direction(direction)
    if not 0 <= smoothing <= 1:
        raise RecipeError(f"loss.options.smoothing: {smoothing!r} is not in [0, 1]")
    by_x, by_y = direction != "y2x", direction != "x2y"
    columns = gather_columns(y, groups)
    of_x, of_y = surprise(x, columns.values, scale, columns.own.start, rows=by_x, columns=by_y)
    each = (of_x + of_y) / (by_x + by_y)
    rows = max(len(columns.values), 1)
    # That is of the own columns. What the targets weigh is linear in the logits: one product with their mean.
    targets = y
    if columns.groups is not None:
        positives = Positives(columns.groups)
        found = [positives.means(columns.values, columns.own)] if by_x else []
        found += [positives.dealt(columns.values, columns.own)] if by_y else []
        targets = torch.stack(found).mean(0)
    if smoothing:
        targets = torch.lerp(targets, columns.values.sum(0) / rows, smoothing)
    if targets is not y:
        each = each - scale * torch.linalg.vecdot(x, targets - y)
    return sum_over_processes(each.sum() / rows)
