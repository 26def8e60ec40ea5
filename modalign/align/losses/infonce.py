"""Symmetric InfoNCE, with equal items as positives of each other."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.align.losses.registry import register_loss
from modalign.errors import RecipeError

Direction = Literal["both", "x2y", "y2x"]


def positives_of(groups: Tensor) -> Tensor:
    """(B, K) group ids -> (B, B) bool: True where two rows agree in any column, so always on the diagonal."""
    return (groups.unsqueeze(1) == groups.unsqueeze(0)).any(-1)


@register_loss("infonce")
def infonce(x: Tensor, y: Tensor, scale: Tensor, groups: Tensor | None = None, direction: Direction = "both") -> Tensor:
    """Mean over the two directions of `-(1/|P_i|) sum_{j in P_i} log softmax_j(scale * x_i . y_j)`.

    P_i are the columns that hold the same item as row i; the duplicates stay in the denominator. Without duplicates it
    is the CLIP loss (Radford et al. 2021; van den Oord et al. 2018). Computed in float32 at least.

    Args:
        x: (B, d) unit rows.
        y: (B, d) unit rows, row i paired with x's row i.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids; None: every row is its own only positive.
        direction: "both", "x2y" (each x finds its y) or "y2x".

    Example:
        >>> import torch
        >>> eye = torch.eye(3)
        >>> round(infonce(eye, eye, torch.tensor(2.0)).item(), 6)            # ln(1 + 2 exp(-2))
        0.239545

    Raises:
        RecipeError: direction is not known.
    """
    if direction not in ("both", "x2y", "y2x"):
        raise RecipeError(f"loss.options.direction: {direction!r} is not one of both, x2y, y2x")
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        logits = scale.to(dtype) * (x.to(dtype) @ y.to(dtype).T)
        positives = None if groups is None else positives_of(groups)
        losses = []
        if direction != "y2x":
            losses.append(_rows(logits, positives))
        if direction != "x2y":
            losses.append(_rows(logits.T, positives))
        return torch.stack(losses).mean()


def _rows(logits: Tensor, positives: Tensor | None) -> Tensor:
    if positives is None:
        return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
    log_p = logits.log_softmax(1)
    return -(log_p.masked_fill(~positives, 0).sum(1) / positives.sum(1)).mean()
