"""Pure metrics. Retrieval counts every equal item as relevant, and gives equal scores their expected rank."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


def recall_at_k(
    x: Tensor,
    y: Tensor,
    ks: Sequence[int] = (1, 5, 10),
    items: Sequence[Hashable] | None = None,
    chunk: int = 1024,
    *,
    queries: Sequence[Hashable] | None = None,
) -> dict[int, float]:
    """Share of queries x that find a relevant row of y among the k nearest by cosine.

    Row i of y is relevant to row i of x, and so is every row that holds the same item, or whose query is the same:
    what a caption finds is right for the caption's every copy. Where scores are equal, the
    expectation over random order counts, so a collapsed encoder scores chance and not 1.

    Args:
        x: (N, d) unit rows, the queries.
        y: (N, d) unit rows, the gallery; queries and gallery are paired row by row.
        ks: the cut-offs.
        items: N keys of the gallery; equal keys are the same item. None: all differ.
        chunk: queries scored at a time, so that memory stays at chunk * N.
        queries: N keys of the queries, likewise.

    Example:
        >>> eye = torch.eye(4)
        >>> recall_at_k(eye, eye, (1,))
        {1: 1.0}
        >>> recall_at_k(torch.ones(4, 1), torch.ones(4, 1), (1, 2))
        {1: 0.25, 2: 0.5}
    """
    n = len(x)
    groups = [_numbers(keys).to(y.device) for keys in (items, queries) if keys is not None]
    groups = groups or [torch.arange(n, device=y.device)]
    totals = dict.fromkeys(ks, 0.0)
    for start in range(0, n, chunk):
        scores = x[start : start + chunk] @ y.T
        relevant = torch.zeros_like(scores, dtype=torch.bool)
        for keys in groups:
            relevant |= keys[start : start + chunk].unsqueeze(1) == keys.unsqueeze(0)
        best = scores.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
        above = (scores > best).sum(1)
        tied = scores == best
        ties, good = tied.sum(1), (tied & relevant).sum(1)
        for k in ks:
            totals[k] += _hit_probability(above, ties, good, k).sum().item()
    return {k: total / n for k, total in totals.items()}


def _numbers(keys: Sequence[Hashable]) -> Tensor:
    seen: dict[Hashable, int] = {}
    return torch.tensor([seen.setdefault(key, len(seen)) for key in keys])


def _hit_probability(above: Tensor, ties: Tensor, good: Tensor, k: int) -> Tensor:
    """P(a relevant item is among the first k), when `ties` items in random order, `good` of them relevant, follow."""
    places = torch.minimum((k - above).clamp_min(0), ties).double()
    t, r = ties.double(), good.double()
    bad = t - r
    # 1 - C(t-r, m) / C(t, m); no way to miss once more places than bad items are drawn
    log_miss = _log_choose(bad, places.minimum(bad)) - _log_choose(t, places)
    return torch.where(places > bad, torch.ones_like(t), 1 - log_miss.exp())


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def confusion_matrix(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> Array:
    """(C, C) counts: row = truth, column = prediction, in the order of `labels`."""
    place = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(matrix, ([place[t] for t in truth], [place[p] for p in predicted]), 1)
    return matrix


def cluster_bootstrap(
    statistic: Callable[[Array], float], clusters: Sequence[Hashable], draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """A 95 % percentile interval by resampling whole clusters (recordings, people) with replacement, never windows.

    Args:
        statistic: (M,) row indices, repeats included, -> the figure.
        clusters: N keys: which cluster each row belongs to.
        draws: resamples.
        seed: of the resampling.

    Example:
        >>> correct = np.array([1, 1, 0, 0])
        >>> cluster_bootstrap(lambda rows: correct[rows].mean(), ["a", "a", "b", "b"])
        (0.0, 1.0)
    """
    members: dict[Hashable, list[int]] = {}
    for i, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(i)
    rows = [np.array(m) for m in members.values()]
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        picked = generator.integers(len(rows), size=len(rows))
        values.append(statistic(np.concatenate([rows[p] for p in picked])))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def macro_auroc(truth: Array, scores: Array) -> tuple[float, list[int]]:
    """Mean AUROC over the classes that have both positives and negatives, and the classes left out.

    Args:
        truth: (N, C) of 0 and 1.
        scores: (N, C).
    """
    from sklearn.metrics import roc_auc_score

    kept = [c for c in range(truth.shape[1]) if 0 < truth[:, c].sum() < len(truth)]
    left_out = [c for c in range(truth.shape[1]) if c not in kept]
    if not kept:
        return float("nan"), left_out
    return float(np.mean([roc_auc_score(truth[:, c], scores[:, c]) for c in kept])), left_out
