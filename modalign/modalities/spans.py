"""From tokens to places: which part of its input each token stands for, and relevance laid over other grids.

Pure functions. What is laid over another grid keeps its sum, so that relevance can be added up over windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class TokenSpans(NamedTuple):
    """What the tokens of an encoder's attention stand for.

    Attributes:
        spans: (L, axes, 2): along each axis of one item's main input (`values`, without the batch axis), the first
            index and the one after the last. NaN for a token that stands for no part, as a class token.
        read: (L,): how much each token's row counts in what is pooled; sums to 1. One for a class token, equal parts
            for a mean. Where attention runs within groups of tokens (the slices of a stack), it sums to 1 in each.
    """

    spans: Tensor
    read: Tensor


def grid_spans(
    shape: Sequence[int], size: Sequence[int], stride: Sequence[int] | None = None, order: Sequence[int] | None = None
) -> Tensor:
    """Spans of the patches of a regular grid: (L, axes, 2).

    Args:
        shape: of the input, without the batch axis.
        size: of a patch, along each axis.
        stride: from a patch to the next; None: `size`.
        order: axes from the one that changes slowest to the one that changes fastest; None: as they stand.

    Example:
        >>> grid_spans((2, 10), (2, 5)).tolist()
        [[[0.0, 2.0], [0.0, 5.0]], [[0.0, 2.0], [5.0, 10.0]]]
    """
    stride = size if stride is None else stride
    order = range(len(shape)) if order is None else order
    starts = [
        torch.arange((n - s) // t + 1, dtype=torch.float32) * t if n >= s else torch.zeros(0)
        for n, s, t in zip(shape, size, stride)
    ]
    mesh = torch.meshgrid(*[starts[axis] for axis in order], indexing="ij")
    first = torch.stack([mesh[list(order).index(axis)].flatten() for axis in range(len(shape))], 1)
    return torch.stack([first, first + torch.tensor(size, dtype=torch.float32)], 2)


def with_special(spans: Tensor, before: int) -> Tensor:
    """The spans with so many tokens before them that stand for no part: (L, axes, 2) -> (before + L, axes, 2)."""
    return torch.cat([spans.new_full((before, *spans.shape[1:]), math.nan), spans])


def one_row(count: int, *rows: int) -> Tensor:
    """`read` (count,) of some tokens alone, in equal parts.

    Example:
        >>> one_row(4, 0, 1).tolist()
        [0.5, 0.5, 0.0, 0.0]
    """
    read = torch.zeros(count)
    read[list(rows)] = 1 / len(rows)
    return read


def mean_rows(mask: Tensor) -> Tensor:
    """`read` (L,) of the mean over real tokens, from a mask (L,)."""
    weights = mask.float().cpu()
    return weights / weights.sum().clamp_min(1)


def spread(relevance: Tensor, spans: Tensor, shape: Sequence[int], saliency: Tensor | None = None) -> Tensor:
    """Relevance of tokens (L,) -> of the input they stand for, of `shape`; what has no part is left out.

    A token's relevance is spread evenly over its span. Spans that overlap add up.

    Args:
        relevance: (L,).
        spans: (L, axes, 2).
        shape: of the input, without the batch axis.
        saliency: of that shape and not negative: each token's relevance is shared over the first axis (leads, channels)
            in proportion to it. None: evenly.

    Example:
        >>> spread(torch.tensor([2.0, 4.0]), grid_spans((1, 4), (1, 2)), (1, 4)).tolist()
        [[1.0, 1.0, 2.0, 2.0]]
    """
    out = torch.zeros(tuple(shape), dtype=torch.float32)
    for value, box in zip(relevance.float().cpu().tolist(), spans.cpu()):
        if value == 0 or bool(box.isnan().any()):
            continue
        part = tuple(slice(max(int(a), 0), min(int(b), n)) for (a, b), n in zip(box.tolist(), shape))
        rows = len(range(*part[0].indices(shape[0])))
        size = math.prod(s.stop - s.start for s in part)
        if size <= 0:
            continue
        shares: Tensor | float = 1.0
        if saliency is not None and rows > 1 and len(part) > 1:
            weights = saliency[part].float().cpu().flatten(1).sum(1)
            if float(weights.sum()) > 0:
                shares = (rows * weights / weights.sum()).view(-1, *[1] * (len(part) - 1))
        out[part] += value / size * shares
    return out


def redistribute(values: Tensor, edges: Tensor, count: int) -> Tensor:
    """Amounts (..., n) of cells with edges (n + 1,) -> amounts (..., count) of the cells [0, 1), [1, 2), ...

    What lies outside of them is lost; inside, sums stay.

    Example:
        >>> redistribute(torch.tensor([4.0, 2.0]), torch.tensor([0.0, 2.0, 4.0]), 4).tolist()
        [2.0, 2.0, 1.0, 1.0]
    """
    total = torch.nn.functional.pad(values.double().cumsum(-1), (1, 0))
    edges = edges.double().contiguous()
    wanted = torch.arange(count + 1, dtype=torch.float64).clamp(float(edges[0]), float(edges[-1]))
    after = torch.searchsorted(edges, wanted, right=True).clamp(1, len(edges) - 1)
    width = (edges[after] - edges[after - 1]).clamp_min(1e-12)
    part = ((wanted - edges[after - 1]) / width).clamp(0, 1)
    at = total[..., after - 1] + part * (total[..., after] - total[..., after - 1])
    return at.diff(dim=-1).float()


def lay(relevance: Tensor, first: float, last: float, count: int) -> Tensor:
    """Relevance (..., n) laid evenly over [first, last) of `count` cells: (..., count)."""
    edges = first + (last - first) * torch.arange(relevance.shape[-1] + 1, dtype=torch.float64) / relevance.shape[-1]
    return redistribute(relevance, edges, count)


def default_cells(shape: Sequence[int]) -> tuple[int, ...]:
    """Sizes of the parts of an input that are blanked out at once, by its number of axes (without the batch).

    Tokens (L,): one; a waveform (T,), a long (C, T): a 32nd of the time, at most 24 groups of channels; pictures
    (C, H, W): a 16th of a side; volumes (C, D, H, W): an 8th; all channels at once for these two.

    Example:
        >>> default_cells((12, 1000)), default_cells((1, 96, 96)), default_cells((66, 200))
        ((1, 32), (1, 6, 6), (3, 7))
    """
    if len(shape) == 1:
        return (1,) if shape[0] <= 512 else (math.ceil(shape[0] / 32),)
    if len(shape) == 2:
        return math.ceil(shape[0] / 24), math.ceil(shape[1] / 32)
    parts = 16 if len(shape) == 3 else 8
    return shape[0], *(math.ceil(n / parts) for n in shape[1:])
