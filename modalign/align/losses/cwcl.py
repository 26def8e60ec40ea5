"""Continuously weighted contrastive loss: the trusted tower says how alike two items are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from modalign.align.distributed import gather_columns, gather_rows, sum_over_processes
from modalign.align.losses.positives import Positives
from modalign.align.losses.registry import register_loss
from modalign.align.losses.tiles import surprise
from modalign.errors import RecipeError


@register_loss("cwcl", distributed=True)
def cwcl(x: Tensor, y: Tensor, scale: Tensor, groups: Tensor | None = None, trusted: Literal["x", "y"] = "x") -> Tensor:
    """`-(1/B) sum_ij (w_ij / sum_k w_ik) log softmax_j(scale * p_i . q_j)` plus the ordinary loss of q finding its p.

    p are the rows of the trusted tower, commonly a frozen one, `w_ij = (1 + p_i . p_j) / 2` a constant; q those of the
    other. The two directions are added, not averaged. Written after the formula of Srinivasa et al. 2023 as recalled;
    the authors' code was not found, and a public re-implementation (CellCLIP) agrees with it. The weights are linear in
    p_j, so their sums over j need no matrix of all pairs; the rest is computed tile by tile (`tiles.py`), and all of
    it over the rows of all processes.

    Args:
        x: (B, d) unit rows.
        y: (B, d) unit rows, row i paired with x's row i.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids, positives of the ordinary direction (the weights say it in the other); None: every row is
            its own only positive.
        trusted: the tower whose similarities are the weights.

    Example:
        >>> import torch
        >>> two = torch.tensor([[1.0], [-1.0]])                              # w is the identity: CLIP's sum
        >>> round(cwcl(two, two, torch.tensor(1.0)).item(), 6)               # 2 ln(1 + exp(-2))
        0.253856

    Raises:
        RecipeError: trusted is neither x nor y.
    """
    if trusted not in ("x", "y"):
        raise RecipeError(f"loss.options.trusted: {trusted!r} is not one of x, y")
    p, q = (x, y) if trusted == "x" else (y, x)
    columns = gather_columns(q, groups)
    of_p, of_q = surprise(p, columns.values, scale, columns.own.start)
    # sum_j w_ij q_j = (sum_j q_j + (sum_j q_j p_j^T) p_i) / 2, and sum_j w_ij = (B + p_i . sum_j p_j) / 2
    fixed = p.detach()
    everyone = gather_rows(fixed, columns.counts)
    weighted = columns.values.sum(0) + fixed @ (everyone.T @ columns.values)
    alike = weighted / (len(everyone) + fixed @ everyone.sum(0)).unsqueeze(1)
    targets = alike - q  # that is of the own columns
    if columns.groups is not None:
        targets = targets + Positives(columns.groups).dealt(columns.values, columns.own) - q
    each = of_p + of_q - scale * torch.linalg.vecdot(p, targets)
    return sum_over_processes(each.sum() / max(len(everyone), 1))
