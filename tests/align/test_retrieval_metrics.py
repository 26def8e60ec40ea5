"""Retrieval figures: exact fixtures, brute force over all orders of equal scores, and others' definitions."""

import itertools
import time

import numpy as np
import pytest
import torch
from sklearn.metrics import label_ranking_average_precision_score
from torch.nn import functional as F

from modalign.align.metrics import retrieval_figures, search_ranks, two_way_bootstrap
from modalign.align.metrics.composition import CHANCE, composition_scores, temporal_accuracy
from modalign.align.metrics.retrieval import AnyOf, hit_probability, reciprocal_rank


def scored(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and gallery whose inner products are these scores (N, M)."""
    return scores, torch.eye(scores.shape[1])


def by_ranks(ranks: list[int], size: int) -> torch.Tensor:
    """(1, size) scores in which the given ranks (from 0) are taken by rows 0, 1, ..."""
    order = [r for r in range(size) if r not in ranks]
    scores = torch.empty(1, size)
    for row, rank in enumerate([*ranks, *order]):
        scores[0, row] = float(size - rank)
    return scores


def test_laion_s_single_caption_form() -> None:
    """METHODS 2a: ranks 0, 4, 12 have mAP@10 = (1 + 1/5 + 0) / 3 = 0.4."""
    scores = torch.cat([by_ranks([rank], 20) for rank in (0, 4, 12)])
    found = search_ranks(*scored(scores), [(["a"] * 3, ["a"] + [f"{k}" for k in range(19)])])
    figures = retrieval_figures(found)
    assert figures.map == pytest.approx(0.4)
    assert figures.recall == pytest.approx({1: 1 / 3, 5: 2 / 3, 10: 2 / 3})
    assert figures.median_rank == 5


def test_laion_s_five_caption_form() -> None:
    """METHODS 2a: ranks 0, 2, 5, 20, 30 of five captions have (1 + 2/3 + 3/6) / 5; R@k takes the best of them."""
    scores = by_ranks([0, 2, 5, 20, 30], 40)
    figures = retrieval_figures(search_ranks(*scored(scores), [(["a"], ["a"] * 5 + [f"{k}" for k in range(35)])]))
    assert figures.map == pytest.approx(0.433333, abs=1e-6)
    assert figures.recall[1] == 1
    assert figures.mrr == 1


@pytest.mark.parametrize("seed", range(6))
def test_equal_scores_have_the_mean_over_all_orders(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 3, (4, 6), generator=generator).float()
    keys = torch.randint(0, 3, (6,), generator=generator).tolist()
    found = search_ranks(*scored(scores), [([0, 1, 2, 0], keys)], depth=4)
    for row, wanted in enumerate([0, 1, 2, 0]):
        if wanted not in keys:
            assert found.relevant[row] == 0
            continue
        hits, reciprocals, precisions = [], [], []
        for shuffled in itertools.permutations(range(6)):
            ranked = sorted(shuffled, key=lambda j: -scores[row, j])
            good = [keys[j] == wanted for j in ranked]
            hits.append(any(good[:2]))
            reciprocals.append(1 / (good.index(True) + 1))
            at = [sum(good[: i + 1]) / (i + 1) for i in range(4) if good[i]]
            precisions.append(sum(at) / min(sum(good), 4))
        mean = len(hits)
        assert hit_probability(found, 2)[row].item() == pytest.approx(sum(hits) / mean)
        assert reciprocal_rank(found)[row].item() == pytest.approx(sum(reciprocals) / mean)
        assert found.precision[row].item() == pytest.approx(sum(precisions) / mean)


def test_a_collapsed_encoder_has_chance() -> None:
    same = F.normalize(torch.ones(50, 8), dim=1)
    figures = retrieval_figures(search_ranks(same, same, [(range(50), range(50))]))
    assert figures.recall == pytest.approx({1: 1 / 50, 5: 5 / 50, 10: 10 / 50})
    assert figures.median_rank == pytest.approx(25.5)
    assert figures.mrr == pytest.approx(sum(1 / k for k in range(1, 51)) / 50)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_is_what_clip_benchmark_defines(k: int) -> None:
    """A query hits where any of the k best-scored rows is one of its own (CLIP_benchmark's image-text retrieval)."""
    generator = torch.Generator().manual_seed(0)
    texts = F.normalize(torch.randn(60, 16, generator=generator), dim=1)
    images = F.normalize(torch.randn(20, 16, generator=generator) + texts[::3], dim=1)
    owner = [i // 3 for i in range(60)]
    positive = torch.zeros(60, 20, dtype=torch.bool)
    positive[torch.arange(60), torch.tensor(owner)] = True
    for queries, gallery, own, theirs, pairs in (
        (texts, images, owner, range(20), positive),
        (images, texts, range(20), owner, positive.T),
    ):
        nearest = (queries @ gallery.T).topk(k, dim=1).indices
        expected = pairs.gather(1, nearest).any(1).double().mean().item()
        found = search_ranks(queries, gallery, [(list(own), list(theirs))], chunk=7)
        assert retrieval_figures(found, (k,)).recall[k] == pytest.approx(expected)


def test_whole_depth_is_scikit_learn_s_average_precision() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(12, 30, generator=generator)
    mine, theirs = [i % 4 for i in range(12)], [j % 4 for j in range(30)]
    found = search_ranks(*scored(scores), [(mine, theirs)], depth=30)
    truth = [[a == b for b in theirs] for a in mine]
    assert retrieval_figures(found).map == pytest.approx(label_ranking_average_precision_score(truth, scores.numpy()))


def test_a_query_may_have_several_keys_and_rows_may_be_hidden_from_it() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]])
    found = search_ranks(*scored(scores), [([AnyOf(("c", "d")), AnyOf(("x",))], "abcd")])
    assert found.relevant.tolist() == [2, 0]
    assert (found.above[0], found.precision[0].item()) == (2, pytest.approx((1 / 3 + 2 / 4) / 2))
    hidden = search_ranks(*scored(scores), [(["c", "c"], "abcc")], hidden=(["p", "q"], "pqqp"))
    assert hidden.relevant.tolist() == [1, 1]
    assert hidden.above.tolist() == [1, 1]
    zeros = search_ranks(*scored(scores * 0), [(["c", "c"], "abcc")], hidden=(["p", "q"], "pqqp"))
    assert hit_probability(zeros, 1).tolist() == pytest.approx([0.5, 0.5]), "of the two that are left"


def test_a_collapsed_encoder_takes_no_longer() -> None:
    """Equal scores are not gone through row by row."""
    keys = [(range(3000), range(3000))]
    x = F.normalize(torch.randn(3000, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    took = []
    for each in (x, torch.ones(3000, 1)):
        start = time.process_time()
        search_ranks(each, each, keys)
        took.append(time.process_time() - start)
    assert took[1] < 3 * took[0] + 0.2


def test_a_row_does_not_find_itself() -> None:
    eye = torch.eye(4)
    found = search_ranks(eye, eye, [("aabb", "aabb")], itself=True)
    assert found.relevant.tolist() == [1, 1, 1, 1]
    assert retrieval_figures(found, (1,)).recall[1] == pytest.approx(1 / 3)
    assert retrieval_figures(search_ranks(eye, eye, [("abcd", "abcd")], itself=True)).queries == 0


def test_negative_cosines_count_as_any_other() -> None:
    """torchmetrics' retrieval recall leaves them out."""
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[-0.6, 0.8], [-1.0, 0.0]])
    assert retrieval_figures(search_ranks(x, y, [("a", "ab")]), (1,)).recall[1] == 1


def test_composition_scores() -> None:
    scores = torch.tensor(
        [
            [[0.9, 0.1], [0.2, 0.8]],  # all right
            [[0.5, 0.6], [0.4, 0.7]],  # each recording prefers its own text; text 0 does not find its recording
            [[0.5, 0.4], [0.6, 0.7]],  # the reverse
            [[0.5, 0.5], [0.5, 0.5]],  # equal scores are wrong
        ]
    )
    found = composition_scores(scores)
    assert found.text.tolist() == [True, True, False, False]
    assert found.recording.tolist() == [True, False, True, False]
    assert found.group.tolist() == [True, False, False, False]
    random = composition_scores(torch.randn(200_000, 2, 2, generator=torch.Generator().manual_seed(0))).means()
    assert random == pytest.approx(CHANCE, abs=0.005)
    assert temporal_accuracy(torch.tensor([0.3, 0.1, 0.2]), torch.tensor([0.1, 0.3, 0.2])) == pytest.approx(0.5)


def test_a_two_way_bootstrap_is_as_wide_as_the_repeats_of_both_sides_make_it() -> None:
    """Things made of ten units on each side, right by their units: over rows the interval is far too narrow."""
    generator = np.random.default_rng(0)
    first, second = generator.integers(10, size=400), 10 + generator.integers(10, size=400)
    effect = generator.normal(size=20)
    values = effect[first] + effect[second]
    low, high = two_way_bootstrap(values, first.tolist(), second.tolist())
    narrow = two_way_bootstrap(values, range(400), range(400))
    assert high - low > 2.5 * (narrow[1] - narrow[0])
    spread = np.sqrt((effect[:10].var(ddof=1) + effect[10:].var(ddof=1)) / 10)
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.35)
