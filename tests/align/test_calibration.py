"""Calibration: against scikit-learn, by hand, and a temperature that is found again."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from modalign.align.metrics import (
    Calibration,
    brier_score,
    expected_calibration_error,
    fit_logistic,
    fit_scale,
    reliability_curve,
)
from modalign.align.metrics import calibration as module


def test_ece_by_hand():
    confidence, right = np.array([0.95, 0.85, 0.85, 0.31]), np.array([1, 1, 0, 0])
    # ten bins of equal width: (0.9, 1] holds one, (0.8, 0.9] two, (0.3, 0.4] one
    assert expected_calibration_error(confidence, right, 10) == pytest.approx((0.05 + 2 * 0.35 + 0.31) / 4)
    curve = reliability_curve(confidence, right, 10)
    assert curve.counts.tolist() == [1, 2, 1]
    assert curve.accuracy.tolist() == [0, 0.5, 1]
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([0, 1])) == 0
    assert reliability_curve(np.array([0.5, 0.3, 0.6]), right[:3], 2).counts.tolist() == [2, 1]  # 0.5 is of (0, 0.5]


def test_bins_of_equal_mass_keep_equal_confidences_together():
    generator = np.random.default_rng(0)
    confidence = generator.random(1000)
    curve = reliability_curve(confidence, generator.random(1000) < confidence, 10, mass=True)
    assert curve.counts.tolist() == [100] * 10
    assert (np.diff(curve.confidence) > 0).all()
    same = reliability_curve(np.full(9, 0.5), np.arange(9) < 3, 5, mass=True)
    assert (same.counts.tolist(), same.accuracy.tolist()) == ([9], [pytest.approx(1 / 3)])


def test_brier_and_log_loss_agree_with_scikit_learn():
    generator = np.random.default_rng(1)
    p = softmax(generator.normal(size=(50, 3)), 1)
    y = generator.integers(3, size=50)
    truth = np.eye(3)[y]
    assert module.log_loss(p, truth) == pytest.approx(log_loss(y, p))
    each = [brier_score_loss(truth[:, c], p[:, c]) for c in range(3)]
    assert brier_score(p, truth) == pytest.approx(sum(each))
    assert brier_score(p, truth, several=True) == pytest.approx(np.mean(each))
    each = [log_loss(truth[:, c], p[:, c]) for c in range(3)]
    assert module.log_loss(p, truth, several=True) == pytest.approx(np.mean(each))


def test_the_scale_is_found_again_and_mends_the_error():
    generator = np.random.default_rng(2)
    scores = generator.normal(size=(4000, 5)) * 0.2
    p = softmax(12 * scores, 1)
    truth = np.eye(5)[[generator.choice(5, p=row) for row in p]]
    scale = fit_scale(scores[:2000], truth[:2000])
    assert scale == pytest.approx(12, rel=0.1)

    def error(s):
        made = Calibration((s,))(scores[2000:])
        return expected_calibration_error(made.max(1), made.argmax(1) == truth[2000:].argmax(1))

    assert error(scale) < 0.04 < error(60)
    np.testing.assert_allclose(Calibration((12.0,))(scores), p, rtol=1e-9)


@pytest.mark.parametrize("scores", [np.eye(3), -np.eye(3)])
def test_no_scale_where_every_row_is_right_or_every_one_wrong(scores):
    assert fit_scale(scores, np.eye(3)) is None


def test_logistic_curves_by_label():
    generator = np.random.default_rng(3)
    score = (0.3 + 0.01 * generator.normal(size=3000)).astype(np.float32)  # cosines of one class, all about 0.3
    truth = (generator.random(3000) < expit(200 * (score - 0.31))).astype(int)
    slope, bias = fit_logistic(score, truth)
    assert slope == pytest.approx(200, rel=0.15)
    assert -bias / slope == pytest.approx(0.31, abs=0.002)
    plain = LogisticRegression(C=1e9).fit((score[:, None] - 0.3) * 100, truth)
    assert slope == pytest.approx(plain.coef_[0, 0] * 100, rel=0.02)
    p = Calibration((slope, slope), (bias, bias), several=True)(np.stack([score, score], 1))
    assert p[:, 0].mean() == pytest.approx(truth.mean(), abs=0.01)
    assert fit_logistic(score, np.zeros(3000)) is None
    slope, bias = fit_logistic(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1]))  # apart, and yet finite
    assert np.isfinite([slope, bias]).all()
