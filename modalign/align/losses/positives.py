"""Which rows are positives of each other, without a matrix of all pairs."""

from __future__ import annotations

import torch
from torch import Tensor


class Positives:
    """Sums over the positives of each row: the rows that agree with it in any column of `groups`, itself among them.

    A column alone divides the rows into sets, and a sum over a set is made once for all its rows. Rows that agree in
    several columns would be counted several times, so by inclusion and exclusion the sets of every pair of columns are
    taken off again, those of every three added, and so on: linear in the rows, and nothing waits for the device.

    Args:
        groups: (N, K) int64; the cost grows with 2^K.

    Attributes:
        counts: (N,) float32, the number of positives.

    Example:
        >>> import torch
        >>> positives = Positives(torch.tensor([[0, 5], [1, 5], [1, 6]]))
        >>> positives.counts.tolist()
        [2.0, 3.0, 2.0]
        >>> positives.sums(torch.tensor([[1.0], [10.0], [100.0]])).flatten().tolist()
        [11.0, 111.0, 110.0]
    """

    def __init__(self, groups: Tensor) -> None:
        self.divisions: list[tuple[float, Tensor]] = []
        for column in groups.unbind(1):
            own = _numbered(column)
            met = [(-sign, _numbered(number * len(groups) + own)) for sign, number in self.divisions]
            self.divisions += [(1.0, own), *met]
        self.counts = self.sums(torch.ones(len(groups), 1, dtype=torch.float32, device=groups.device)).squeeze(1)

    def means(self, values: Tensor, of: slice = slice(None)) -> Tensor:
        """(N, d) -> (n, d): for each row in `of`, the mean over its positives."""
        return self.sums(values, of) / self.counts[of].to(values.dtype).unsqueeze(1)

    def dealt(self, values: Tensor, of: slice = slice(None)) -> Tensor:
        """(N, d) -> (n, d): what each row in `of` gets where every row deals its values evenly to its positives."""
        return self.sums(values / self.counts.to(values.dtype).unsqueeze(1), of)

    def sums(self, values: Tensor, of: slice = slice(None)) -> Tensor:
        """(N, d) values -> (n, d): for each row in `of`, the sum over its positives."""
        total = values.new_zeros(())
        for sign, number in self.divisions:
            sets = torch.zeros_like(values).index_add(0, number, values)
            total = torch.add(total, sets.index_select(0, number[of]), alpha=sign)
        return total


def _numbered(ids: Tensor) -> Tensor:
    """(N,) any ids -> (N,) numbers below N, equal where the ids are (`unique` would wait for the device)."""
    order = ids.argsort()
    ordered = ids[order]
    changes = torch.zeros_like(ids)
    changes[1:] = ordered[1:] != ordered[:-1]
    return torch.empty_like(ids).scatter_(0, order, changes.cumsum(0))
