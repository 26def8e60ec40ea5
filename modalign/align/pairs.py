"""Pairs by row: which rows of a batch two towers share, and which of them hold the same item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modalign.align.config import Pair


@dataclass
class PairBatch:
    """One pair in one batch.

    Attributes:
        a, b: names of the towers.
        weight: the pair's weight in the sum.
        a_index, b_index: (R,) rows of the towers' embeddings that belong together.
        groups: (R, 2) numbers of the items (a's, b's), and (R, 3) with those of the labels where these count; None
            where nothing stands twice.
    """

    a: str
    b: str
    weight: float
    a_index: Tensor
    b_index: Tensor
    groups: Tensor | None


def pair_batch(
    pair: Pair,
    place: Mapping[str, Mapping[int, int]],
    identity: Mapping[str, Mapping[int, int]],
    labels: Sequence[int] | None = None,
) -> PairBatch | None:
    """The rows that both towers of a pair have, or None where fewer than two do.

    Args:
        pair: names of two towers.
        place: tower -> position in the batch -> row of the tower's embeddings.
        identity: tower -> position in the batch -> number of the item (equal items have the same).
        labels: number of the set of labels at each position of the batch, its own where a row has none; None: labels
            make no positives.

    Worked out on the CPU, with the batch, so that the training step waits for nothing on a GPU.
    """
    shared = [n for n in place[pair.a] if n in place[pair.b]]
    if len(shared) < 2:
        return None
    columns = [[identity[pair.a][n] for n in shared], [identity[pair.b][n] for n in shared]]
    if labels is not None:
        columns.append([labels[n] for n in shared])
    doubled = any(len(set(column)) < len(shared) for column in columns)
    return PairBatch(
        pair.a,
        pair.b,
        pair.weight,
        torch.tensor([place[pair.a][n] for n in shared]),
        torch.tensor([place[pair.b][n] for n in shared]),
        torch.tensor(columns).T.contiguous() if doubled else None,
    )
