"""CWCL against the fixture, its limits, and its gradient, in which the weights are constants."""

import math

import pytest
import torch

from modalign import RecipeError
from modalign.align.losses import cwcl, infonce, tiles
from tests.align.losses import reference
from tests.align.losses.vectors import SCALE, X, Y, random_rows, unit


def test_fixture():
    total = cwcl(X, Y, SCALE)
    assert total.item() == pytest.approx(2.212563, abs=1e-6)
    other = infonce(X, Y, SCALE, direction="y2x")
    assert other.item() == pytest.approx(0.691228, abs=1e-6)
    assert (total - other).item() == pytest.approx(1.521335, abs=1e-6)
    torch.testing.assert_close(cwcl(Y, X, SCALE, trusted="y"), total)


def test_weights_that_are_the_identity_give_clips_sum():
    opposed = unit(20, 200)
    torch.testing.assert_close(cwcl(opposed, Y[:2], SCALE), 2 * infonce(opposed, Y[:2], SCALE))


def test_equal_trusted_rows_have_uniform_targets():
    same, logits = unit(40, 40, 40), SCALE * unit(40, 40, 40) @ Y.T
    uniform = -logits.log_softmax(1).mean(1).mean()
    torch.testing.assert_close(cwcl(same, Y, SCALE) - infonce(same, Y, SCALE, direction="y2x"), uniform)
    assert cwcl(same, same, SCALE).item() == pytest.approx(2 * math.log(3))


@pytest.mark.parametrize("trusted", ["x", "y"])
def test_no_gradient_goes_to_the_weights(trusted, monkeypatch):
    monkeypatch.setitem(tiles._SIDE, "cpu", 2)
    given = [t.requires_grad_() for t in (random_rows(5, 3, 1), random_rows(5, 3, 2), SCALE.clone())]
    p = given["xy".index(trusted)].detach().clone()

    def held(x, y, scale):
        return reference.cwcl(x, y, scale, trusted=trusted, weights=(1 + p @ p.T) / 2)

    assert torch.autograd.gradcheck(held, given)
    torch.testing.assert_close(
        torch.autograd.grad(cwcl(*given, trusted=trusted), given), torch.autograd.grad(held(*given), given)
    )


def test_the_trusted_tower_is_named():
    with pytest.raises(RecipeError, match="'text' is not one of x, y"):
        cwcl(X, Y, SCALE, trusted="text")
