"""Symile: contrast of three views or more by their multilinear inner product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modalign.align.losses.registry import register_loss
from modalign.align.losses.targets import own_cross_entropy, same_item
from modalign.errors import RecipeError

MOST_PRODUCTS = 1 << 28
"""How many logits of one anchor are made at most."""


@register_loss("symile", least_views=3, most_rows=512)
def symile(
    views: Sequence[Tensor], scale: Tensor, groups: Tensor | None = None, negatives: str = "n_squared"
) -> Tensor:
    """Each view is the anchor in turn: cross-entropy of `scale * sum_d a_d b_d c_d` over combinations of the others.

    Saporta et al. 2024, by their public code. It sees what only all views together tell, unlike a sum over pairs. Rows
    that lack a view are left out.

    Args:
        views: three or more (B, d) unit rows.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids; other combinations of rows that hold the anchor's item are no negatives.
        negatives: "n_squared": all combinations of the others' rows (B^2 for three views). "n": B combinations, the
            others shuffled independently of each other, and the true one.

    Raises:
        RecipeError: fewer than three views, more combinations than memory holds, or `negatives` that are not known.
    """
    if len(views) < 3:
        raise RecipeError(f"loss.name: symile contrasts three views or more, not {len(views)}; use infonce for a pair")
    if negatives not in ("n_squared", "n"):
        raise RecipeError(f"loss.options.negatives: {negatives!r} is not one of n_squared, n")
    rows, alike = len(views[0]), same_item(groups, views[0])
    if negatives == "n_squared" and rows ** len(views) > MOST_PRODUCTS:
        raise RecipeError(
            f"loss.options.negatives: n_squared makes {rows}^{len(views)} logits; set negatives: n, or a smaller batch"
        )
    losses = []
    for k, anchor in enumerate(views):
        others = [view for m, view in enumerate(views) if m != k]
        if negatives == "n":
            orders = [torch.arange(rows, device=anchor.device)]
            orders += [torch.randperm(rows, device=anchor.device) for _ in others[1:]]
            combined = _product([view[order] for view, order in zip(others, orders)])
            true = (anchor * _product(others)).sum(1)
            taken = torch.stack([alike[:, order] for order in orders]).all(0)  # the anchor's own item throughout
            logits = (anchor @ combined.T).masked_fill(taken, -torch.inf)
            itself = torch.eye(rows, dtype=torch.bool, device=anchor.device)
            losses.append(own_cross_entropy(scale * torch.where(itself, true.unsqueeze(1), logits)))
            continue
        combined, taken = others[0], alike
        true_at = torch.arange(rows, device=anchor.device)
        for view in others[1:]:
            combined = (combined.unsqueeze(1) * view).flatten(0, 1)
            taken = (taken.unsqueeze(2) & alike.unsqueeze(1)).flatten(1)
            true_at = true_at * rows + torch.arange(rows, device=anchor.device)
        logits = scale * anchor @ combined.T
        own = logits.gather(1, true_at.unsqueeze(1))
        losses.append((torch.cat([own, logits.masked_fill(taken, -torch.inf)], 1).logsumexp(1) - own.squeeze(1)).mean())
    return torch.stack(losses).mean()


def _product(views: Sequence[Tensor]) -> Tensor:
    combined = views[0]
    for view in views[1:]:
        combined = combined * view
    return combined
