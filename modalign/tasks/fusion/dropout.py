"""Modality dropout: a modality that is there is now and then left out in training, so that a model does without it."""

from __future__ import annotations

import torch
from torch import Tensor


def drop_modalities(present: Tensor, p: float) -> Tensor:
    """Leave each modality of each row out with chance p, but never all that a row has.

    MoRE's released head leaves one modality out for a whole batch; here each row is drawn alone (MMG-Ego4D's modality
    dropout, of which no code was found, inspired it). Where all would go, one that the row has is kept, each with equal
    chance. p = 0 changes nothing and draws nothing.

    Args:
        present: (B, M) bool, which modalities each row has.
        p: from 0 to 1; 1 keeps one modality a row.

    Returns:
        (B, M) bool.

    Example:
        >>> drop_modalities(torch.tensor([[True, False], [False, False]]), 1.0)   # its only one stays
        tensor([[ True, False],
                [False, False]])
    """
    if p == 0:
        return present
    draw = torch.rand(present.shape, device=present.device)
    kept = present & (draw >= p)
    last = draw.masked_fill(~present, -1.0).argmax(1, keepdim=True)
    spared = torch.zeros_like(present).scatter(1, last, True) & present
    return torch.where(kept.any(1, keepdim=True), kept, spared)
