"""Contrast over any number of views of the same recordings: MV-InfoNCE and MV-DHEL.

Pakoromilas et al. (2025), by their public code; computed through log-sum-exps. The values are those of that code; the
formulas of its page differ by a constant, or by which similarities a denominator holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modalign.align.losses.registry import register_loss
from modalign.align.losses.targets import needs_two, same_item
from modalign.errors import RecipeError


@register_loss("mv_infonce")
def mv_infonce(
    views: Sequence[Tensor], scale: Tensor, groups: Tensor | None = None, denominator: str = "all"
) -> Tensor:
    """`-mean_i [ln sum_{l != l'} e^{s u_il.u_il'} - ln D_i]`: all views of a row against all other embeddings.

    Args:
        views: N of (B, d) unit rows.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids; other rows that hold the same item are in no denominator.
        denominator: "all": D_i sums over every other embedding. "cross": over the other views' alone.

    Example:
        >>> eye = torch.eye(3)
        >>> round(mv_infonce([eye, eye], torch.tensor(2.0), denominator="cross").item(), 6)  # ln(1 + 2 exp(-2))
        0.239545

    Raises:
        RecipeError: one row, or a denominator that is not known.
    """
    if denominator not in ("all", "cross"):
        raise RecipeError(f"loss.options.denominator: {denominator!r} is not one of all, cross")
    needs_two("mv_infonce", views[0])
    stacked = torch.stack(tuple(views))
    n, rows = stacked.shape[:2]
    alike = same_item(groups, views[0])
    other_view = ~torch.eye(n, dtype=torch.bool, device=stacked.device)
    itself = torch.eye(rows, dtype=torch.bool, device=stacked.device)
    counted = other_view if denominator == "cross" else torch.ones_like(other_view)
    logits = scale * torch.einsum("lid,mjd->limj", stacked, stacked)
    # The other views of the row itself, and every view that counts of the rows that hold another item.
    left = itself[:, None, :] & other_view[:, None, :, None] | ~alike[:, None, :] & counted[:, None, :, None]
    below = logits.masked_fill(~left, -torch.inf).transpose(0, 1).flatten(1).logsumexp(1)
    return (below - _agreement(stacked, scale, other_view)).mean()


@register_loss("mv_dhel")
def mv_dhel(views: Sequence[Tensor], scale: Tensor, groups: Tensor | None = None) -> Tensor:
    """`-mean_i [ln sum_{l < l'} e^{s u_il.u_il'} - sum_l ln sum_{j != i} e^{s u_il.u_jl}]`.

    The views of a row attract each other; each view is spread on its own, so that no negative couples two views. With
    two views it is DHEL.

    Args:
        views: N of (B, d) unit rows.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids; rows that hold the same item do not repel each other.

    Raises:
        RecipeError: one row.
    """
    needs_two("mv_dhel", views[0])
    stacked = torch.stack(tuple(views))
    each_pair = torch.ones(len(stacked), len(stacked), dtype=torch.bool, device=stacked.device).triu(1)
    alike = same_item(groups, views[0])
    has = ~alike.all(1)
    spread = (scale * stacked @ stacked.mT).masked_fill(alike, -torch.inf).masked_fill(~has.unsqueeze(1), 0)
    each = spread.logsumexp(2).sum(0) - _agreement(stacked, scale, each_pair)
    return torch.where(has, each, 0).sum() / has.sum().clamp_min(1)


def _agreement(stacked: Tensor, scale: Tensor, wanted: Tensor) -> Tensor:
    """(B,) log of the sum over the wanted (N, N) pairs of views of `e^{s u_il.u_il'}`."""
    own = scale * torch.einsum("lid,mid->ilm", stacked, stacked)
    return own.masked_fill(~wanted, -torch.inf).flatten(1).logsumexp(1)
