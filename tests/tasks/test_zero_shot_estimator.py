"""ZeroShotClassifier as a scikit-learn estimator: several labels, debiasing, calibration, rejection, caching."""

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from torch.nn import functional as F

from modalign import RecipeError, ZeroShotClassifier, build_model
from modalign.tasks.ensembles import ENSEMBLES
from modalign.tasks.zero_shot import indicator_of, label_sets_of
from tests.conftest import make_recipe

LABELS = ["low", "middle", "high"]


@pytest.fixture(scope="module")
def model(text_checkpoint):
    return build_model(make_recipe(text_checkpoint)).eval()


def units(n, dim=16, seed=0):
    return F.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture
def encoded(model, monkeypatch):
    """The texts that the text tower is asked to encode."""
    from modalign.tasks import prompt_embeddings

    prompt_embeddings._kept.clear()
    seen, embed = [], type(model).embed
    monkeypatch.setattr(
        type(model), "embed", lambda self, t, s, *a, **k: (seen.extend(s), embed(self, t, s, *a, **k))[1]
    )
    return seen


def test_prompts_are_encoded_once_a_model(model, encoded):
    items = units(4)
    first = ZeroShotClassifier(model, "tone", LABELS)
    assert not encoded  # not before they are needed
    scores = first.decision_function(items)
    assert len(encoded) == len(set(encoded)) == 6
    first.predict(items)
    first.predict_proba(items)
    again = ZeroShotClassifier(model, "tone", [*LABELS, "loud"])
    again.predict(items)
    assert len(encoded) == 8  # the new label's two templates
    np.testing.assert_allclose(again.decision_function(items)[:, :3], scores, atol=1e-6)
    with torch.no_grad():
        model.tower("text").projection.layers.weight.mul_(-1)
    np.testing.assert_allclose(first.decision_function(items), -scores, atol=1e-6)
    with torch.no_grad():
        model.tower("text").projection.layers.weight.mul_(-1)


def test_an_item_is_encoded_once(model, encoded, tmp_path):
    paths = []
    for k in range(2):
        paths.append(tmp_path / f"{k}.txt")
        np.savetxt(paths[-1], np.sin(np.arange(64) * (k + 1)))
    classifier = ZeroShotClassifier(model, "tone", LABELS)
    items = classifier.embed(paths, rate=50)
    assert encoded == paths
    np.testing.assert_allclose(classifier.decision_function(paths), classifier.decision_function(items), atol=1e-6)
    assert torch.equal(classifier.embed(items.numpy()), items)


def test_chexzeros_pairs(model):
    """METHODS 12b: s+ = .3 and s- = .1 give .549834 without a temperature; AUROC is the same at any."""
    classifier = ZeroShotClassifier(model, "tone", ["low"], ["a {label} tone"], multi_label="pairs")
    assert classifier.negative_prompts == {"low": ["no low"]}
    prompts = model.embed("text", ["a low tone", "no low"]).double()
    item, other = (torch.linalg.pinv(prompts) @ torch.tensor(s).double() for s in ([0.3, 0.1], [0.1, 0.3]))
    assert classifier.predict_proba(item[None]).item() == pytest.approx(0.549834, abs=1e-6)
    own = model.temperature().item()
    scaled = clone(classifier).set_params(scale="model").predict_proba(item[None]).item()
    assert scaled == pytest.approx(1 / (1 + np.exp(-0.2 * own)), abs=1e-6)
    assert classifier.predict(torch.stack([item, other])) == [("low",), ("none of these",)]


@pytest.mark.parametrize("mode", ["pairs", "cosine"])
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_several_labels_are_scored_by_macro_auroc(model, mode, ensemble):
    items = units(40)
    truth = (torch.rand(40, 3, generator=torch.Generator().manual_seed(1)) < 0.4).int().numpy()
    truth[:, 2] = 0  # no positives: left out
    classifier = ZeroShotClassifier(model, "tone", LABELS, multi_label=mode, ensemble=ensemble)
    scores = classifier.decision_function(items)
    expected = np.mean([roc_auc_score(truth[:, c], scores[:, c]) for c in (0, 1)])
    names = [tuple(label for label, t in zip(LABELS, row) if t) for row in truth]
    for y in (truth, names, [";".join(own) for own in names]):
        assert classifier.score(items, y) == pytest.approx(expected)
    for scale in (1.0, 50.0, "model"):
        p = classifier.set_params(scale=scale).predict_proba(items) if mode == "pairs" else scores
        assert np.mean([roc_auc_score(truth[:, c], p[:, c]) for c in (0, 1)]) == pytest.approx(expected)


def test_pairs_are_the_difference_of_two_scores(model):
    items = units(5)
    pairs = ZeroShotClassifier(model, "tone", LABELS, multi_label="pairs", negatives=["not a {label} tone"])
    absent = {label: [f"not a {label} tone"] for label in LABELS}
    plain = ZeroShotClassifier(model, "tone", LABELS).decision_function(items)
    negative = ZeroShotClassifier(model, "tone", LABELS, descriptions=absent).decision_function(items)
    np.testing.assert_allclose(pairs.decision_function(items), plain - negative, atol=1e-6)


def test_debiasing_subtracts_the_mean_of_what_fit_was_given(model):
    train, test = units(30) * 0.5 + 0.4, units(6, seed=3)
    train = F.normalize(train, dim=1)
    classifier = ZeroShotClassifier(model, "tone", LABELS, debias=True)
    with pytest.raises(RecipeError, match=r"needs fit\(X\)"):
        classifier.predict(test)
    with pytest.raises(RecipeError, match="items of train or val"):
        classifier.fit()
    scores = classifier.fit(train).decision_function(test)
    expected = F.normalize(test - train.mean(0), dim=1) @ classifier.class_embeddings.T
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-6)


def test_gamma_is_taken_from_the_scores_of_seen_labels(model):
    items = units(5)
    plain = ZeroShotClassifier(model, "tone", LABELS).decision_function(items)
    calibrated = ZeroShotClassifier(model, "tone", LABELS, seen=["low", "high"], gamma=0.25)
    np.testing.assert_allclose(plain - calibrated.decision_function(items), [[0.25, 0, 0.25]] * 5, atol=1e-6)
    with pytest.raises(RecipeError, match="give seen="):
        ZeroShotClassifier(model, "tone", LABELS, gamma=0.1).predict(items)


def test_rejection(model):
    val, test = units(50), units(200, seed=9)
    truth = [*["low"] * 30, *["something else"] * 20]
    classifier = ZeroShotClassifier(model, "tone", LABELS, reject_rate=0.1)
    with pytest.raises(RecipeError, match=r"needs fit\(X, y\)"):
        classifier.predict(test)
    with pytest.raises(RecipeError, match="needs the labels too"):
        classifier.fit(val)
    classifier.fit(val, truth)
    best = classifier.decision_function(val).max(1)
    assert (best[30:] > classifier.threshold_).sum() == 2
    said = classifier.predict(test)
    refused = classifier.decision_function(test).max(1) <= classifier.threshold_
    assert [s == "none of these" for s in said] == refused.tolist()
    assert classifier.score(val[30:], truth[30:]) == 0.9
    with pytest.raises(RecipeError, match="is one of the labels"):
        ZeroShotClassifier(model, "tone", LABELS, reject_label="low")


def test_rejection_by_label(model):
    val = units(40)
    y = [("low",)] * 10 + [("high", "middle")] * 20 + [()] * 10
    classifier = ZeroShotClassifier(model, "tone", LABELS, multi_label="cosine", reject_rate=0.2)
    with pytest.raises(RecipeError, match="no natural threshold"):
        clone(classifier).set_params(reject_rate=None).predict(val)
    scores = classifier.fit(val, y).decision_function(val)
    assert [(scores[indicator_of(y, LABELS)[:, c] == 0, c] > classifier.threshold_[c]).mean() for c in range(3)] == [
        pytest.approx(0.2)
    ] * 3
    expected = [tuple(np.array(LABELS)[row]) or ("none of these",) for row in scores > classifier.threshold_]
    assert classifier.predict(val) == expected
    with pytest.raises(RecipeError, match="every validation row has 'low'"):
        classifier.fit(val[:10], y[:10])
    with pytest.raises(RecipeError, match="raw cosines are no probabilities"):
        classifier.predict_proba(val)


def test_scikit_learn_can_clone_search_and_cross_validate(model):
    items = units(30)
    classifier = ZeroShotClassifier(model, "tone", LABELS, ["a {label} tone"], debias=True)
    copy = clone(classifier.fit(items))
    assert is_classifier(copy)
    assert copy.model is model
    assert copy.get_params() == classifier.get_params()
    assert not hasattr(copy, "mean_")
    assert copy.set_params(labels=["low", "high"]).prompts == {"low": ["a low tone"], "high": ["a high tone"]}
    assert "labels" in repr(copy)
    assert len(repr(copy)) < 100
    y = np.array(classifier.predict(items))
    assert np.isfinite(cross_val_score(classifier, items.numpy(), y, cv=3)).all()
    search = GridSearchCV(classifier, {"ensemble": list(ENSEMBLES), "debias": [False, True]}, cv=3)
    assert search.fit(items.numpy(), y).best_score_ > 0.5
    with pytest.raises(ValueError, match="Invalid parameter"):
        classifier.set_params(nothing=1)
    with pytest.raises(RecipeError, match="no multi_label 'pair'; did you mean 'pairs'"):
        classifier.set_params(multi_label="pair")


def test_labels_of_items():
    assert label_sets_of(["a;b", "", ("b",)], ["a", "b"]) == [("a", "b"), (), ("b",)]
    assert label_sets_of(np.array([[1, 0], [1, 1]]), ["a", "b"]) == [("a",), ("a", "b")]


def test_several_labels_an_item_are_refused_where_one_is_meant(model):
    with pytest.raises(RecipeError, match='low; high; for several an item give multi_label="pairs"'):
        ZeroShotClassifier(model, "tone", LABELS).score(units(1), [("low", "high")])
