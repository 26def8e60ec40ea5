"""Retrieval: every equal item is relevant, and equal scores have what random order would give them on average.

A search that gives all items the same score has found nothing; by the order of its list it would have a rank of 1. Here
it has chance. All figures are means over queries that have something relevant.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

BUDGET = 1 << 25
"""Scores held at a time (4 bytes each, and a few copies): 100,000 x 100,000 is searched in under 1 GB."""

Keys = tuple[Sequence[Hashable], Sequence[Hashable]]
"""Keys of the queries and of the gallery: where they are equal, the gallery's row is relevant to the query."""


class Found(NamedTuple):
    """How the best relevant row of each query ranks; all (N,).

    Attributes:
        above: rows with a higher score than it.
        ties: rows with its score, itself among them.
        good: how many of these are relevant.
        relevant: relevant rows in the whole gallery; 0: the query has nothing to find.
        precision: expected average precision at `depth`.
        depth: where `precision` was cut.
    """

    above: Tensor
    ties: Tensor
    good: Tensor
    relevant: Tensor
    precision: Tensor
    depth: int


@dataclass(frozen=True)
class RetrievalFigures:
    """Means over queries.

    Attributes:
        recall: k -> share of queries with something relevant among the first k.
        mrr: mean of 1 / rank of the first relevant row.
        median_rank: of the first relevant row, from 1.
        map: mean average precision at `depth`.
        depth: of `map`.
        queries: how many had something to find.
    """

    recall: dict[int, float]
    mrr: float
    median_rank: float
    map: float
    depth: int
    queries: int

    def as_dict(self) -> dict[str, float]:
        """Name -> figure."""
        named = {f"R@{k}": value for k, value in self.recall.items()}
        return named | {"MRR": self.mrr, "median rank": self.median_rank, f"mAP@{self.depth}": self.map}


@torch.no_grad()
def search_ranks(
    x: Tensor, y: Tensor, keys: Sequence[Keys], depth: int = 10, chunk: int | None = None, *, itself: bool = False
) -> Found:
    """Rank the gallery for every query by inner product, a chunk of queries at a time.

    Args:
        x: (N, d) queries.
        y: (M, d) gallery.
        keys: pairs of (N keys, M keys); a row is relevant where any pair of them is equal.
        depth: of the average precision.
        chunk: queries at a time; None: as many as the budget of memory allows.
        itself: the gallery is the queries, and row i is not to find itself.
    """
    numbered = [_numbered(queries, gallery, y.device) for queries, gallery in keys]
    chunk = chunk or max(1, min(1024, BUDGET // max(len(y), 1)))
    parts: list[list[Tensor]] = []
    for start in range(0, len(x), chunk):
        scores = x[start : start + chunk] @ y.T
        relevant = torch.zeros_like(scores, dtype=torch.bool)
        for mine, theirs in numbered:
            relevant |= mine[start : start + chunk].unsqueeze(1) == theirs.unsqueeze(0)
        if itself:
            rows = torch.arange(len(scores), device=y.device)
            scores[rows, start + rows] = -torch.inf
            relevant[rows, start + rows] = False
        best = scores.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
        above = (scores > best).sum(1)
        tied = scores == best
        parts.append(
            [above, tied.sum(1), (tied & relevant).sum(1), relevant.sum(1), _average_precision(scores, relevant, depth)]
        )
    whole = [torch.cat(part) for part in zip(*parts)] if parts else [torch.zeros(0)] * 5
    return Found(*whole, depth=depth)


def retrieval_figures(found: Found, ks: Sequence[int] = (1, 5, 10)) -> RetrievalFigures:
    """Means of a search over the queries that have something to find; NaN where none has.

    Example:
        >>> eye = torch.eye(4)
        >>> retrieval_figures(search_ranks(eye, eye, [(range(4), range(4))])).mrr
        1.0
    """
    has = found.relevant > 0
    first = Found(*(part[has] for part in found[:5]), depth=found.depth)
    n = int(has.sum())
    if n == 0:
        nan = float("nan")
        return RetrievalFigures(dict.fromkeys(ks, nan), nan, nan, nan, found.depth, 0)
    return RetrievalFigures(
        recall={k: hit_probability(first, k).mean().item() for k in ks},
        mrr=reciprocal_rank(first).mean().item(),
        median_rank=expected_rank(first).double().quantile(0.5).item(),
        map=first.precision.mean().item(),
        depth=found.depth,
        queries=n,
    )


def recall_at_k(
    x: Tensor,
    y: Tensor,
    ks: Sequence[int] = (1, 5, 10),
    items: Sequence[Hashable] | None = None,
    chunk: int | None = None,
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
        chunk: queries scored at a time.
        queries: N keys of the queries, likewise.

    Example:
        >>> eye = torch.eye(4)
        >>> recall_at_k(eye, eye, (1,))
        {1: 1.0}
        >>> recall_at_k(torch.ones(4, 1), torch.ones(4, 1), (1, 2))
        {1: 0.25, 2: 0.5}
    """
    given = [keys for keys in (items, queries) if keys is not None] or [range(len(y))]
    return retrieval_figures(search_ranks(x, y, [(keys, keys) for keys in given], chunk=chunk), ks).recall


def hit_probability(found: Found, k: int) -> Tensor:
    """(N,) P(a relevant row is among the first k), rows of equal score in random order."""
    t, r = found.ties.double(), found.good.double()
    places = torch.minimum((k - found.above).clamp_min(0), found.ties).double()
    bad = t - r
    # 1 - C(t-r, m) / C(t, m); no way to miss once more places than bad items are drawn
    log_miss = _log_choose(bad, places.minimum(bad)) - _log_choose(t, places)
    return torch.where(places > bad, torch.ones_like(t), 1 - log_miss.exp())


def expected_rank(found: Found) -> Tensor:
    """(N,) expected rank of the first relevant row, from 1."""
    return found.above + (found.ties + 1) / (found.good + 1)


def reciprocal_rank(found: Found) -> Tensor:
    """(N,) expected 1 / rank of the first relevant row."""
    kinds, place = torch.stack([found.above, found.ties, found.good]).unique(dim=1, return_inverse=True)
    values = [_reciprocal(*kind) for kind in kinds.T.tolist()]
    return torch.tensor(values, dtype=torch.float64, device=place.device)[place]


def _reciprocal(above: int, ties: int, good: int) -> float:
    """Sum over places j of P(first relevant at j) / (above + j), with P(first at j) = C(t-j, r-1) / C(t, r)."""
    if ties == 1:
        return 1 / (above + 1)
    j = torch.arange(1, ties - good + 2, dtype=torch.float64)
    t, r = torch.tensor(float(ties)).double(), torch.tensor(float(good)).double()
    return ((_log_choose(t - j, r - 1) - _log_choose(t, r)).exp() / (above + j)).sum().item()


def _average_precision(scores: Tensor, relevant: Tensor, depth: int) -> Tensor:
    """(B,) expected AP at `depth`: precision at each hit, over min(relevant rows, depth).

    With one relevant row it is 1 / rank (LAION CLAP's text to audio); with five captions an audio it is their mean of
    j / rank_j (its audio to text).
    """
    depth = min(depth, scores.shape[1])
    top, place = scores.topk(depth, dim=1)
    hits = relevant.gather(1, place).double()
    ranks = torch.arange(1, depth + 1, device=scores.device, dtype=torch.float64)
    precision = (hits * hits.cumsum(1) / ranks).sum(1)
    last = top[:, -1:]
    # Rows where equal scores lie among the first, or go on beyond them, need the expectation over their order.
    repeated = (top[:, 1:] == top[:, :-1]).any(1) | ((scores >= last).sum(1) > depth)
    for row in repeated.nonzero().flatten().tolist():
        precision[row] = _expected_precision(scores[row], relevant[row], top[row], depth)
    return precision / relevant.sum(1).clamp(1, depth)


def _expected_precision(scores: Tensor, relevant: Tensor, top: Tensor, depth: int) -> float:
    total, before, found = 0.0, 0, 0
    for value in top.unique().flip(0):
        tied = scores == value
        t, r = int(tied.sum()), int((tied & relevant).sum())
        p = torch.arange(1, min(t, depth - before) + 1, dtype=torch.float64)
        hits_by_then = found + 1 + (p - 1) * ((r - 1) / (t - 1) if t > 1 else 0.0)
        total += (r / t * hits_by_then / (before + p)).sum().item()
        before, found = before + t, found + r
    return total


def _numbered(queries: Sequence[Hashable], gallery: Sequence[Hashable], device: torch.device) -> tuple[Tensor, Tensor]:
    seen: dict[Hashable, int] = {}
    mine = torch.tensor([seen.setdefault(key, len(seen)) for key in queries], device=device)
    theirs = torch.tensor([seen.setdefault(key, len(seen)) for key in gallery], device=device)
    return mine, theirs


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
