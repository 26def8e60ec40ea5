"""MERL's second term: two views of one tower's features, which reach it through a model's output."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from modalign import RecipeError, build_model
from modalign.align.losses import get_loss, infonce
from modalign.align.objective import Objective
from modalign.align.processes import check_cut
from tests.align.losses.vectors import inputs_for, made
from tests.conftest import make_recipe


def test_without_dropout_and_with_equal_maps_it_is_infonce_of_the_features_with_themselves():
    loss = made("uma")
    inputs = inputs_for(loss)
    with torch.no_grad():
        loss.state.first.weight.copy_(torch.eye(7))
        loss.state.second.weight.copy_(torch.eye(7))
    own = F.normalize(inputs.features[1], dim=1)
    torch.testing.assert_close(loss(inputs), infonce(own, own, inputs.scale))


def test_the_gradient_is_the_features_and_the_maps():
    loss = made("uma")
    inputs = inputs_for(loss)
    features = tuple(f.clone().requires_grad_() for f in inputs.features)
    assert torch.autograd.gradcheck(lambda *given: loss(replace(inputs, features=given)), features)
    loss(replace(inputs, features=features)).backward()
    assert features[0].grad is None
    assert all(p.grad.abs().sum() > 0 for p in (features[1], *loss.state.parameters()))


def test_dropout_makes_other_views_each_time():
    loss = made("uma", dropout=0.5)
    inputs = inputs_for(loss)
    assert loss(inputs) != loss(inputs)


def test_refusals(text_checkpoint):
    with pytest.raises(RecipeError, match=r"dropout: 1.0 is not in \[0, 1\)"):
        get_loss("uma", {"dropout": 1.0})
    with pytest.raises(RecipeError, match="no tower 'ecg' in the pair x, y"):
        made("uma", tower="ecg")
    training = {"epochs": 1, "batch_size": 8, "micro_batch": 2}
    recipe = make_recipe(
        text_checkpoint, loss={"plus": [{"name": "uma", "options": {"tower": "tone"}}]}, training=training
    )
    with pytest.raises(RecipeError, match="micro_batch: the loss 'uma' is of pooled features"):
        check_cut(build_model(recipe), Objective(recipe.loss, recipe.pairs), recipe, 1, False)
