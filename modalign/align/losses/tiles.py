"""The parts of a loss that need every pair of a batch, computed tile by tile.

A tile of the logits is made, used and overwritten by the next; the backward pass makes it again. So memory grows with
the rows and not with their square, and one matrix product a tile serves both directions: four products of the size
of the whole in all, one forward and three backward, which is what the dense form needs at the least.

The exponentials are taken in base 2, where they cost less: the logits are made with scale / ln 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from modalign.align.distributed import processes

_SIDE = {"cpu": 1024, "other": 4096}
"""Rows and columns of a tile by kind of device: what a processor's cache holds, or what keeps a GPU busy."""

_LN2 = math.log(2)


def log_sum_exp(x: Tensor, y: Tensor, scale: Tensor, own_at: int = 0) -> Tensor:
    """Log-sum-exp of each row of `scale * x @ y.T`, in which the own column is left out.

    Args:
        x: (n, d), rows of y.
        y: (N, d).
        scale: a scalar.
        own_at: the place in y of x's first row.

    Returns:
        (n,).
    """
    result: Tensor = _LogSumExp.apply(x, y, scale, own_at, True, False, True)[0]
    return result


def surprise(
    x: Tensor, y: Tensor, scale: Tensor, own_at: int = 0, rows: bool = True, columns: bool = True
) -> tuple[Tensor, Tensor]:
    """`-log softmax` of the own logit of each row, and of each column, of `scale * x @ y.T`.

    Taken relative to the own logit all along: where that is nearly all of the softmax nothing is lost to rounding.
    Across processes x has this process's rows and y those of all: the columns' sums are then over all processes' x.

    Args:
        x: (n, d).
        y: (N, d).
        scale: a scalar.
        own_at: the place in y of the row that is paired with x's first.
        rows, columns: which are wanted; the others are zeros.

    Returns:
        (n,) for x and (n,) for the columns that are paired with x.
    """
    result: tuple[Tensor, Tensor] = _LogSumExp.apply(x, y, scale, own_at, rows, columns, False)
    return result


def sigmoid_surprise(x: Tensor, y: Tensor, scale: Tensor, bias: Tensor, own_at: int = 0) -> Tensor:
    """Row sums of `-ln sigmoid(z)` for the own column and of `-ln sigmoid(-z)` for the others.

    z is `scale * x @ y.T + bias`; the rest as of `surprise`. Returns (n,).
    """
    result: Tensor = _SigmoidSurprise.apply(x, y, scale, bias, own_at)
    return result


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, scale: Tensor, own_at: int, rows: bool, columns: bool, leave_out: bool
    ) -> tuple[Tensor, Tensor]:
        tops = [x.new_full((len(t) if wanted else 0,), -math.inf) for t, wanted in ((x, rows), (y, columns))]
        sums = [torch.zeros_like(top) for top in tops]
        own = x.new_zeros(len(x))
        for a, b, z, spare in _tiles(x, y, scale / _LN2, spare=rows and columns):
            _take_own(z, a, b, own_at, None if leave_out else own)
            if rows:
                _accumulate(z, tops[0][a], sums[0][a], 1, spare)
            if columns:
                _accumulate(z, tops[1][b], sums[1][b], 0, z)
        ctx.across = columns and processes() > 1
        if ctx.across:
            top = tops[1].clone()
            dist.all_reduce(top, dist.ReduceOp.MAX)
            sums[1] *= torch.exp2(tops[1] - top)
            dist.all_reduce(sums[1])
            tops[1] = top
        ctx.save_for_backward(x, y, scale, *tops, *sums)
        ctx.given = own_at, rows, columns, leave_out
        paired = slice(own_at, own_at + len(x))
        of_rows = _LN2 * (tops[0] - own + sums[0].log2()) if rows else torch.zeros_like(own)
        of_columns = _LN2 * (tops[1][paired] - own + sums[1][paired].log2()) if columns else torch.zeros_like(own)
        return of_rows, of_columns

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, row_grad: Tensor, own_column_grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, row_top, column_top, row_sum, column_sum = ctx.saved_tensors
        own_at, rows, columns, leave_out = ctx.given
        # A softmax is exp(z - top) / sum, and not exp(z - lse): the subtraction of what is close to it loses nothing.
        row_weight, column_weight = row_grad, own_column_grad
        if rows:
            row_weight = (row_grad / row_sum).unsqueeze(1)
        if columns:
            column_grad = y.new_zeros(len(y))
            column_grad[own_at : own_at + len(x)] = own_column_grad
            if ctx.across:
                dist.all_reduce(column_grad)
            column_weight = column_grad / column_sum
        own_grad = row_grad * rows + own_column_grad * columns
        grads = _Gradients(ctx, x, y, scale)
        for a, b, z, spare in _tiles(x, y, scale / _LN2, spare=rows and columns):
            if leave_out:
                _take_own(z, a, b, own_at, None)
            if rows:
                torch.sub(z, row_top[a].unsqueeze(1), out=spare).exp2_()
            if columns:
                z.sub_(column_top[b]).exp2_().mul_(column_weight[b])
            if rows and columns:
                z.addcmul_(spare, row_weight[a])
            elif rows:
                z.mul_(row_weight[a])
            if not leave_out:
                diagonal, of = _own(z, a, b, own_at)
                diagonal.sub_(own_grad[of])
            grads.add(a, b, z)
        return *grads.result(), None, None, None, None


class _SigmoidSurprise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor, bias: Tensor, own_at: int) -> Tensor:
        above, below = x.new_zeros(len(x)), x.new_zeros(len(x))
        for a, b, z, spare in _tiles(x, y, scale / _LN2, spare=True):
            z.add_(bias / _LN2)
            _own(z, a, b, own_at)[0].neg_()
            # softplus(z) = max(z, 0) + log1p(exp(-|z|)), and -|z| = z - 2 max(z, 0)
            above[a] += torch.clamp(z, min=0, out=spare).sum(1)
            below[a] += _log1p_sums(z.sub_(spare, alpha=2).exp2_())
        ctx.save_for_backward(x, y, scale, bias)
        ctx.own_at = own_at
        return above * _LN2 + below

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, bias = ctx.saved_tensors
        grads = _Gradients(ctx, x, y, scale)
        bias_grad = torch.zeros_like(grad)
        for a, b, z, _ in _tiles(x, y, scale, spare=False):
            diagonal = _own(z.add_(bias), a, b, ctx.own_at)[0]
            diagonal.neg_()
            z.sigmoid_().mul_(grad[a].unsqueeze(1))
            diagonal.neg_()
            grads.add(a, b, z)
            bias_grad[a] += z.sum(1)
        return *grads.result(), bias_grad.sum().reshape(bias.shape), None


def _tiles(x: Tensor, y: Tensor, scale: Tensor, spare: bool) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Each tile of `scale * x @ y.T` with its rows and columns, and memory to work in (the tile without `spare`).

    All tiles share their memory.
    """
    side = _SIDE["cpu" if x.device.type == "cpu" else "other"]
    height, width = min(len(x), side), min(len(y), side)
    memory = [x.new_empty(height * width) for _ in range(1 + spare)]
    for top in range(0, len(x), height or 1):
        a = slice(top, min(top + height, len(x)))
        scaled = x[a] * scale
        for left in range(0, len(y), width or 1):
            b = slice(left, min(left + width, len(y)))
            shape = (a.stop - a.start, b.stop - b.start)
            z, *rest = (m[: shape[0] * shape[1]].view(shape) for m in memory)
            torch.mm(scaled, y[b].T, out=z)
            yield a, b, z, rest[0] if spare else z


def _own(z: Tensor, a: slice, b: slice, own_at: int) -> tuple[Tensor, slice]:
    """The own logits within a tile (a view), and the rows that they are of."""
    offset = a.start + own_at - b.start
    diagonal = z.diagonal(offset)
    first = a.start + max(0, -offset)
    return diagonal, slice(first, first + len(diagonal))


def _take_own(z: Tensor, a: slice, b: slice, own_at: int, own: Tensor | None) -> None:
    """Note a tile's own logits in `own`; without it, leave them out of the tile."""
    diagonal, of = _own(z, a, b, own_at)
    if own is not None:
        own[of] = diagonal
    else:
        # Not -inf: a row that has none but itself stays finite, and no other row's sum is changed by it.
        diagonal.fill_(torch.finfo(z.dtype).min / 2)


def _accumulate(z: Tensor, top: Tensor, total: Tensor, dim: int, memory: Tensor) -> None:
    """Take a tile into the running maximum of an axis, and into the sum of exponentials relative to it."""
    new = torch.maximum(top, z.amax(dim))
    total.mul_(torch.exp2(top - new))
    total.add_(torch.sub(z, new.unsqueeze(dim), out=memory).exp2_().sum(dim))
    top.copy_(new)


def _log1p_sums(u: Tensor) -> Tensor:
    """(r, c) numbers in [0, 1], which are overwritten -> (r,) sums of log1p.

    log1p(a) + log1p(b) = log1p(a + b + ab): halves are folded onto each other before a logarithm, slow on processors,
    is taken of what remains; six times, so that it stays below 2^64.
    """
    for _ in range(6):
        half = u.shape[1] // 2
        first, last = u[:, :half], u[:, u.shape[1] - half :]
        first.add_(last.addcmul_(first, last))
        u = u[:, : u.shape[1] - half]
    return u.log1p().sum(1)


class _Gradients:
    """Adds up the gradients of x, y and scale from those of the tiles of `scale * x @ y.T`."""

    def __init__(self, ctx: Any, x: Tensor, y: Tensor, scale: Tensor) -> None:
        needs_x, self.needs_y, self.needs_scale, *_ = ctx.needs_input_grad
        self.needs_x = needs_x or (self.needs_scale and not self.needs_y)
        self.x, self.y, self.scale = x, y, scale
        self.x_grad = torch.zeros_like(x) if self.needs_x else None
        self.y_grad = torch.zeros_like(y) if self.needs_y else None

    def add(self, a: slice, b: slice, z_grad: Tensor) -> None:
        if self.x_grad is not None:
            self.x_grad[a].addmm_(z_grad, self.y[b])
        if self.y_grad is not None:
            self.y_grad[b].addmm_(z_grad.T, self.x[a])

    def result(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        scale_grad = None
        if self.needs_scale:
            # sum_ij z_grad_ij x_i . y_j, by rows or by columns
            own, grad = (self.x, self.x_grad) if self.x_grad is not None else (self.y, self.y_grad)
            assert grad is not None
            scale_grad = torch.linalg.vecdot(own, grad).sum().reshape(self.scale.shape)
        for grad in (self.x_grad, self.y_grad):
            if grad is not None:
                grad.mul_(self.scale)
        return self.x_grad, self.y_grad, scale_grad
