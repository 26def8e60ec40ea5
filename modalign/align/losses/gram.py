"""GRAM: contrast by the volume that the views of a recording span."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modalign.align.losses.registry import register_loss
from modalign.align.losses.targets import same_item, shares, soft_cross_entropy
from modalign.errors import RecipeError


@register_loss("gram")
def gram(
    views: Sequence[Tensor],
    scale: Tensor,
    groups: Tensor | None = None,
    names: Sequence[str] = (),
    anchor: str = "",
    smoothing: float = 0.0,
) -> Tensor:
    """Mean of the two cross-entropies of `-scale * V(anchor_i, others_j)`, V the volume of the unit vectors' body.

    Cicchetti et al. 2025, by their public code, which smooths the targets by 0.1. A small volume means that all views
    agree, also with each other and not only with the anchor.

    Args:
        views: two or more (B, d) unit rows.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids of the items: equal ones are positives of each other.
        names: the views' towers.
        anchor: the tower that is held against the others; empty, or where rows lack it: the first.
        smoothing: of the targets, in [0, 1).

    Raises:
        RecipeError: smoothing is no share, or fewer dimensions than views, where every volume is 0.
    """
    if not 0 <= smoothing < 1:
        raise RecipeError(f"loss.options.smoothing: {smoothing!r} is not in [0, 1)")
    if views[0].shape[1] < len(views):
        raise RecipeError(f"dim: {views[0].shape[1]} dimensions hold no volume of {len(views)} views; set dim higher")
    at = list(names).index(anchor) if anchor in names else 0
    logits = -scale * volumes(views[at], [view for k, view in enumerate(views) if k != at])
    targets = shares(same_item(groups, views[0]), logits.dtype)
    targets = (1 - smoothing) * targets + smoothing / len(targets)
    return (soft_cross_entropy(logits, targets) + soft_cross_entropy(logits.T, targets)) / 2


def volumes(anchor: Tensor, others: Sequence[Tensor]) -> Tensor:
    """(B, B): the volume that anchor i and the others' rows j span, the root of the Gram matrix's determinant.

    Args:
        anchor: (B, d) unit rows.
        others: one or more (B, d) unit rows.

    Example:
        >>> eye = torch.eye(3)
        >>> volumes(eye[:1], [eye[1:2], eye[2:]])
        tensor([[1.]])
    """
    rows, n = len(anchor), len(others)
    stacked = torch.stack(tuple(others))
    inner = torch.einsum("lid,mid->ilm", stacked, stacked)  # the others among themselves
    cross = torch.einsum("id,ljd->ijl", anchor, stacked)
    own = (anchor * anchor).sum(1)
    top = torch.cat([own[:, None, None].expand(rows, rows, 1), cross], 2).unsqueeze(2)
    below = torch.cat([cross.unsqueeze(3), inner.unsqueeze(0).expand(rows, rows, n, n)], 3)
    # The gradient of a root is infinite at 0, where views coincide.
    squares: Tensor = torch.linalg.det(torch.cat([top, below], 2))
    return squares.clamp_min(torch.finfo(own.dtype).eps).sqrt()
