"""Linear projections found in one step: whitened captions, and ridge regression of recordings on them.

For a few hundred pairs of frozen features. The squared error has one best solution for a given penalty, and the penalty
is chosen on held-out groups. Whitening makes the sentences of a training set nearly orthogonal, however alike they
sound to a language model, so that a regressed embedding says how much of each it expects, as in canonical correlation
analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = tuple(10 ** (-half / 2) for half in range(2, 15))
"""Candidates, as shares of the sum of squares of the centred features: 0.1 to 1e-7."""
FOLDS = 3


def whitening(features: Tensor, weights: Tensor, size: int, shrinkage: float) -> tuple[Tensor, Tensor]:
    """The mean (F,), and the matrix (size, F) of the strongest principal directions, each divided by its deviation.

    Args:
        features: (N, F).
        weights: (N,), how much each item counts.
        size: how many directions; rows beyond the rank of the features are zeros.
        shrinkage: share of the total variance that is added to each direction's own.

    Example:
        >>> mean, matrix = whitening(torch.tensor([[0.0, 3.0], [0.0, 1.0]]), torch.ones(2), 1, shrinkage=0.0)
        >>> mean.tolist(), matrix.abs().tolist()
        ([0.0, 2.0], [[0.0, 1.0]])
    """
    features, shares = features.double(), (weights.double() / weights.sum()).unsqueeze(1)
    mean = (shares * features).sum(0)
    centred = features - mean
    variance, directions = torch.linalg.eigh((shares * centred).T @ centred)
    order = torch.arange(len(variance) - 1, -1, -1)[:size]
    variance, directions = variance[order], directions[:, order]
    real = variance > 1e-8 * variance[0]
    spread = (variance + shrinkage * variance.clamp_min(0).sum()).rsqrt()
    matrix = features.new_zeros(size, features.shape[1])
    matrix[: len(order)] = torch.where(real, directions * spread, 0.0).T
    return mean, matrix


@dataclass(frozen=True)
class Ridge:
    """`targets ~ features @ weight.T + bias`.

    Attributes:
        weight: (D, F).
        bias: (D,).
        penalty: a share, as in `PENALTIES`.
        explained: share of the targets' variance that is explained in held-out groups; None: too few to try.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    explained: float | None


def ridge(features: Tensor, targets: Tensor, groups: Sequence[str], penalties: Sequence[float] = PENALTIES) -> Ridge:
    """Ridge regression, its penalty chosen by the squared error in held-out groups of these rows.

    Exact, through the smaller of N x N and F x F; a few thousand rows take a minute.

    Args:
        features: (N, F).
        targets: (N, D).
        groups: of the rows; a group is held out as a whole. Of fewer than two, the middle penalty is taken.
        penalties: shares of the sum of squares of the centred features.
    """
    from sklearn.model_selection import GroupKFold

    features, targets = features.double(), targets.double()
    folds, explained = min(FOLDS, len(set(groups))), None
    best = sorted(penalties)[len(penalties) // 2]
    if folds > 1:
        errors, total = torch.zeros(len(penalties), dtype=torch.float64), 0.0
        for known, held in GroupKFold(folds).split(features.numpy(), groups=groups):
            x, y = features[held], targets[held]
            total += float((y - targets[known].mean(0)).square().sum())
            for i, (weight, bias) in enumerate(_solutions(features[known], targets[known], penalties)):
                errors[i] += (x @ weight.T + bias - y).square().sum()
        best = penalties[int(errors.argmin())]
        explained = 1 - float(errors.min()) / total if total > 0 else None
    weight, bias = _solutions(features, targets, [best])[0]
    return Ridge(weight, bias, best, explained)


def _solutions(features: Tensor, targets: Tensor, penalties: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
    """(weight (D, F), bias (D,)) for each penalty."""
    mean, middle = features.mean(0), targets.mean(0)
    x, y = features - mean, targets - middle
    wide = x.shape[1] >= len(x)
    products = x @ x.T if wide else x.T @ x
    right = y if wide else x.T @ y
    scale = products.diagonal().sum().clamp_min(torch.finfo(x.dtype).tiny)
    solved = []
    for penalty in penalties:
        added = torch.diag_embed((penalty * scale).expand(len(products)))
        inner = torch.cholesky_solve(right, torch.linalg.cholesky(products + added))
        weight = (x.T @ inner if wide else inner).T
        solved.append((weight, middle - weight @ mean))
    return solved
