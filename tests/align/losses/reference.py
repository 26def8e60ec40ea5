"""The tiled losses in their dense form, as the formulas say them: every pair at once, all gradients autograd's."""

import torch
from torch.nn import functional as F

from modalign.align.losses.targets import same_item, shares


def _direction(logits, targets):
    return -(logits.log_softmax(1) * targets).sum(1).mean()


def infonce(x, y, scale, groups=None, direction="both", smoothing=0.0):
    logits = scale * x @ y.T
    targets = torch.lerp(shares(same_item(groups, x), x.dtype), torch.full_like(logits, 1 / len(x)), smoothing)
    found = {"x2y": _direction(logits, targets), "y2x": _direction(logits.T, targets)}
    return torch.stack([found[direction]] if direction in found else list(found.values())).mean()


def siglip(x, y, scale, groups=None, bias=None):
    signs = torch.where(same_item(groups, x), 1.0, -1.0).to(x.dtype)
    return -F.logsigmoid(signs * (scale * x @ y.T + bias)).sum() / len(x)


def cwcl(x, y, scale, groups=None, trusted="x", weights=None):
    p, q = (x, y) if trusted == "x" else (y, x)
    if weights is None:
        weights = (1 + p.detach() @ p.detach().T) / 2
    logits = scale * p @ q.T
    found = _direction(logits, weights / weights.sum(1, keepdim=True))
    return found + _direction(logits.T, shares(same_item(groups, x), x.dtype))


def supcon(x, y, scale, groups=None, form="stacked"):
    if form == "cross":
        return infonce(x, y, scale, groups)
    groups = torch.arange(len(x)).unsqueeze(1) if groups is None else groups
    return supcon_rows(torch.cat([x, y]), scale, torch.cat([groups, groups]))


def supcon_rows(z, scale, groups):
    own = torch.eye(len(z), dtype=torch.bool)
    log_p = (scale * z @ z.T).masked_fill(own, -torch.inf).log_softmax(1).masked_fill(own, 0)
    positives = same_item(groups, z) & ~own
    each = -(log_p * shares(positives, z.dtype)).sum(1)
    return each[positives.any(1)].mean()
