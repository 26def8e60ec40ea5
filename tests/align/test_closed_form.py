"""Whitening and ridge regression against scikit-learn, and how the penalty is chosen."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from modalign.align.closed_form import PENALTIES, ridge, whitening

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape):
    return torch.randn(*shape, generator=GENERATOR)


def test_whitened_features_have_the_identity_as_weighted_covariance():
    features, weights = random(40, 6) @ random(6, 6) + 3, torch.rand(40, generator=GENERATOR)
    mean, matrix = whitening(features, weights, 6, shrinkage=0.0)
    white, shares = (features.double() - mean) @ matrix.double().T, (weights / weights.sum()).double()
    torch.testing.assert_close((shares[:, None] * white).T @ white, torch.eye(6).double(), rtol=1e-4, atol=1e-4)
    assert ((shares[:, None] * white).sum(0)).abs().max() < 1e-6


def test_whitening_keeps_the_strongest_directions_and_no_more_than_there_are():
    features = random(40, 2) @ torch.tensor([[5.0, 0, 0, 0], [0, 1.0, 0, 0]])
    _, matrix = whitening(features, torch.ones(40), 3, shrinkage=1e-3)
    assert matrix.shape == (3, 4)
    assert not matrix[2].any()
    assert matrix[0].abs().argmax() == 0
    _, shrunk = whitening(features, torch.ones(40), 3, shrinkage=10.0)
    assert shrunk.abs().max() < matrix.abs().max() / 3


@pytest.mark.parametrize(("rows", "width"), [(30, 8), (12, 40)])
def test_ridge_is_scikit_learns(rows, width):
    features, targets = random(rows, width) + 2, random(rows, 3)
    found = ridge(features, targets, ["one"] * rows, [0.01])
    centred = features - features.mean(0)
    reference = Ridge(alpha=0.01 * float(centred.square().sum())).fit(features.numpy(), targets.numpy())
    np.testing.assert_allclose(found.weight.numpy(), reference.coef_, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.bias.numpy(), reference.intercept_, rtol=1e-3, atol=1e-5)
    assert found.explained is None


def test_the_penalty_follows_the_noise_and_holds_groups_out():
    features = random(90, 20)
    clean, groups = features @ random(20, 2), [f"g{i % 9}" for i in range(90)]
    exact, noise = ridge(features, clean, groups), ridge(features, random(90, 2), groups)
    assert exact.penalty == min(PENALTIES)
    assert exact.explained > 0.999
    assert noise.penalty == max(PENALTIES)
    assert noise.explained < 0.05
    # Rows of a group that are copies of each other would make any penalty look good, were they told apart.
    copied = features[:9].repeat(10, 1) + 0.01 * random(90, 20)
    assert ridge(copied, random(9, 2).repeat(10, 1), groups).penalty == max(PENALTIES)


def test_constant_features_give_the_mean():
    found = ridge(torch.ones(6, 4), torch.arange(12.0).view(6, 2), list("aabbcc"))
    assert not found.weight.any()
    torch.testing.assert_close(found.bias, torch.tensor([5.0, 6.0], dtype=torch.float64))
