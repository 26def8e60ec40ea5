"""Pairs by row: which rows of a batch two towers share, and which of them hold the same item."""

from __future__ import annotations

from collections.abc import Mapping
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
        groups: (R, 2) numbers of the items (a's, b's), or None where no item stands twice.
    """

    a: str
    b: str
    weight: float
    a_index: Tensor
    b_index: Tensor
    groups: Tensor | None


def pair_batch(
    pair: Pair, place: Mapping[str, Mapping[int, int]], identity: Mapping[str, Mapping[int, int]]
) -> PairBatch | None:
    """The rows that both towers of a pair have, or None where fewer than two do.

    Args:
        pair: names of two towers.
        place: tower -> position in the batch -> row of the tower's embeddings.
        identity: tower -> position in the batch -> number of the item (equal items have the same).

    Worked out on the CPU, with the batch, so that the training step waits for nothing on a GPU.
    """
    shared = [n for n in place[pair.a] if n in place[pair.b]]
    if len(shared) < 2:
        return None
    a_items = [identity[pair.a][n] for n in shared]
    b_items = [identity[pair.b][n] for n in shared]
    doubled = len(set(a_items)) < len(shared) or len(set(b_items)) < len(shared)
    return PairBatch(
        pair.a,
        pair.b,
        pair.weight,
        torch.tensor([place[pair.a][n] for n in shared]),
        torch.tensor([place[pair.b][n] for n in shared]),
        torch.tensor([a_items, b_items]).T.contiguous() if doubled else None,
    )
