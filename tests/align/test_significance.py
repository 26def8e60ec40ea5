"""Permutation tests: exact on small examples, by brute force, right under the null, and of areas."""

import itertools

import numpy as np
import pytest

from modalign.align.metrics import macro_auroc, paired_permutation
from modalign.align.metrics.significance import group_swaps, permutation_p, swapped_areas


def test_an_exact_test_by_hand():
    a, b = np.array([1, 1, 1, 0]), np.array([0, 0, 1, 1])
    found = paired_permutation(a, b, ["x", "x", "y", "z"])
    # gains of the groups 2, 0, -1; of the 8 signs, |sum| >= 1 always
    assert (found.difference, found.p, found.exact, found.groups, found.least) == (0.25, 1.0, True, 3, 0.25)
    assert paired_permutation(np.ones(5), np.zeros(5), list("abcde")).p == 2 / 32


@pytest.mark.parametrize("seed", range(4))
def test_exact_equals_brute_force_and_random_swaps_come_near(seed):
    generator = np.random.default_rng(seed)
    groups = generator.integers(9, size=60)
    a, b = generator.integers(2, size=(2, 60))
    exact = paired_permutation(a, b, groups)
    gains = [(a - b)[groups == g].sum() for g in np.unique(groups)]
    sums = [abs(np.dot(signs, gains)) for signs in itertools.product([1, -1], repeat=len(gains))]
    assert exact.p == pytest.approx(np.mean(np.array(sums) >= abs(sum(gains))))
    drawn = paired_permutation(a, b, groups, draws=400, seed=1)
    assert not drawn.exact
    assert drawn.p == pytest.approx(exact.p, abs=0.1)
    assert drawn == paired_permutation(a, b, groups, draws=400, seed=1)


def test_p_is_uniform_under_the_null_though_rows_of_a_group_agree():
    generator = np.random.default_rng(0)
    ps = []
    for _ in range(200):
        gain = np.repeat(generator.normal(size=12), 20)  # each group is one observation, twenty times
        ps.append(paired_permutation(gain, np.zeros(240), np.repeat(range(12), 20), draws=200).p)
    assert np.mean(np.array(ps) <= 0.1) < 0.17


def test_areas_swap_ranks_by_group():
    generator = np.random.default_rng(1)
    truth = generator.integers(2, size=(40, 2))
    a = truth + generator.normal(size=(40, 2))
    b = 100 * generator.normal(size=(40, 2))  # of another scale
    unit = generator.integers(5, size=40)
    swaps, exact = group_swaps(5)
    assert exact
    auroc, auprc = swapped_areas(truth, a, b, unit, swaps)
    ranks = [np.argsort(np.argsort(s, 0), 0) for s in (a, b)]
    expected = []
    for kept in swaps:
        mine = kept[unit][:, None] > 0
        first, second = np.where(mine, *ranks), np.where(mine, *ranks[::-1])
        expected.append(macro_auroc(truth, first)[0] - macro_auroc(truth, second)[0])
    np.testing.assert_allclose(auroc, expected, atol=1e-12)
    observed = auroc[-1]  # all groups keep their model
    assert observed == pytest.approx(macro_auroc(truth, a)[0] - macro_auroc(truth, b)[0])
    assert permutation_p(observed, auroc, exact) == pytest.approx(np.mean(np.abs(expected) >= observed - 1e-9))
    assert np.isfinite(auprc).all()


def test_a_difference_that_is_not_defined_has_no_p():
    assert np.isnan(permutation_p(float("nan"), np.array([0.1]), True))
