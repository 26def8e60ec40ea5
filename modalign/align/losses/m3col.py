"""M3CoL: contrast of mixtures, with targets that say how much of each row a mixture holds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.align.losses.registry import register_loss
from modalign.align.losses.targets import same_item, shares, soft_cross_entropy


@register_loss("m3col")
def m3col(
    x: Tensor,
    y: Tensor,
    groups: Tensor | None = None,
    progress: float = 0.0,
    alpha: float = 0.15,
    probability: float = 0.5,
    temperature: float = 0.1,
    soft_temperature: float = 0.125,
    until: float = 0.33,
) -> Tensor:
    """Mixtures of one tower's rows against the other's rows, both ways; later the unmixed rows with soft targets.

    Kumar et al. 2024 (M3CoL), by their public code: the mixtures are of embeddings. Published as an addition of weight
    0.1 to the losses of single modalities.

    Args:
        x: (B, d) unit rows.
        y: (B, d) unit rows, row i paired with x's row i.
        groups: (B, K) ids of the items: equal ones share a mixture's target.
        progress: share of the training that is done.
        alpha: mixing shares are drawn from Beta(alpha, alpha).
        probability: that a row is mixed at all.
        temperature: of the mixtures' logits; the model's takes no part.
        soft_temperature: of the soft targets and their logits.
        until: share of the training after which the soft targets take the mixtures' place.
    """
    if progress >= until:
        return soft_targets(x, y, soft_temperature) + soft_targets(y, x, soft_temperature)
    total, item = x.new_zeros(()), shares(same_item(groups, x), x.dtype)
    for own, other in ((x, y), (y, x)):
        n = len(own)
        both = torch.full((n,), alpha, device=x.device)
        share = (
            torch.distributions.Beta(both, both, validate_args=False).sample().to(x.dtype)
        )  # arguments that are validated would wait for the device
        share = torch.where(torch.rand(n, device=x.device) < probability, share, 1)
        total = total + mixed(own, other, share, torch.randperm(n, device=x.device), temperature, item).mean()
    return total


def mixed(
    own: Tensor, other: Tensor, share: Tensor, partner: Tensor, temperature: float, item: Tensor | None = None
) -> Tensor:
    """(2,) losses of rows and of columns of `norm(share_i own_i + (1 - share_i) own_partner(i))` against `other`.

    Args:
        own, other: (B, d) unit rows.
        share: (B,) in [0, 1].
        partner: (B,) rows that are mixed in; may be the row itself.
        temperature: of the logits.
        item: (B, B) shares of the rows that hold each row's item; None: each holds its own.
    """
    part = share.unsqueeze(1)
    logits = F.normalize(part * own + (1 - part) * own[partner], dim=1) @ other.T / temperature
    item = torch.eye(len(own), dtype=share.dtype, device=own.device) if item is None else item
    targets = part * item + (1 - part) * item[partner]
    rows = soft_cross_entropy(logits, targets)
    # A column's targets are those of the mixtures that hold it; they need not sum to 1.
    columns = -(logits.log_softmax(0).masked_fill(targets == 0, 0) * targets).sum(0).mean()
    return torch.stack([rows, columns])


def soft_targets(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Both directions of x against y, the targets `softmax(y y^T / temperature)`; no gradient to the targets."""
    targets = (y.detach() @ y.detach().T / temperature).softmax(1)
    logits = x @ y.T / temperature
    return (soft_cross_entropy(logits, targets) + soft_cross_entropy(logits.T, targets)) / 2
