"""Retrieval: every equal item is relevant, and equal scores have their expected rank."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor


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
