"""SigLIP: every pair of a batch is a question of its own, answered by a sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor

from modalign.align.distributed import gather_columns, sum_over_processes
from modalign.align.losses.positives import Positives
from modalign.align.losses.registry import register_loss
from modalign.align.losses.tiles import sigmoid_surprise


@register_loss("siglip", distributed=True)
def siglip(x: Tensor, y: Tensor, scale: Tensor, groups: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """`-(1/B) sum_ij ln sigmoid(z_ij (scale * x_i . y_j + bias))`, z_ij = 1 for positives, -1 for the others.

    Zhai et al. 2023. Unlike a softmax it does not make the columns compete, so it suits rows that have several true
    captions. Computed tile by tile (`tiles.py`), and over the rows of all processes.

    Args:
        x: (B, d) unit rows.
        y: (B, d) unit rows, row i paired with x's row i.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids; None: every row is its own only positive.
        bias: a scalar; None: 0. With few positives among many pairs a negative one keeps the first steps small.

    Example:
        >>> import torch
        >>> eye = torch.eye(2)
        >>> round(siglip(eye, eye, torch.tensor(1.0), bias=torch.tensor(0.0)).item(), 6)    # ln(1 + 1/e) + ln 2
        1.006409
    """
    bias = x.new_zeros(()) if bias is None else bias
    columns = gather_columns(y, groups)
    each = sigmoid_surprise(x, columns.values, scale, bias, columns.own.start)
    if columns.groups is not None:
        # -ln sigmoid(z) is -ln sigmoid(-z) less z: for further positives, a sum that needs no matrix of all pairs.
        positives = Positives(columns.groups)
        further = positives.sums(columns.values, columns.own) - y
        counts = positives.counts[columns.own].to(x.dtype) - 1
        each = each - (scale * torch.linalg.vecdot(x, further) + bias * counts)
    return sum_over_processes(each.sum() / max(len(columns.values), 1))
