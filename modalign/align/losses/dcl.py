"""Decoupled contrastive learning: the positive is left out of the denominator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from modalign.align.distributed import over_all_rows
from modalign.align.losses.registry import register_loss
from modalign.align.losses.targets import needs_two, same_item, ways


@register_loss("dcl", distributed=True)
@over_all_rows
def dcl(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    groups: Tensor | None = None,
    direction: str = "both",
    intra_negatives: bool = True,
) -> Tensor:
    """Mean over the directions of `mean_i(-s x_i.y_i + ln sum_{j not P_i} [e^{s x_i.y_j} + e^{s x_i.x_j}])`.

    Yeh et al. 2022, by a public re-implementation. P_i are the rows that hold the same item as row i; a row without any
    negative is left out of the mean. By item, InfoNCE with the same negatives is the softplus of this.

    Args:
        x: (B, d) unit rows.
        y: (B, d) unit rows, row i paired with x's row i.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids of the items.
        direction: "both", "x2y" or "y2x".
        intra_negatives: negatives of the own tower too, as published; False for CLIP's alone.

    Example:
        >>> round(dcl(torch.eye(2), torch.eye(2), torch.tensor(2.0)).item(), 6)       # ln 2 - 2
        -1.306853

    Raises:
        RecipeError: one row, or a direction that is not known.
    """
    return _decoupled("dcl", x, y, scale, groups, direction, intra_negatives, torch.ones_like)


@register_loss("dclw", distributed=True)
@over_all_rows
def dclw(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    groups: Tensor | None = None,
    direction: str = "both",
    intra_negatives: bool = True,
    sigma: float = 0.5,
) -> Tensor:
    """`dcl` with each positive weighted by `2 - B softmax_i(x_i.y_i / sigma)`: harder ones count for more.

    The weights sum to B, and take no gradient.

    Args:
        x, y, scale, groups, direction, intra_negatives: as of `dcl`.
        sigma: of the weights.

    Raises:
        RecipeError: one row, or a direction that is not known.
    """
    return _decoupled(
        "dclw",
        x,
        y,
        scale,
        groups,
        direction,
        intra_negatives,
        lambda positive: 2 - len(positive) * (positive.detach() / sigma).softmax(0),
    )


def _decoupled(
    name: str,
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    groups: Tensor | None,
    direction: str,
    intra_negatives: bool,
    weights: Callable[[Tensor], Tensor],
) -> Tensor:
    needs_two(name, x)
    same = same_item(groups, x)
    has = ~same.all(1)
    positive = (x * y).sum(1)
    losses = []
    for own, other in ways(x, y, direction):
        negatives = [scale * own @ other.T] + ([scale * own @ own.T] if intra_negatives else [])
        masked = torch.cat([n.masked_fill(same, -torch.inf) for n in negatives], 1)
        masked = masked.masked_fill(~has.unsqueeze(1), 0)  # a row without negatives: finite, and then left out
        each = masked.logsumexp(1) - weights(positive) * scale * positive
        losses.append(torch.where(has, each, 0).sum() / has.sum().clamp_min(1))
    return torch.stack(losses).mean()
