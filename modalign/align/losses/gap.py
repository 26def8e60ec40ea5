"""The terms that close the modality gap: alignment of the pairs, and uniformity within and across towers.

"It's Not a Modality Gap" (Fahim et al. 2024), after Wang and Isola (2020). CUA is InfoNCE with `uniform` and `align`,
CUAXU is that with `xuniform`; give them as `loss.plus`. `align/diagnostics.py` measures the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modalign.align.distributed import over_all_rows
from modalign.align.losses.registry import register_loss
from modalign.align.losses.targets import needs_two, same_item


@register_loss("align", distributed=True)
@over_all_rows
def align(x: Tensor, y: Tensor) -> Tensor:
    """`mean_i |x_i - y_i|^2`.

    Args:
        x: (B, d) unit rows.
        y: (B, d) unit rows, row i paired with x's row i.

    Example:
        >>> align(torch.eye(2), torch.eye(2)).item()
        0.0
    """
    return (x - y).square().sum(1).mean()


@register_loss("uniform", distributed=True)
@over_all_rows
def uniform(x: Tensor, y: Tensor, groups: Tensor | None = None) -> Tensor:
    """Mean over the two towers of `ln mean_{i<j} exp(-2 |x_i - x_j|^2)`: 0 where all rows are one point.

    Rows that hold the same item are not driven apart.

    Args:
        x: (B, d) unit rows.
        y: (B, d) unit rows.
        groups: (B, K) ids of the items.

    Example:
        >>> round(uniform(torch.eye(3), torch.eye(3)).item(), 6)
        -4.0

    Raises:
        RecipeError: one row.
    """
    needs_two("uniform", x)
    same = same_item(groups, x)
    return (_log_mean(x, x, same) + _log_mean(y, y, same)) / 2


@register_loss("xuniform", distributed=True)
@over_all_rows
def xuniform(x: Tensor, y: Tensor, groups: Tensor | None = None) -> Tensor:
    """`ln mean_{i!=j} exp(-2 |x_i - y_j|^2)`: how near the rows of different pairs are across the towers.

    Args:
        x: (B, d) unit rows.
        y: (B, d) unit rows.
        groups: (B, K) ids of the items.

    Example:
        >>> round(xuniform(torch.eye(3), torch.eye(3)).item(), 6)
        -4.0

    Raises:
        RecipeError: one row.
    """
    needs_two("xuniform", x)
    return _log_mean(x, y, same_item(groups, x))


def _log_mean(x: Tensor, y: Tensor, same: Tensor) -> Tensor:
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.T
    exponents = (-2 * squares).masked_fill(same, -torch.inf).flatten()
    count = (~same).sum()
    # A batch of one item many times: nothing to drive apart, and no gradient.
    safe = torch.where(count > 0, exponents, torch.zeros_like(exponents))
    return torch.where(count > 0, safe.logsumexp(0) - count.clamp_min(1).log(), safe.sum())
