"""Published heads: MoRE's and MERL's with BatchNorm, msclap's residual one."""

import pytest
import torch
from torch import nn

from modalign import RecipeError, build_model
from modalign.align.config import ProjectionConfig
from modalign.align.gradcache import refuse_batch_norm
from modalign.align.heads import Residual
from modalign.align.projection import Projection
from modalign.align.recipe_files import parse_section
from tests.conftest import make_recipe

torch.manual_seed(0)
X = torch.randn(7, 6)


def test_batch_norm_follows_each_layer():
    head = Projection(6, 4, ProjectionConfig(hidden=5, norm="batch"))
    kinds = [type(layer).__mro__[1 if "heads" in type(layer).__module__ else 0] for layer in head.layers]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert all(layer.bias is None for layer in head.layers if isinstance(layer, nn.Linear))
    out = head(X)
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)
    assert not torch.allclose(head.eval()(X), out)


def test_a_single_row_is_normalised_by_the_running_statistics():
    head = Projection(6, 4, ProjectionConfig(norm="batch"))
    for _ in range(50):
        head(X)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    one = head(X[:1])
    assert all(torch.equal(before[name], value) for name, value in head.state_dict().items())
    torch.testing.assert_close(one, head.eval()(X[:1]))


def test_gelu():
    relu, gelu = (Projection(6, 4, ProjectionConfig(activation=a)) for a in ("relu", "gelu"))
    gelu.load_state_dict(relu.state_dict())
    first, _, second = gelu.layers
    torch.testing.assert_close(gelu(X), second(nn.functional.gelu(first(X))))
    assert not torch.allclose(gelu(X), relu(X))


def test_residual():
    head = Residual(6, 4).eval()
    e = X @ head.first.weight.T
    wanted = nn.functional.layer_norm(e + nn.functional.gelu(e) @ head.second.weight.T, (4,))
    torch.testing.assert_close(head(X), wanted)
    assert not torch.allclose(head.train()(X), wanted)
    assert Projection(6, 4, ProjectionConfig(kind="residual"))(X).shape == (7, 4)


def test_a_frozen_head_keeps_its_statistics():
    head = Projection(6, 4, ProjectionConfig(norm="batch", frozen=True)).train()
    before = head.layers[1].running_mean.clone()
    head(X)
    assert torch.equal(head.layers[1].running_mean, before)


def test_refusals(text_checkpoint):
    with pytest.raises(RecipeError, match="activation and norm are of kind: mlp"):
        make_recipe(text_checkpoint, towers={"text": {}, "tone": {"projection": {"kind": "linear", "norm": "batch"}}})
    with pytest.raises(RecipeError, match="'none' or 'batch'"):
        parse_section(ProjectionConfig, {"norm": "group"}, "projection")
    towers = {"text": {"options": {"checkpoint": str(text_checkpoint)}}, "tone": {"projection": {"norm": "batch"}}}
    model = build_model(make_recipe(text_checkpoint, towers=towers))
    with pytest.raises(RecipeError, match=r"Set towers\.tone\.projection\.norm: none"):
        refuse_batch_norm(model, "training.micro_batch", "a micro-batch")
