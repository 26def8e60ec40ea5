"""Retrieval: every equal item is relevant, and equal scores have what random order would give them on average.

A search that gives all items the same score has found nothing; by the order of its list it would have a rank of 1. Here
it has chance. All figures are means over queries that have something relevant.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

BUDGET = 1 << 25
"""Scores held at a time (4 bytes each, and a few copies): 100,000 x 100,000 is searched in under 1 GB."""

Keys = tuple[Sequence[Hashable], Sequence[Hashable]]
"""Keys of the queries and of the gallery: where they are equal, the gallery's row is relevant to the query.

A query's key may be `AnyOf` several.
"""


class AnyOf(tuple[Hashable, ...]):
    """Several keys of one query: a gallery's row with any of them is relevant."""

    __slots__ = ()


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
    x: Tensor,
    y: Tensor,
    keys: Sequence[Keys],
    depth: int = 10,
    chunk: int | None = None,
    *,
    itself: bool = False,
    hidden: Keys | None = None,
) -> Found:
    """Rank the gallery for every query by inner product, a chunk of queries at a time.

    Args:
        x: (N, d) queries.
        y: (M, d) gallery.
        keys: pairs of (N keys, M keys); a row is relevant where any pair of them is equal.
        depth: of the average precision.
        chunk: queries at a time; None: as many as the budget of memory allows.
        itself: the gallery is the queries, and row i is not to find itself.
        hidden: (N keys, M keys); where they are equal, the row is not in the query's gallery.
    """
    matches = [_Match(queries, gallery, y.device) for queries, gallery in keys]
    hide = _Match(*hidden, y.device) if hidden is not None else None
    chunk = chunk or max(1, min(1024, BUDGET // max(len(y), 1)))
    parts: list[list[Tensor]] = []
    for start in range(0, len(x), chunk):
        scores = x[start : start + chunk] @ y.T
        stop = start + len(scores)
        relevant = torch.zeros_like(scores, dtype=torch.bool)
        for match in matches:
            relevant |= match(start, stop)
        if hide is not None:
            away = hide(start, stop)
            scores.masked_fill_(away, -torch.inf)
            relevant &= ~away
        if itself:
            rows = torch.arange(len(scores), device=y.device)
            scores[rows, start + rows] = -torch.inf
            relevant[rows, start + rows] = False
        parts.append(_found(scores, relevant, depth))
    whole = [torch.cat(part) for part in zip(*parts)] if parts else [torch.zeros(0)] * 5
    above, ties, good, found, precision = whole
    return Found(above, ties, good, found, precision, depth)


def _found(scores: Tensor, relevant: Tensor, depth: int) -> list[Tensor]:
    """The parts of `Found` of some queries. Relevant rows are mostly few, and are looked at by their places."""
    rows, columns = relevant.nonzero(as_tuple=True)
    values = scores[rows, columns]
    best = scores.new_full((len(scores),), -torch.inf).scatter_reduce(0, rows, values, "amax")
    good = torch.bincount(rows[values == best[rows]], minlength=len(scores))
    counts = torch.bincount(rows, minlength=len(scores))
    above, ties = _count(scores > best.unsqueeze(1)), _count(scores == best.unsqueeze(1))
    return [above, ties, good, counts, _average_precision(scores, relevant, (rows, values), depth)]


def _count(mask: Tensor) -> Tensor:
    """(B,) true values of each row (B, M): a row at a time, for torch counts along an axis fifteen times slower."""
    return torch.stack([row.count_nonzero() for row in mask]) if len(mask) else mask.sum(1)


def retrieval_figures(found: Found, ks: Sequence[int] = (1, 5, 10)) -> RetrievalFigures:
    """Means of a search over the queries that have something to find; NaN where none has.

    Example:
        >>> eye = torch.eye(4)
        >>> retrieval_figures(search_ranks(eye, eye, [(range(4), range(4))])).mrr
        1.0
    """
    has = found.relevant > 0
    above, ties, good, relevant, precision = (part[has] for part in found[:5])
    first = Found(above, ties, good, relevant, precision, found.depth)
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
    places = torch.stack([found.above, found.ties, found.good])
    kinds, place = torch.unique(places, dim=1, return_inverse=True)
    values = [_reciprocal(*kind) for kind in kinds.T.tolist()]
    return torch.tensor(values, dtype=torch.float64, device=place.device)[place]


def _reciprocal(above: int, ties: int, good: int) -> float:
    """Sum over places j of P(first relevant at j) / (above + j), with P(first at j) = C(t-j, r-1) / C(t, r)."""
    if ties == 1:
        return 1 / (above + 1)
    j = torch.arange(1, ties - good + 2, dtype=torch.float64)
    t, r = torch.tensor(float(ties)).double(), torch.tensor(float(good)).double()
    return ((_log_choose(t - j, r - 1) - _log_choose(t, r)).exp() / (above + j)).sum().item()


def _average_precision(scores: Tensor, relevant: Tensor, good: tuple[Tensor, Tensor], depth: int) -> Tensor:
    """(B,) expected AP at `depth`: precision at each hit, over min(relevant rows, depth).

    With one relevant row it is 1 / rank (LAION CLAP's text to audio); with five captions an audio it is their mean of
    j / rank_j (its audio to text). Where t rows of equal score, r of them relevant, come after b rows with f relevant
    ones, place p of them is relevant with r / t, and then f + 1 + (p - 1) (r - 1) / (t - 1) are by rank b + p.

    Args:
        scores: (B, M).
        relevant: (B, M) bool.
        good: (R,) rows and (R,) scores of what is relevant.
        depth: cut.
    """
    depth = min(depth, scores.shape[1])
    top, place = scores.topk(min(depth + 1, scores.shape[1]), dim=1)
    beyond = (top[:, depth - 1] == top[:, -1]).nonzero().flatten() if top.shape[1] > depth else place.new_zeros(0)
    top = top[:, :depth]
    # The runs of equal scores among the first, numbered; only the last of them may go on beyond.
    run = torch.zeros_like(place[:, :depth])
    run[:, 1:] = (top[:, 1:] != top[:, :-1]).cumsum(1)
    hits = relevant.gather(1, place[:, :depth]).double()
    size, found = (torch.zeros_like(hits).scatter_add(1, run, part) for part in (torch.ones_like(hits), hits))
    last = top[:, -1]
    rows, values = good
    size[beyond, run[beyond, -1]] = _count(scores[beyond] == last[beyond].unsqueeze(1)).double()
    whole = torch.bincount(rows[values == last[rows]], minlength=len(scores)).double()
    found[beyond, run[beyond, -1]] = whole[beyond]
    t, r, b, f = (part.gather(1, run) for part in (size, found, size.cumsum(1) - size, found.cumsum(1) - found))
    rank = torch.arange(1, depth + 1, device=scores.device, dtype=torch.float64)
    by_then = f + 1 + (rank - b - 1) * (r - 1) / (t - 1).clamp_min(1)
    precision = (r / t * by_then / rank).sum(1)
    return precision / torch.bincount(rows, minlength=len(scores)).clamp(1, depth)


class _Match:
    """Which rows of the gallery have a key of the query's: (queries, M) bool of any stretch of queries."""

    def __init__(self, queries: Sequence[Hashable], gallery: Sequence[Hashable], device: torch.device) -> None:
        seen: dict[Hashable, int] = {}
        self.theirs = _numbers([seen.setdefault(key, len(seen)) for key in gallery], device)
        self.single = not any(isinstance(key, AnyOf) for key in queries)
        several = [key if isinstance(key, AnyOf) else (key,) for key in queries]
        # What the gallery does not have is one number more, which no row of it has.
        self.mine = _numbers([seen.get(key, len(seen)) for keys in several for key in keys], device)
        self.ends = [0, *accumulate(map(len, several))]
        self.numbers = len(seen) + 1

    def __call__(self, start: int, stop: int) -> Tensor:
        if self.single:
            return self.mine[start:stop].unsqueeze(1) == self.theirs.unsqueeze(0)
        mine = self.mine[self.ends[start] : self.ends[stop]]
        lengths = torch.tensor(self.ends[start : stop + 1], device=mine.device).diff()
        rows = torch.arange(stop - start, device=mine.device).repeat_interleave(lengths)
        has = torch.zeros(stop - start, self.numbers, dtype=torch.bool, device=mine.device)
        has[rows, mine.long()] = True
        return has.index_select(1, self.theirs)


def _numbers(values: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.int32, device=device)


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
