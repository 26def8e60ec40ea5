"""Calibrated stacking: exact values, and the curve against trying every gamma."""

import numpy as np
import pytest

from modalign import RecipeError
from modalign.tasks.calibrated import Fold, calibrate, choose_gamma, curve, harmonic_mean, seen_unseen

SEEN = np.array([True, True, False])
SCORES = np.array(
    [[0.875, 0.125, 0.5], [0.625, 0.25, 0.5], [0.25, 0.75, 0.625], [0.625, 0.125, 0.5], [0.875, 0.25, 0.25]]
)  # rows go over to the unseen class at 0.375, 0.125, 0.125, 0.125, 0.625
TRUTH = np.array([0, 0, 1, 2, 2])


def test_by_hand():
    assert seen_unseen(SCORES, TRUTH, SEEN) == (1.0, 0.0, 0.0)
    found = seen_unseen(SCORES, TRUTH, SEEN, 0.25)  # class 0: one of two, class 1: none of one; unseen: one of two
    assert found == pytest.approx((0.25, 0.5, 1 / 3))
    assert seen_unseen(SCORES, TRUTH, SEEN, 1.0) == (0.0, 1.0, 0.0)
    drawn = curve(SCORES, TRUTH, SEEN)
    assert drawn.gammas.tolist() == [0.125, 0.375, 0.625]
    np.testing.assert_allclose(drawn.seen, [1, 0.25, 0, 0])
    np.testing.assert_allclose(drawn.unseen, [0, 0.5, 0.5, 1])
    assert drawn.area == pytest.approx(0.75 * 0.25 + 0.25 * 0.5)


def test_the_area_by_hand():
    # one row each of a seen and an unseen class: the unseen one goes over first, so both can be right
    good = curve(np.array([[0.9, 0.1], [0.6, 0.5]]), np.array([0, 1]), np.array([True, False]))
    assert (good.area, good.harmonic.tolist()) == (1.0, [0.0, 1.0, 0.0])
    bad = curve(np.array([[0.6, 0.5], [0.9, 0.1]]), np.array([0, 1]), np.array([True, False]))
    assert (bad.area, bad.harmonic.tolist()) == (0.0, [0.0, 0.0, 0.0])
    tied = curve(np.array([[0.75, 0.5], [0.75, 0.5]]), np.array([0, 1]), np.array([True, False]))
    assert tied.area == 0.5  # a random order of the two


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_what_every_gamma_gives(seed):
    generator = np.random.default_rng(seed)
    scores, truth = generator.normal(size=(60, 5)), np.concatenate([np.arange(5), generator.integers(0, 5, 55)])
    seen = np.array([True, False, True, True, False])
    drawn = curve(scores, truth, seen)
    edges = np.concatenate([[-np.inf], drawn.gammas, [np.inf]])
    for k in range(len(drawn.seen)):
        low, high = max(edges[k], drawn.gammas[0] - 1), min(edges[k + 1], drawn.gammas[-1] + 1)
        found = seen_unseen(scores, truth, seen, (low + high) / 2)
        assert (drawn.seen[k], drawn.unseen[k]) == pytest.approx(found[:2])
    assert (np.diff(drawn.seen) <= 1e-12).all()
    assert (np.diff(drawn.unseen) >= -1e-12).all()
    assert 0 <= drawn.area <= drawn.seen[0] * drawn.unseen[-1] + 1e-12
    best = max(seen_unseen(scores, truth, seen, g).harmonic for g in np.linspace(-4, 4, 2001))
    chosen = choose_gamma([Fold(scores, truth, seen)])
    assert seen_unseen(scores, truth, seen, chosen).harmonic >= best - 1e-9


def test_gamma_is_the_middle_of_the_best_interval_over_folds():
    seen = np.array([True, False])
    first = Fold(np.array([[0.9, 0.1], [0.6, 0.5]]), np.array([0, 1]), seen)  # best between 0.1 and 0.8
    second = Fold(np.array([[0.9, 0.4], [0.6, 0.4]]), np.array([0, 1]), seen)  # best between 0.2 and 0.5
    assert choose_gamma([first]) == pytest.approx(0.45)
    assert choose_gamma([first, second]) == pytest.approx(0.35)


def test_every_class_counts_the_same():
    scores = np.array([[1.0, 0, 0]] * 9 + [[0, 1.0, 0]] + [[0, 0, 1.0]])
    truth = np.array([0] * 8 + [1, 1, 2])
    assert seen_unseen(scores, truth, SEEN).seen == 0.75  # not 9 of 10


def test_small_parts():
    assert harmonic_mean(0.5, 1.0) == pytest.approx(2 / 3)
    assert harmonic_mean(0, 0) == 0
    np.testing.assert_allclose(calibrate(np.ones((1, 3)), SEEN, 0.3), [[0.7, 0.7, 1.0]])
    with pytest.raises(RecipeError, match="no row is of any unseen class"):
        seen_unseen(SCORES[:3], TRUTH[:3], SEEN)
    with pytest.raises(RecipeError, match="no validation folds"):
        choose_gamma([])
