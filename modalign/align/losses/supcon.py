"""Supervised contrastive loss: all rows of a group are positives of each other, in either tower."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from modalign.align.distributed import gather_columns, own_rows, row_counts, sum_over_processes
from modalign.align.losses.infonce import infonce
from modalign.align.losses.positives import Positives
from modalign.align.losses.registry import register_loss
from modalign.align.losses.tiles import log_sum_exp
from modalign.errors import RecipeError


@register_loss("supcon", distributed=True)
def supcon(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    groups: Tensor | None = None,
    form: Literal["stacked", "cross"] = "stacked",
) -> Tensor:
    """`supcon_rows` of the rows of both towers, or the anchors of one against the other's.

    Khosla et al. 2020, L_out, as recalled. Computed tile by tile (`tiles.py`), and over the rows of all processes.
    With `loss.positives: label` in the recipe its groups are the labels, as in the paper.

    Args:
        x: (B, d) unit rows.
        y: (B, d) unit rows, row i paired with x's row i.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids; None: every row's only positive is its pair.
        form: "stacked": the 2 B rows of both towers are each an anchor for all the others. "cross": each row is an
            anchor for the other tower's, which is InfoNCE.

    Example:
        >>> import torch
        >>> eye = torch.eye(2)
        >>> round(supcon(eye, eye, torch.tensor(1.0)).item(), 6)             # ln(e + 2) - 1
        0.551445

    Raises:
        RecipeError: form is not known.
    """
    if form == "cross":
        return infonce(x, y, scale, groups)
    if form != "stacked":
        raise RecipeError(f"loss.options.form: {form!r} is not one of stacked, cross")
    if groups is None:
        own = own_rows(row_counts(len(x), x.device))
        groups = torch.arange(own.start, own.stop, device=x.device).unsqueeze(1)
    return supcon_rows(torch.cat([x, y]), scale, torch.cat([groups, groups]))


def supcon_rows(rows: Tensor, scale: Tensor, groups: Tensor) -> Tensor:
    """Mean over i of `-(1/|P_i|) sum_{p in P_i} log(exp(scale * z_i . z_p) / sum_{a != i} exp(scale * z_i . z_a))`.

    P_i are the others of i's group; rows without one are left out of the mean.

    Args:
        rows: (B, d) unit rows z.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids.
    """
    columns = gather_columns(rows, groups)
    assert columns.groups is not None
    of_rows = log_sum_exp(rows, columns.values, scale, columns.own.start)
    positives = Positives(columns.groups)
    others = (positives.counts - 1).to(rows.dtype)
    own = others[columns.own]
    targets = positives.sums(columns.values, columns.own) - rows
    each = of_rows - scale * torch.linalg.vecdot(rows, targets) / own.clamp(min=1)
    return sum_over_processes(torch.where(own > 0, each, 0.0).sum() / (others > 0).sum().clamp(min=1))
