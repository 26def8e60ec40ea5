"""InfoNCE against the fixture (three unit vectors a side, in degrees), its limits, and its gradients."""

import math

import pytest
import torch

from modalign import RecipeError
from modalign.align.losses import LossInputs, get_loss, infonce, list_losses
from modalign.align.losses.registry import register_loss


def unit(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], 1)


X, Y, Z = unit(0, 60, 90), unit(30, 60, 180), unit(10, 80, 150)
SCALE = torch.tensor(2.0, dtype=torch.float64)
EQUAL_Y, EQUAL_GROUPS = unit(30, 30, 180), torch.tensor([[0], [0], [1]])


@pytest.mark.parametrize(
    ("x", "y", "direction", "expected"),
    [
        (X, Y, "x2y", 1.080737),
        (X, Y, "y2x", 0.691228),
        (X, Y, "both", 0.885982),
        (X, Z, "both", 0.648009),
        (Y, Z, "both", 0.387527),
    ],
)
def test_fixture(x, y, direction, expected):
    assert infonce(x, y, SCALE, direction=direction).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("direction", "expected"), [("x2y", 1.097405), ("y2x", 0.741622), ("both", 0.919513)])
def test_equal_captions_are_positives_of_each_other(direction, expected):
    assert infonce(X, EQUAL_Y, SCALE, EQUAL_GROUPS, direction).item() == pytest.approx(expected, abs=1e-6)


def test_groups_that_all_differ_are_plain_infonce():
    groups = torch.tensor([[0, 5], [1, 6], [2, 7]])
    torch.testing.assert_close(infonce(X, Y, SCALE, groups), infonce(X, Y, SCALE))


def test_agreeing_in_one_column_is_enough():
    one_column = infonce(X, EQUAL_Y, SCALE, EQUAL_GROUPS)
    two_columns = infonce(X, EQUAL_Y, SCALE, torch.tensor([[0, 0], [1, 0], [2, 1]]))
    torch.testing.assert_close(one_column, two_columns)


def test_encoding_an_equal_text_once_gives_the_same_value_and_gradient():
    texts = EQUAL_Y.clone().requires_grad_()
    infonce(X, texts, SCALE, EQUAL_GROUPS).backward()
    once = torch.stack([EQUAL_Y[0], EQUAL_Y[2]]).requires_grad_()
    value = infonce(X, once[[0, 0, 1]], SCALE, EQUAL_GROUPS)
    value.backward()
    torch.testing.assert_close(value, infonce(X, texts, SCALE, EQUAL_GROUPS))
    torch.testing.assert_close(once.grad, torch.stack([texts.grad[0] + texts.grad[1], texts.grad[2]]))


@pytest.mark.parametrize("batch", [2, 5, 33])
def test_limits(batch):
    same = torch.nn.functional.normalize(torch.ones(batch, 3), dim=1)
    assert infonce(same, same, torch.tensor(7.0)).item() == pytest.approx(math.log(batch), abs=1e-5)
    eye = torch.eye(batch)
    assert infonce(eye, eye, torch.tensor(2.0)).item() == pytest.approx(
        math.log(1 + (batch - 1) * math.exp(-2)), abs=1e-5
    )


def test_a_permuted_batch_has_the_same_loss():
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        infonce(X[order], EQUAL_Y[order], SCALE, EQUAL_GROUPS[order]), infonce(X, EQUAL_Y, SCALE, EQUAL_GROUPS)
    )


@pytest.mark.parametrize("groups", [None, EQUAL_GROUPS])
def test_gradients(groups):
    def loss(x, y, log_scale):
        return infonce(x, y, log_scale.exp(), groups)

    inputs = [t.clone().requires_grad_() for t in (X, Y, torch.tensor(0.5, dtype=torch.float64))]
    assert torch.autograd.gradcheck(loss, inputs)


def test_half_precision_rows_are_computed_in_float32():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.nn.functional.normalize(torch.randn(64, 32, generator=generator), dim=1) for _ in range(2))
    scale = torch.tensor(100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = get_loss("infonce")(LossInputs((x.bfloat16(), y.bfloat16()), scale))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, infonce(x.bfloat16().float(), y.bfloat16().float(), scale))


def test_names_and_options_are_checked():
    assert "infonce" in list_losses()
    with pytest.raises(RecipeError, match="did you mean 'infonce'"):
        get_loss("infonc")
    with pytest.raises(RecipeError, match="did you mean 'direction'"):
        get_loss("infonce", {"directon": "both"})
    with pytest.raises(RecipeError, match="not one of both, x2y, y2x"):
        get_loss("infonce", {"direction": "up"})(LossInputs((X, Y), SCALE))
    with pytest.raises(ValueError, match="already registered"):
        register_loss("infonce")(infonce)


def test_rows_are_positives_where_any_column_agrees():
    x = torch.nn.functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    y, scale = x.roll(1, 1), torch.tensor(2.0)
    first = infonce(x, y, scale, torch.tensor([[0, 0], [0, 1], [1, 2], [2, 3]]))
    second = infonce(x, y, scale, torch.tensor([[0, 0], [1, 0], [2, 1], [3, 2]]))
    assert torch.equal(first, second)
    assert not torch.isclose(first, infonce(x, y, scale))
