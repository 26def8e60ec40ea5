"""Small parts: temperature, projection, random choices, the feature table."""

import math

import pytest
import torch

from modalign import RecipeError
from modalign.align.cache import FeatureTable
from modalign.align.config import ProjectionConfig
from modalign.align.projection import Projection
from modalign.align.sampler import EpochBatchSampler, choice_for, generator_for
from modalign.align.temperature import Temperature


def test_temperature_is_clamped_and_can_come_back():
    temperature = Temperature(0.07)
    assert temperature().item() == pytest.approx(1 / 0.07, rel=1e-5)
    with torch.no_grad():
        temperature.log_scale.fill_(9.0)
    temperature.clamp_()
    assert temperature().item() == pytest.approx(100.0)
    assert temperature.log_scale.item() == pytest.approx(math.log(100))
    temperature().backward()
    assert temperature.log_scale.grad.item() == pytest.approx(100.0, rel=1e-4)  # not stuck at the bound
    assert not Temperature(0.07, learnable=False).log_scale.requires_grad


@pytest.mark.parametrize("kind", ["linear", "mlp", "identity"])
def test_projection(kind):
    projection = Projection(6, 6, ProjectionConfig(kind=kind))
    assert projection(torch.randn(4, 6)).shape == (4, 6)
    assert bool(list(projection.parameters())) == (kind != "identity")


def test_projection_centers_on_the_training_mean_and_adds_noise_only_in_training():
    features = torch.randn(500, 6) * 3 + 5
    projection = Projection(6, 6, ProjectionConfig(kind="identity", center=True, noise=0.5))
    projection.fit(features)
    projection.eval()
    assert projection(features).mean(0).abs().max() < 1e-4
    assert torch.equal(projection(features), projection(features))
    projection.train()
    spread = (projection(features) - (features - features.mean(0))).std()
    assert spread.item() == pytest.approx(0.5 * 3, rel=0.1)
    with pytest.raises(RecipeError, match="identity needs dim = 6"):
        Projection(6, 5, ProjectionConfig(kind="identity"))


def test_projection_standardises_by_the_training_set_and_no_feature_becomes_huge():
    features = torch.randn(500, 6) * torch.tensor([1.0, 2.0, 3.0, 4.0, 1e-4, 0.0]) + 5
    projection = Projection(6, 6, ProjectionConfig(kind="identity", standardize=True, noise=0.5))
    projection.fit(features)
    again = Projection(6, 6, ProjectionConfig(kind="identity", standardize=True, noise=0.5))
    again.load_state_dict(projection.state_dict())
    scaled = again.eval()(features)
    assert torch.equal(scaled, projection.eval()(features))
    assert scaled.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(scaled[:, :4].std(0, correction=0), torch.ones(4), rtol=1e-4, atol=1e-4)
    assert again(features + 0.1)[:, 4:].abs().max() < 1
    spread = (projection.train()(features) - scaled).std()
    assert spread.item() == pytest.approx(0.5 * (4 / 6) ** 0.5, rel=0.1)
    constant = Projection(6, 6, ProjectionConfig(kind="identity", standardize=True))
    constant.fit(torch.ones(3, 6))
    assert not constant(torch.ones(3, 6)).any()


def test_random_choices_depend_on_nothing_but_their_key():
    def draw(*key):
        return torch.rand((), generator=generator_for(*key)).item()

    assert draw(0, 1, "row", "view") == draw(0, 1, "row", "view")
    keys = [(1, 1, "row", "view"), (0, 2, "row", "view"), (0, 1, "row2", "view"), (0, 1, "row", "other")]
    assert len({draw(0, 1, "row", "view"), *(draw(*key) for key in keys)}) == 5
    counts = torch.bincount(torch.tensor([choice_for(0, e, "r", "v", 4) for e in range(2000)]), minlength=4)
    assert counts.min() > 400


def test_batches_cover_every_row_once_and_differ_by_epoch():
    sampler = EpochBatchSampler(20, 6, seed=3)
    batches = list(sampler)
    assert sorted(i for batch in batches for _, i in batch) == list(range(20))
    assert batches == list(sampler)
    sampler.set_epoch(1)
    assert [i for b in sampler for _, i in b] != [i for b in batches for _, i in b]
    assert {epoch for b in sampler for epoch, _ in b} == {1}
    assert len(EpochBatchSampler(13, 6, 0)) == len(list(EpochBatchSampler(13, 6, 0))) == 2  # a last one of 1 is dropped
    assert len(EpochBatchSampler(20, 6, 0, drop_last=True)) == 3


def test_feature_table_keeps_what_was_added():
    table = FeatureTable(2)
    table.add(["a", "b"], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    table.add(["c"], torch.tensor([[5.0, 6.0]]))
    assert len(table) == 3
    assert "b" in table
    assert table.take(["c", "a", "c"]).tolist() == [[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]]
    assert table.features.shape == (3, 2)
