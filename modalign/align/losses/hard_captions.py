"""Captions that are wrong in one detail, as further negatives: CompA's two stages and NegCLIP.

x are the recordings and y their captions; `hard` are wrong captions of each row, from the manifest's column
`<tower>.hard`, or made by rule (`align/hard_captions.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from modalign.align.losses.infonce import infonce
from modalign.align.losses.registry import register_loss
from modalign.align.losses.targets import same_item, shares, soft_cross_entropy


def _own(x: Tensor, captions: Tensor | None, mask: Tensor | None, scale: Tensor) -> Tensor:
    """(B, K) logits of each row's own captions, -inf where it has fewer."""
    if captions is None or mask is None:
        return x.new_zeros(len(x), 0)
    return (scale * torch.einsum("bd,bkd->bk", x, captions)).masked_fill(~mask, -torch.inf)


def _against(x: Tensor, y: Tensor, scale: Tensor, groups: Tensor | None, wrong: Tensor) -> Tensor:
    """InfoNCE whose rows have further columns, (B, K) logits that are never right; captions find rows without them."""
    targets = shares(same_item(groups, x), x.dtype)
    logits = torch.cat([scale * x @ y.T, wrong], 1)
    forward = soft_cross_entropy(logits, torch.cat([targets, torch.zeros_like(wrong)], 1))
    return (forward + infonce(x, y, scale, groups, "y2x")) / 2


@register_loss("compa")
def compa(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    groups: Tensor | None = None,
    hard: Tensor | None = None,
    hard_mask: Tensor | None = None,
) -> Tensor:
    """InfoNCE in which each recording has its own wrong captions as further negatives.

    CompA's second stage (Ghosh et al. 2024), the mask additive where the released code multiplies. Captions find
    recordings by plain InfoNCE; the mean of both directions. Without wrong captions it is InfoNCE.

    Args:
        x: (B, d) unit rows of recordings.
        y: (B, d) unit rows of their captions.
        scale: 1 / temperature, a scalar.
        groups: (B, K) ids of the items.
        hard: (B, K, d) unit rows of wrong captions.
        hard_mask: (B, K) True where there is one.
    """
    return _against(x, y, scale, groups, _own(x, hard, hard_mask, scale))


@register_loss("negclip")
def negclip(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    groups: Tensor | None = None,
    hard: Tensor | None = None,
    hard_mask: Tensor | None = None,
) -> Tensor:
    """InfoNCE in which every recording sees the wrong captions of all rows.

    NegCLIP (Yuksekgonul et al. 2023) as recalled. Without wrong captions it is InfoNCE.

    Args:
        x, y, scale, groups, hard, hard_mask: as of `compa`.
    """
    wrong = x.new_zeros(len(x), 0)
    if hard is not None and hard_mask is not None:
        wrong = (scale * x @ hard.flatten(0, 1).T).masked_fill(~hard_mask.flatten(), -torch.inf)
    return _against(x, y, scale, groups, wrong)


@register_loss("compa_modular")
def compa_modular(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    groups: Tensor | None = None,
    hard: Tensor | None = None,
    hard_mask: Tensor | None = None,
    parts: Tensor | None = None,
    parts_mask: Tensor | None = None,
) -> Tensor:
    """Each recording against its caption, its caption's true parts and its wrong captions, and others' captions.

    CompA's third stage: the mean over a row's true captions of `-log softmax`, and each true caption finds its
    recording; the mean over the rows, and over the two directions. Without parts and wrong captions it is InfoNCE.

    Args:
        x, y, scale, groups, hard, hard_mask: as of `compa`.
        parts: (B, P, d) unit rows of true captions of a part of the recording.
        parts_mask: (B, P) True where there is one.
    """
    same = same_item(groups, x)
    true, wrong = _own(x, parts, parts_mask, scale), _own(x, hard, hard_mask, scale)
    positive = torch.cat([same, true > -torch.inf, torch.zeros_like(wrong, dtype=torch.bool)], 1)
    logits = torch.cat([scale * x @ y.T, true, wrong], 1)
    forward = soft_cross_entropy(logits, shares(positive, x.dtype))
    captions, there = y.unsqueeze(1), torch.ones(len(y), 1, dtype=torch.bool, device=y.device)
    if parts is not None and parts_mask is not None:
        captions, there = torch.cat([captions, parts], 1), torch.cat([there, parts_mask], 1)
    log_p = (scale * torch.einsum("bpd,cd->bpc", captions, x)).log_softmax(2)
    each = -(log_p * shares(same, x.dtype).unsqueeze(1)).sum(2)
    back = ((each * there).sum(1) / there.sum(1)).mean()
    return (forward + back) / 2
