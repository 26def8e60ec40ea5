"""SigLIP: every pair of a batch is a question of its own, answered by a sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.align.losses.infonce import positives_of
from modalign.align.losses.registry import register_loss


@register_loss("siglip")
def siglip(x: Tensor, y: Tensor, scale: Tensor, groups: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """`-(1/B) sum_ij ln sigmoid(z_ij (scale * x_i . y_j + bias))`, z_ij = 1 for positives, -1 for the others.

    Zhai et al. 2023. Unlike a softmax it does not make the columns compete, so it suits rows that have several true
    captions. Computed in float32 at least.

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
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        logits = scale.to(dtype) * (x.to(dtype) @ y.to(dtype).T)
        if bias is not None:
            logits = logits + bias.to(dtype)
        if groups is None:
            groups = torch.arange(len(x), device=x.device).unsqueeze(1)
        signs = torch.where(positives_of(groups), 1.0, -1.0).to(dtype)
        return -F.logsigmoid(signs * logits).sum() / len(x)
