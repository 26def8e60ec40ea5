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


def log_sum_exp(
    x: Tensor, y: Tensor, scale: Tensor, rows: bool = True, columns: bool = True, own_at: int | None = None
) -> tuple[Tensor, Tensor]:
    """Log-sum-exps of the rows and of the columns of `scale * x @ y.T`.

    Across processes x has this process's rows and y those of all: the columns' sums are then over all processes' x.

    Args:
        x: (n, d).
        y: (N, d).
        scale: a scalar.
        rows, columns: which are wanted; the others are empty.
        own_at: the place in y of x's first row, where x are rows of y: each row then leaves itself out.

    Returns:
        (n,) and (N,).
    """
    result: tuple[Tensor, Tensor] = _LogSumExp.apply(x, y, scale, rows, columns, own_at)  # type: ignore[no-untyped-call]
    return result


def softplus_sums(x: Tensor, y: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """(n,) sums over the columns of `ln(1 + exp(scale * x @ y.T + bias))`; x (n, d), y (N, d), scalars."""
    result: Tensor = _SoftplusSums.apply(x, y, scale, bias)  # type: ignore[no-untyped-call]
    return result


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, scale: Tensor, rows: bool, columns: bool, own_at: int | None
    ) -> tuple[Tensor, Tensor]:
        tops = [x.new_full((len(t) if wanted else 0,), -math.inf) for t, wanted in ((x, rows), (y, columns))]
        sums = [torch.zeros_like(top) for top in tops]
        for a, b, z, spare in _tiles(x, y, scale / _LN2, spare=rows and columns):
            _leave_out_own(z, a, b, own_at)
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
        ctx.wanted = rows, columns, own_at
        of_rows, of_columns = (_LN2 * (top + total.log2()) for top, total in zip(tops, sums))
        return of_rows, of_columns

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, row_grad: Tensor, column_grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, row_top, column_top, row_sum, column_sum = ctx.saved_tensors
        rows, columns, own_at = ctx.wanted
        if ctx.across:
            column_grad = column_grad.clone()
            dist.all_reduce(column_grad)
        # A softmax is exp(z - top) / sum, and not exp(z - lse): the subtraction of what is close to it loses nothing.
        row_weight, column_weight = (row_grad / row_sum).unsqueeze(1), column_grad / column_sum
        grads = _Gradients(ctx, x, y, scale)
        for a, b, z, spare in _tiles(x, y, scale / _LN2, spare=rows and columns):
            _leave_out_own(z, a, b, own_at)
            if rows:
                torch.sub(z, row_top[a].unsqueeze(1), out=spare).exp2_()
            if columns:
                z.sub_(column_top[b]).exp2_().mul_(column_weight[b])
            if rows and columns:
                z.addcmul_(spare, row_weight[a])
            elif rows:
                z.mul_(row_weight[a])
            grads.add(a, b, z)
        return *grads.result(), None, None, None


class _SoftplusSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        above, below = x.new_zeros(len(x)), x.new_zeros(len(x))
        for a, _, z, spare in _tiles(x, y, scale / _LN2, spare=True):
            # softplus(z) = max(z, 0) + log1p(exp(-|z|)), and -|z| = z - 2 max(z, 0)
            z.add_(bias / _LN2)
            above[a] += torch.clamp(z, min=0, out=spare).sum(1)
            below[a] += _log1p_sums(z.sub_(spare, alpha=2).exp2_())
        ctx.save_for_backward(x, y, scale, bias)
        return above * _LN2 + below

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, bias = ctx.saved_tensors
        grads = _Gradients(ctx, x, y, scale)
        bias_grad = torch.zeros_like(grad)
        for a, b, z, _ in _tiles(x, y, scale, spare=False):
            z.add_(bias).sigmoid_().mul_(grad[a].unsqueeze(1))
            grads.add(a, b, z)
            bias_grad[a] += z.sum(1)
        return *grads.result(), bias_grad.sum().reshape(bias.shape)


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


def _leave_out_own(z: Tensor, a: slice, b: slice, own_at: int | None) -> None:
    if own_at is not None:
        # Not -inf: a row that has none but itself stays finite, and no other row's sum is changed by it.
        z.diagonal(a.start + own_at - b.start).fill_(torch.finfo(z.dtype).min / 2)


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
