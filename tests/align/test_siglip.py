"""SigLIP against the fixture, its limits, and its gradients; the bias that it needs of the model."""

import math

import pytest
import torch

from modalign import RecipeError, build_model, load_recipe
from modalign.align.config import LossConfig
from modalign.align.losses import LossInputs, get_loss, siglip
from modalign.align.model import AlignmentModel
from modalign.align.objective import Objective
from modalign.align.trainer import AlignmentTrainer
from tests.align.test_infonce import X, Y
from tests.conftest import make_recipe

TEN = torch.tensor(10.0, dtype=torch.float64)


def test_fixture():
    assert siglip(X, Y, TEN, bias=-TEN).item() == pytest.approx(4.248085, abs=1e-6)


def test_one_pair_is_a_softplus():
    one = siglip(X[:1], Y[:1], TEN, bias=-TEN)
    assert one.item() == pytest.approx(math.log1p(math.exp(-(10 * math.cos(math.pi / 6) - 10))), abs=1e-9)


def test_positives_answer_yes():
    groups = torch.tensor([[0], [0], [1]])
    signs = torch.tensor([[1.0, 1, -1], [1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    expected = -torch.nn.functional.logsigmoid(signs * (10 * X @ Y.T - 10)).sum() / 3
    torch.testing.assert_close(siglip(X, Y, TEN, groups, -TEN), expected)


def test_order_of_the_batch_and_of_the_towers_changes_nothing():
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(siglip(X[order], Y[order], TEN, bias=-TEN), siglip(X, Y, TEN, bias=-TEN))
    torch.testing.assert_close(siglip(Y, X, TEN, bias=-TEN), siglip(X, Y, TEN, bias=-TEN))


def test_gradients_and_half_precision():
    x, y = X.clone().requires_grad_(), Y.clone().requires_grad_()
    scale, bias = TEN.clone().requires_grad_(), (-TEN).clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *given: siglip(given[0], given[1], given[2], None, given[3]), (x, y, scale, bias)
    )
    half = get_loss("siglip", has_bias=True)(LossInputs((X.bfloat16(), Y.bfloat16()), TEN.float(), -TEN.float()))
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(4.248085, rel=0.05)
    assert torch.isfinite(siglip(torch.ones(4, 1), torch.ones(4, 1), torch.tensor(100.0), bias=torch.tensor(0.0)))


def test_the_bias_is_asked_for_where_it_is_needed_and_nowhere_else():
    with pytest.raises(RecipeError, match=r"set temperature\.bias"):
        get_loss("siglip")
    with pytest.raises(RecipeError, match="leave it out"):
        Objective(LossConfig(), [], has_bias=True)
    assert load_recipe("motion", ["temperature.bias=-10"]).temperature.bias == -10


def test_the_bias_trains_and_is_saved(text_checkpoint, manifest, tmp_path):
    recipe = make_recipe(text_checkpoint, loss={"name": "siglip"}, temperature={"init": 0.1, "bias": -5.0})
    model = build_model(recipe)
    trainer = AlignmentTrainer(model, recipe, manifest.split("train"), manifest.split("val"), tmp_path / "run")
    trainer.train()
    assert model.temperature.bias.item() != -5
    model.save_pretrained(tmp_path / "model")
    assert AlignmentModel.from_pretrained(tmp_path / "model").temperature.bias.item() == model.temperature.bias.item()
    assert {e["eval_loss"] > 0 for e in trainer.state.log_history if "eval_loss" in e} == {True}
