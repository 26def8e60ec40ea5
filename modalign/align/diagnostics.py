"""The gap between two modalities in the shared space: how far, how separable, how spread; pure functions.

Formulas: "It's Not a Modality Gap" (Fahim et al. 2024), after Wang and Isola (2020) for alignment and uniformity.
Every function takes (N, d) unit rows, on any device, and returns a number.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

CHUNK = 1024
"""Rows whose distances are taken at a time, so that memory stays at CHUNK * N."""


def alignment(x: Tensor, y: Tensor) -> float:
    """Mean squared distance of the pairs (x_i, y_i); 0 where every pair coincides.

    Example:
        >>> alignment(torch.eye(2), torch.eye(2))
        0.0
    """
    return float((_whole(x) - _whole(y)).square().sum(1).mean())


def uniformity(x: Tensor) -> float:
    """Log of the mean over i < j of exp(-2 |x_i - x_j|^2): 0 where all rows are one point, -4 where orthonormal."""
    return cross_uniformity(x, x)  # the mean over i != j counts each pair twice


def cross_uniformity(x: Tensor, y: Tensor) -> float:
    """Log of the mean over i != j of exp(-2 |x_i - y_j|^2): how near the rows of different pairs are; NaN for one."""
    n = len(x)
    if n < 2:
        return math.nan
    sums = torch.stack([block.logsumexp((0, 1)) for block in _exponents(_whole(x), _whole(y))])
    return sums.logsumexp(0).item() - math.log(n * (n - 1))


def centroid_distance(x: Tensor, y: Tensor) -> float:
    """Distance of the two means: the width of the gap."""
    return float((_whole(x).mean(0) - _whole(y).mean(0)).norm())


def mean_cosine(x: Tensor) -> float:
    """Mean cosine of two different rows of one modality: 1 where all lie in one direction; NaN for one row."""
    n = len(x)
    if n < 2:
        return math.nan
    x = _whole(x)
    return ((x.sum(0).square().sum() - x.square().sum()) / (n * (n - 1))).item()


def effective_rank(x: Tensor) -> float:
    """exp of the entropy of the singular values' shares (Roy and Vetterli 2007) [M]: how many directions are used."""
    values = torch.linalg.svdvals(_whole(x))
    return float(torch.special.entr(values / values.sum()).sum().exp())


def linear_separability(x: Tensor, y: Tensor, seed: int = 0) -> float:
    """Accuracy of logistic regression in telling the modalities apart: 0.5 means no gap, 1 that a plane divides them.

    Fitted on four fifths of the pairs and scored on the others; a pair's two rows are always on one side of the split.
    NaN for fewer than five pairs.
    """
    from sklearn.linear_model import LogisticRegression

    if len(x) < 5:
        return math.nan
    held = round(len(x) / 5)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    test, train = (torch.cat([x[part], y[part]]).detach().cpu().numpy() for part in (order[:held], order[held:]))
    model = LogisticRegression(max_iter=1000).fit(train, np.repeat([0, 1], len(train) // 2))
    return float(model.score(test, np.repeat([0, 1], held)))


def similarities(x: Tensor, y: Tensor, items: Sequence[Sequence[Hashable]] = ()) -> dict[str, float]:
    """Mean cosine of the pairs, and of each row with the nearest that is none of its positives, both directions.

    `told apart`: how often a row of x is nearer to its own of y than to one that is none of its positives; a tie counts
    half, so 0.5 is chance.

    Args:
        x: (N, d) unit rows.
        y: (N, d) unit rows.
        items: of one tower or more: what each row holds; rows that hold the same in any are positives. NaN where every
            row is a positive of every other.

    Example:
        >>> similarities(torch.eye(3), torch.eye(3))
        {'positive': 1.0, 'hardest negative': 0.0, 'told apart': 1.0}
    """
    x, y = _whole(x), _whole(y)
    numbers = [torch.tensor([*map({item: k for k, item in enumerate(own)}.__getitem__, own)]) for own in items]
    down = torch.full((len(y),), -torch.inf, device=x.device)
    own_cosine = (x * y).sum(1)
    across, nearer, negatives = [], 0.0, 0
    for start in range(0, len(x), CHUNK):
        cosines = x[start : start + CHUNK] @ y.T
        rows = torch.arange(start, start + len(cosines))
        positive = rows.unsqueeze(1) == torch.arange(len(y))
        for own in numbers:
            positive |= own[rows].unsqueeze(1) == own
        positive = positive.to(x.device)
        above = own_cosine[rows].unsqueeze(1) - cosines
        nearer += float(((above > 0).double() + (above == 0).double() / 2).masked_fill(positive, 0).sum())
        negatives += int((~positive).sum())
        cosines = cosines.masked_fill(positive, -torch.inf)
        across.append(cosines.amax(1))
        down = torch.maximum(down, cosines.amax(0))
    nearest = torch.cat([*across, down])
    nearest = nearest[torch.isfinite(nearest)]
    return {
        "positive": float(own_cosine.mean()),
        "hardest negative": float(nearest.mean()) if len(nearest) else math.nan,
        "told apart": nearer / negatives if negatives else math.nan,
    }


def gap_figures(x: Tensor, y: Tensor) -> dict[str, float]:
    """All of them for the pairs (x_i, y_i), by name.

    Example:
        >>> gap_figures(torch.eye(3), torch.eye(3))["uniformity"]
        -4.0
    """
    each = uniformity(x), uniformity(y)
    return {
        "centroid distance": centroid_distance(x, y),
        "linear separability": linear_separability(x, y),
        "alignment": alignment(x, y),
        "uniformity": sum(each) / 2,
        "uniformity of the first": each[0],
        "uniformity of the second": each[1],
        "cross uniformity": cross_uniformity(x, y),
        "mean cosine of the first": mean_cosine(x),
        "mean cosine of the second": mean_cosine(y),
        "effective rank of the first": effective_rank(x),
        "effective rank of the second": effective_rank(y),
    }


def _whole(x: Tensor) -> Tensor:
    """Half precision is too coarse for means of exponentials; single and double stay as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _exponents(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """-2 |x_i - y_j|^2 by blocks of rows (CHUNK, N), the pairs (i, i) at -inf."""
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        squares = part.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * part @ y.T
        block = -2 * squares.clamp_min(0)
        rows = torch.arange(len(part), device=x.device)
        block[rows, rows + start] = -torch.inf
        yield block
