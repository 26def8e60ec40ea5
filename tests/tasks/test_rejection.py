"""Thresholds at a false-positive rate."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from modalign import RecipeError
from modalign.tasks.rejection import refused_scores, threshold_at


@pytest.mark.parametrize(("rate", "expected"), [(0, 0.4), (0.24, 0.4), (0.25, 0.3), (0.5, 0.2), (1, -np.inf)])
def test_no_more_than_the_rate_lies_over_it(rate, expected):
    negatives = np.array([0.1, 0.4, 0.3, 0.2])
    assert threshold_at(negatives, rate) == expected
    assert (negatives > threshold_at(negatives, rate)).mean() <= rate


def test_it_is_the_point_of_scikit_learns_curve():
    generator = np.random.default_rng(0)
    truth, scores = np.repeat([0, 1], 200), generator.normal(size=400) + np.repeat([0, 1], 200)
    rates, powers, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    k = np.flatnonzero(rates <= 0.1)[-1]
    ours = threshold_at(scores[truth == 0], 0.1)
    assert (scores[truth == 0] > ours).mean() == rates[k]
    assert thresholds[k] > ours  # scikit-learn's includes its point
    assert (scores[truth == 1] > ours).mean() >= powers[k]


def test_rows_of_other_labels_or_each_label_left_out():
    scores = np.array([[0.9, 0.2, 0.1], [0.3, 0.8, 0.5], [0.6, 0.7, 0.4]])
    assert refused_scores(scores, ["a", "b", "other"], ["a", "b", "c"]).tolist() == [0.7]
    assert refused_scores(scores, ["a", "", "b"], ["a", "b", "c"]).tolist() == [0.8]
    assert refused_scores(scores, ["a", "b", "b"], ["a", "b", "c"]).tolist() == [0.2, 0.5, 0.6]


def test_refusals():
    with pytest.raises(RecipeError, match="between 0 and 1, not 5"):
        threshold_at(np.ones(3), 5)
    with pytest.raises(RecipeError, match="no validation row that should be refused"):
        threshold_at(np.array([]), 0.1)
    with pytest.raises(RecipeError, match="rows of other labels"):
        refused_scores(np.ones((2, 1)), ["a", "a"], ["a"])
