"""Figures of decisions and areas: against scikit-learn and brute force, alone and under a bootstrap's weights."""

import time

import numpy as np
import pytest
from sklearn import metrics as sk

from modalign.align.metrics import class_areas, cluster_bootstrap, cluster_draws, count, macro_auroc, weighted_areas
from modalign.align.metrics.classification import (
    accuracy,
    balanced_accuracy,
    f1,
    macro_f1,
    precision,
    recall,
)
from modalign.align.metrics.intervals import percentile_interval, units_of


@pytest.fixture
def case():
    """300 rows in 40 clusters, five classes of which the last never occurs, scores with ties."""
    generator = np.random.default_rng(3)
    labels = generator.choice(4, size=300, p=[0.6, 0.2, 0.15, 0.05])
    truth = np.eye(5, dtype=int)[labels]
    scores = np.round(generator.normal(size=(300, 5)) + truth, 1)
    return truth, scores, generator.integers(40, size=300)


def test_decisions_agree_with_scikit_learn(case):
    truth, scores, _ = case
    y, chosen = truth.argmax(1), scores.argmax(1)
    counts = count(truth, np.eye(5)[chosen])
    assert accuracy(counts)[0] == pytest.approx(sk.accuracy_score(y, chosen), abs=1e-12)
    expected = sk.recall_score(y, chosen, average="macro", labels=range(4))
    assert balanced_accuracy(counts)[0] == pytest.approx(expected, abs=1e-12)
    expected = sk.f1_score(y, chosen, average="macro", labels=range(4))
    assert macro_f1(counts)[0] == pytest.approx(expected, abs=1e-12)
    each = sk.precision_recall_fscore_support(y, chosen, labels=range(4))
    np.testing.assert_allclose([precision(counts)[0, :4], recall(counts)[0, :4], f1(counts)[0, :4]], each[:3])
    assert np.isnan(f1(counts)[0, 4])


def test_several_labels_a_row(case):
    generator = np.random.default_rng(4)
    truth, decided = generator.integers(2, size=(2, 80, 3))
    counts = count(truth, decided)
    assert accuracy(counts)[0] == pytest.approx(sk.accuracy_score(truth, decided))
    assert macro_f1(counts)[0] == pytest.approx(sk.f1_score(truth, decided, average="macro"))
    expected = np.mean([sk.balanced_accuracy_score(truth[:, c], decided[:, c]) for c in range(3)])
    assert balanced_accuracy(counts, several=True)[0] == pytest.approx(expected)


def test_areas_agree_with_scikit_learn_also_under_weights(case):
    truth, scores, clusters = case
    unit, units = units_of(clusters)
    weights = cluster_draws(units, draws=20)
    once = class_areas(truth, scores)
    assert np.isnan(once[0][4])
    for c in range(4):
        areas = weighted_areas(truth[:, c], scores[:, c], np.ones((1, units)), unit)
        assert areas[0][0] == pytest.approx(once[0][c], abs=1e-12)
        assert areas[1][0] == pytest.approx(once[1][c], abs=1e-12)
        drawn = weighted_areas(truth[:, c], scores[:, c], weights, unit, chunk=7)
        for d, own in enumerate(weights[:, unit]):
            expected = sk.roc_auc_score(truth[:, c], scores[:, c], sample_weight=own)
            assert drawn[0][d] == pytest.approx(expected, abs=1e-12)
            expected = sk.average_precision_score(truth[:, c], scores[:, c], sample_weight=own)
            assert drawn[1][d] == pytest.approx(expected, abs=1e-12)
    empty = np.zeros((1, units))
    assert np.isnan(weighted_areas(truth[:, 0], scores[:, 0], empty, unit)).all()


def test_weights_are_the_draws_of_the_bootstrap(case):
    truth, scores, clusters = case
    unit, units = units_of(clusters)
    weights = cluster_draws(units, draws=100, seed=2)
    counts = count(truth, np.eye(5)[scores.argmax(1)], unit, units).weighted(weights)
    right = scores.argmax(1) == truth.argmax(1)
    by_rows = cluster_bootstrap(lambda rows: right[rows].mean(), clusters, draws=100, seed=2)
    assert percentile_interval(accuracy(counts)) == pytest.approx(by_rows, abs=1e-12)
    areas = [weighted_areas(truth[:, c], scores[:, c], weights, unit)[0] for c in range(4)]
    by_rows = cluster_bootstrap(lambda rows: macro_auroc(truth[rows], scores[rows])[0], clusters, draws=100, seed=2)
    assert percentile_interval(np.nanmean(areas, 0)) == pytest.approx(by_rows, abs=1e-12)


def test_a_thousand_draws_of_thousands_of_rows_take_seconds():
    generator = np.random.default_rng(0)
    truth, scores = generator.integers(2, size=4000), generator.normal(size=4000)
    started = time.perf_counter()
    weighted_areas(truth, scores, cluster_draws(500), generator.integers(500, size=4000))
    assert time.perf_counter() - started < 2


def test_intervals_of_what_is_never_defined():
    assert np.isnan(percentile_interval(np.array([np.nan, np.nan]))).all()
    assert percentile_interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)
