"""How voltages become numbers of order one: a constant of the training set, or a published system's min-max.

Rows that are NaN (masked leads) count for nothing and stay NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor


def by_constant(values: Tensor, scale: float) -> Tensor:
    """mV divided by one number, the same for all leads and recordings, so that voltage is kept."""
    return values / scale


def merl(values: Tensor, eps: float = 1e-8) -> Tensor:
    """MERL: (x - min) / (max - min + eps) over all leads jointly, to [0, 1]: ratios between leads are kept."""
    known = values[torch.isfinite(values).all(1)]
    if not known.numel():
        return values
    low, high = known.min(), known.max()
    return (values - low) / (high - low + eps)


def more(values: Tensor, eps: float = 1e-10) -> Tensor:
    """MoRE: 2 (x - min) / (max - min + eps) - 1 in each lead by itself, to [-1, 1]: voltage is lost."""
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    return 2 * (values - low) / (high - low + eps) - 1
