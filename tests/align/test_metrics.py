"""Metrics: against brute force, against chance for a collapsed encoder, and intervals by cluster."""

import itertools
import math

import numpy as np
import pytest
import torch

from modalign.align.metrics import cluster_bootstrap, confusion_matrix, macro_auroc, recall_at_k


def brute_force(scores, items, k):
    """Mean over all orders of equal scores."""
    total = 0.0
    for i, row in enumerate(scores):
        hits = []
        for order in itertools.permutations(range(len(row))):
            ranked = sorted(order, key=lambda j: -row[j])
            hits.append(any(items[j] == items[i] for j in ranked[:k]))
        total += np.mean(hits)
    return total / len(scores)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("items", [[0, 1, 2, 3, 4], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])
def test_recall_equals_the_mean_over_all_orders(k, items):
    x = torch.tensor([[1.0], [1.0], [-1.0], [1.0], [-1.0]])
    y = torch.tensor([[1.0], [-1.0], [1.0], [1.0], [1.0]])
    expected = brute_force((x @ y.T).tolist(), items, k)
    assert recall_at_k(x, y, (k,), items, chunk=2)[k] == pytest.approx(expected)


def test_a_collapsed_encoder_scores_chance():
    one = torch.ones(200, 1)
    assert recall_at_k(one, one, (1, 5, 10)) == pytest.approx({1: 0.005, 5: 0.025, 10: 0.05})


def test_recall_of_random_and_perfect():
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(300, 64, generator=generator), dim=1)
    assert recall_at_k(x, x, (1,))[1] == 1.0
    other = torch.nn.functional.normalize(torch.randn(300, 64, generator=generator), dim=1)
    assert recall_at_k(x, other, (1,))[1] < 0.03
    assert recall_at_k(x, other, (300,))[300] == 1.0


def test_confusion_matrix():
    matrix = confusion_matrix(["a", "a", "b"], ["a", "b", "b"], ["a", "b", "c"])
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_intervals_resample_clusters_and_not_rows():
    correct = np.repeat([1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0], 50)
    by_row = cluster_bootstrap(lambda r: correct[r].mean(), range(400))
    by_cluster = cluster_bootstrap(lambda r: correct[r].mean(), np.repeat(range(8), 50))
    assert by_row[1] - by_row[0] < 0.12
    assert by_cluster[1] - by_cluster[0] > 0.4
    assert by_cluster == cluster_bootstrap(lambda r: correct[r].mean(), np.repeat(range(8), 50))


def test_macro_auroc_is_the_mean_of_pairwise_ranks_and_names_what_it_leaves_out():
    generator = np.random.default_rng(0)
    truth = (generator.random((40, 3)) < 0.4).astype(int)
    truth[:, 2] = 0
    scores = np.round(generator.random((40, 3)), 1)
    pairs = []
    for c in range(2):
        positive, negative = scores[truth[:, c] == 1, c], scores[truth[:, c] == 0, c]
        wins = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
        pairs.append(wins)
    value, left_out = macro_auroc(truth, scores)
    assert value == pytest.approx(np.mean(pairs))
    assert left_out == [2]
    assert math.isnan(macro_auroc(np.zeros((4, 1)), np.zeros((4, 1)))[0])


def test_recall_counts_equal_queries_as_relevant_too():
    x = torch.eye(3)[[0, 0, 1]]
    y = torch.eye(3)[[0, 0, 1]]
    assert recall_at_k(x, y, (1,))[1] == pytest.approx(2 / 3)
    assert recall_at_k(x, y, (1,), ["a", "b", "c"], queries=["q", "q", "r"])[1] == 1.0
    assert recall_at_k(x, y, (1,), ["a", "a", "c"], queries=["p", "q", "r"])[1] == 1.0
