"""Gap figures: the fixture of the reference, limits, and chunks."""

import math

import pytest
import torch

from modalign.align import diagnostics
from modalign.align.diagnostics import (
    alignment,
    centroid_distance,
    cross_uniformity,
    effective_rank,
    gap_figures,
    linear_separability,
    mean_cosine,
    uniformity,
)


def unit(degrees):
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], 1)


X, Y = unit([0, 60, 90]), unit([30, 60, 180])


def test_the_fixture():
    assert alignment(X, Y) == pytest.approx(0.755983, abs=1e-5)
    assert uniformity(X) == pytest.approx(-1.401348, abs=1e-5)
    assert uniformity(Y) == pytest.approx(-1.629308, abs=1e-5)
    assert cross_uniformity(X, Y) == pytest.approx(-1.424501, abs=1e-5)
    assert centroid_distance(X, Y) == pytest.approx(0.413105, abs=1e-5)
    figures = gap_figures(X, Y)
    assert figures["uniformity"] == pytest.approx(-1.515328, abs=1e-5)
    assert math.isnan(figures["linear separability"])  # three pairs


def test_limits():
    eye, point = torch.eye(5), torch.eye(5)[:1].repeat(6, 1)
    assert alignment(eye, eye) == centroid_distance(eye, eye) == 0
    assert uniformity(eye) == cross_uniformity(eye, eye) == pytest.approx(-4)
    assert uniformity(point) == pytest.approx(0, abs=1e-6)
    assert (mean_cosine(eye), mean_cosine(point)) == pytest.approx((0, 1))
    assert (effective_rank(eye), effective_rank(point)) == pytest.approx((5, 1))
    assert math.isnan(uniformity(point[:1]))
    assert math.isnan(mean_cosine(point[:1]))


def test_separability_of_one_cloud_and_of_two():
    x, other = (torch.randn(400, 8, generator=torch.Generator().manual_seed(k)) for k in range(2))
    shift = 8 * torch.eye(8)[0]

    def separable(a, b):
        return linear_separability(torch.nn.functional.normalize(a, dim=1), torch.nn.functional.normalize(b, dim=1))

    assert abs(separable(x, other) - 0.5) < 0.1
    assert separable(x + shift, other - shift) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_and_dtypes_agree(monkeypatch, dtype):
    x, y = (torch.nn.functional.normalize(torch.randn(50, 6, dtype=torch.float64), dim=1) for _ in range(2))
    whole = cross_uniformity(x, y)
    monkeypatch.setattr(diagnostics, "CHUNK", 7)
    assert cross_uniformity(x, y) == pytest.approx(whole, abs=1e-12)
    assert cross_uniformity(x.to(dtype), y.to(dtype)) == pytest.approx(whole, abs=0.02)
