"""What holds of every registered loss: order, gradients, equal rows, one row, half precision, no negatives."""

from dataclasses import replace
from importlib import import_module
from itertools import count

import pytest
import torch

from modalign import RecipeError
from modalign.align.losses import ISogCLR, LossInputs, list_losses
from tests.align.losses.vectors import inputs_for, made

NEED_TWO = {"uniform", "xuniform", "dcl", "dclw", "mv_infonce", "mv_dhel"}
"""Means over different rows: not defined of one."""


@pytest.fixture(params=list_losses())
def loss(request):
    return made(request.param)


def of_rows(inputs, order):
    """The same inputs in another order, or fewer of them."""
    by_row = ("groups", "rows", "hard", "hard_mask", "parts", "parts_mask")
    given = {name: getattr(inputs, name)[order] for name in by_row if getattr(inputs, name) is not None}
    views, features = (tuple(one[order] for one in several) for several in (inputs.views, inputs.features))
    return replace(inputs, views=views, features=features, **given)


@pytest.mark.parametrize("groups", [None, torch.tensor([[0, 0], [1, 1], [0, 2], [2, 3], [3, 3]])], ids=["", "groups"])
def test_a_permuted_batch_has_the_same_loss(loss, groups):
    inputs = inputs_for(loss, groups=groups)
    value = loss(inputs)
    torch.testing.assert_close(made(loss.name)(of_rows(inputs, torch.tensor([3, 0, 4, 1, 2]))), value)


def test_gradients(loss, monkeypatch):
    """Against finite differences, what is a constant by definition held as it is at these inputs."""
    if loss.name == "cwcl":
        pytest.skip("its weights are sums that it takes on the way: see test_cwcl")
    inputs = inputs_for(loss, rows=4)
    HELD.get(loss.name, lambda *_: None)(inputs, monkeypatch)
    needed = [name for name in ("scale", "bias", "hard", "parts") if name in loss.needs]
    tensors = [t.clone().requires_grad_() for t in (*inputs.views, *(getattr(inputs, n) for n in needed))]

    def value(*given):
        views, others = given[: len(inputs.views)], given[len(inputs.views) :]
        return made(loss.name)(replace(inputs, views=views, **dict(zip(needed, others))))

    assert torch.autograd.gradcheck(value, tensors)


def hold_weights(inputs, monkeypatch):
    """iSogCLR: p is of the states."""
    real, similar = ISogCLR._weights, (inputs.x @ inputs.y.T).clone()

    def weights(self, side, h, rows, negative):
        known = similar if side == "x" else similar.T
        return real(self, side, known - known.diagonal().unsqueeze(1), rows, negative)

    monkeypatch.setattr(ISogCLR, "_weights", weights)


def hold_positives(inputs, monkeypatch):
    """DCLW: the weights are of detached similarities."""
    module = import_module("modalign.align.losses.dcl")
    real, positive = module._decoupled, (inputs.x * inputs.y).sum(1).clone()
    weights = 2 - len(positive) * (positive / 0.5).softmax(0)
    monkeypatch.setattr(module, "_decoupled", lambda *given: real(*given[:-1], lambda _: weights))


def hold_targets(inputs, monkeypatch):
    """M3CoL: the soft targets are of detached rows."""
    module = import_module("modalign.align.losses.m3col")
    real, both = module.soft_cross_entropy, [v.clone() for v in (inputs.y, inputs.y, inputs.x, inputs.x)]
    known, turn = [(v @ v.T / 0.125).softmax(1) for v in both], count()
    monkeypatch.setattr(module, "soft_cross_entropy", lambda logits, _: real(logits, known[next(turn) % 4]))


HELD = {"isogclr": hold_weights, "dclw": hold_positives, "m3col": hold_targets}


def test_equal_embeddings_are_finite(loss):
    inputs = inputs_for(loss)
    same = tuple(torch.nn.functional.normalize(torch.ones(5, 6, dtype=torch.float64), dim=1) for _ in inputs.views)
    tensors = tuple(view.requires_grad_() for view in same)
    value = loss(replace(inputs, views=tensors, hard=tensors[0].unsqueeze(1), hard_mask=torch.ones(5, 1).bool()))
    value.backward()
    assert torch.isfinite(value)
    assert all(t.grad is None or torch.isfinite(t.grad).all() for t in tensors)


def test_one_row(loss):
    inputs = inputs_for(loss, rows=1)
    if loss.name in NEED_TWO:
        with pytest.raises(RecipeError, match="compares different rows"):
            loss(inputs)
    else:
        assert torch.isfinite(loss(inputs))


def test_half_precision_is_computed_in_float32(loss):
    inputs = inputs_for(loss, dtype=torch.float32)
    half = replace(inputs, views=tuple(view.bfloat16() for view in inputs.views))
    whole = replace(half, views=tuple(view.float() for view in half.views))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = loss.float()(half)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, made(loss.name).float()(whole))


@pytest.mark.parametrize("groups", [[[0], [0], [0], [0], [0]], [[0, 0], [0, 1], [1, 0], [2, 2], [3, 3]]])
def test_a_row_without_a_negative_is_finite(loss, groups):
    inputs = inputs_for(loss, groups=torch.tensor(groups))
    views = tuple(view.requires_grad_() for view in inputs.views)
    value = loss(replace(inputs, views=views))
    assert torch.isfinite(value)
    if value.requires_grad:
        value.backward()
        assert all(v.grad is None or torch.isfinite(v.grad).all() for v in views)


def test_what_it_asks_for_is_known(loss):
    assert loss.needs
    assert loss.any_number != ({"x", "y"} <= loss.needs)
    assert isinstance(inputs_for(loss), LossInputs)
