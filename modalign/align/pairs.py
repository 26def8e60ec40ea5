"""Which rows of a batch share two towers, or more, and which of them hold the same item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modalign.align.config import Pair

Places = Mapping[str, Mapping[int, int]]
"""Tower -> position in a batch -> a number."""
Further = Mapping[str, Mapping[int, Sequence[int]]]
"""Kind of caption -> position in a batch -> rows of the tower's embeddings."""


@dataclass
class ViewBatch:
    """The rows of a batch that have the same towers.

    Attributes:
        towers: their names.
        index: for each tower (R,) rows of its embeddings, that belong together.
        groups: (R, K) numbers of the items, a column a tower, and one of the labels where these count; None where
            nothing stands twice.
        rows: (R,) positions in the manifest.
        size: R, or, where a batch is shared by processes, of how many rows this is the process's part.
    """

    towers: tuple[str, ...]
    index: tuple[Tensor, ...]
    groups: Tensor | None
    rows: Tensor
    size: int


@dataclass
class PairBatch(ViewBatch):
    """One pair in one batch.

    Attributes:
        a, b: names of the towers.
        weight: the pair's weight in the sum.
        a_index, b_index: (R,) rows of the towers' embeddings that belong together.
        captions: the tower whose rows have hard negatives or parts; empty: none.
        hard, parts: (R, K) rows of that tower's embeddings, -1 where a row has fewer.
    """

    a: str
    b: str
    weight: float
    a_index: Tensor
    b_index: Tensor
    captions: str = ""
    hard: Tensor | None = None
    parts: Tensor | None = None


def view_batch(
    towers: Sequence[str],
    shared: Sequence[int],
    place: Places,
    identity: Places,
    labels: Sequence[int] | None,
    rows: Sequence[int],
    size: int | None = None,
) -> ViewBatch:
    """The positions `shared` of a batch, which all have these towers; `size` as in `ViewBatch`, None: all."""
    columns = [[identity[name][n] for n in shared] for name in towers]
    if labels is not None:
        columns.append([labels[n] for n in shared])
    # What stands once here may stand in another process's part too.
    doubled = size is not None or any(len(set(column)) < len(shared) for column in columns)
    return ViewBatch(
        tuple(towers),
        tuple(torch.tensor([place[name][n] for n in shared], dtype=torch.long) for name in towers),
        torch.tensor(columns, dtype=torch.long).T.contiguous() if doubled else None,
        torch.tensor([rows[n] for n in shared], dtype=torch.long),
        len(shared) if size is None else size,
    )


def pair_batch(
    pair: Pair,
    place: Places,
    identity: Places,
    rows: Sequence[int],
    labels: Sequence[int] | None = None,
    further: Mapping[str, Further] | None = None,
    have: Sequence[Collection[str]] | None = None,
) -> PairBatch | None:
    """The rows that both towers of a pair have, or None where fewer than two do.

    Args:
        pair: names of two towers.
        place: tower -> position in the batch -> row of the tower's embeddings.
        identity: tower -> position in the batch -> number of the item (equal items have the same).
        rows: position in the batch -> position in the manifest.
        labels: number of the set of labels at each position of the batch, its own where a row has none; None: labels
            make no positives.
        further: tower -> its rows' further captions.
        have: the towers of every row of a batch of which this is a process's part; None: it is the whole.

    Worked out on the CPU, with the batch, so that the training step waits for nothing on a GPU.
    """
    shared = [n for n in place[pair.a] if n in place[pair.b]]
    size = None if have is None else sum(pair.a in own and pair.b in own for own in have)
    if (len(shared) if size is None else size) < 2:
        return None
    views = view_batch((pair.a, pair.b), shared, place, identity, labels, rows, size)
    a_index, b_index = views.index
    found = PairBatch(**vars(views), a=pair.a, b=pair.b, weight=pair.weight, a_index=a_index, b_index=b_index)
    for tower in (pair.a, pair.b):
        for kind, of in (further or {}).get(tower, {}).items():
            most = max((len(of.get(n, ())) for n in shared), default=0)
            if most:
                padded = [[*of.get(n, ()), *[-1] * (most - len(of.get(n, ())))] for n in shared]
                found.captions = tower
                setattr(found, kind, torch.tensor(padded))
        if found.captions:  # they are of one tower
            break
    return found


def views_of(
    place: Places,
    identity: Places,
    rows: Sequence[int],
    labels: Sequence[int] | None = None,
    have: Sequence[tuple[str, ...]] | None = None,
) -> list[ViewBatch]:
    """The rows by which towers they have: each set of two towers or more that two rows or more share exactly.

    Args: see `pair_batch`.
    """
    own = [tuple(name for name in place if n in place[name]) for n in range(len(rows))]
    found = []
    for towers, size in sorted(Counter(own if have is None else have).items()):
        if len(towers) > 1 and size > 1:
            shared = [n for n, these in enumerate(own) if these == towers]
            found.append(view_batch(towers, shared, place, identity, labels, rows, None if have is None else size))
    return found
