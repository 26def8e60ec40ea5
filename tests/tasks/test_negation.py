"""The negation test: exact shares."""

import math

import numpy as np

from modalign.tasks.negation import negation_table, negation_test


def test_shares():
    positive = np.array([[0.5, 0.2], [0.5, 0.4], [0.1, 0.3], [0.3, 0.3]])
    negative = np.array([[0.4, 0.3], [0.6, 0.3], [0.2, 0.3], [0.2, 0.1]])
    truth = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    first, second = negation_test(positive, negative, truth, ["edema", "fracture"])
    assert first == ("edema", 0.5, 0.5, 0.5, 2)
    assert math.isnan(second.present)
    assert second.absent == 0.375  # yes, no, a tie, no
    assert math.isnan(second.balanced)
    table = negation_table([first, second])
    assert [row[0] for row in table.rows] == ["edema", "fracture", "mean"]
    assert table.rows[-1][1:] == [0.5, 0.5, 0.5, 2]  # of the label that has both kinds


def test_a_model_that_hears_the_word_and_one_that_does_not():
    truth = np.eye(4, dtype=int)
    hears = negation_test(truth * 1.0, 1.0 - truth, truth, list("abcd"))
    assert [n.balanced for n in hears] == [1.0] * 4
    deaf = negation_test(np.ones((4, 4)), np.zeros((4, 4)), truth, list("abcd"))
    assert [(n.present, n.absent, n.balanced) for n in deaf] == [(1.0, 0.0, 0.5)] * 4
