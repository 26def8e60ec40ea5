"""The floors: what they learn from, and that they learn."""

from dataclasses import replace

import numpy as np

from modalign import build_model
from modalign.tasks.evaluate import dataset_of
from modalign.tasks.floor import chosen_strength, indicator, linear_floor, one_against_rest, rocket_floor
from tests.conftest import make_recipe


def datasets(text_checkpoint, manifest):
    model = build_model(make_recipe(text_checkpoint))
    return dataset_of(model, manifest.split("train")), dataset_of(model, manifest.split("test"))


def accuracy(scores, rows, labels):
    return np.mean([labels[s] == row.labels[0] for s, row in zip(scores.argmax(1), rows)])


def test_linear_floor(text_checkpoint, manifest):
    train, test = datasets(text_checkpoint, manifest)
    labels = manifest.labels
    scores = linear_floor(train, test, "tone", labels)
    assert accuracy(scores, test.manifest.rows, labels) >= 5 / 6
    np.testing.assert_allclose(scores.sum(1), 1)
    unknown = linear_floor(train, test, "tone", [*labels, "other"])
    assert (unknown[:, -1] == 0).all()


def test_a_modality_without_hand_features_has_no_linear_floor(text_checkpoint, manifest, monkeypatch):
    train, test = datasets(text_checkpoint, manifest)
    monkeypatch.setattr(type(train.modalities["tone"]), "summary_features", lambda self, signal: None)
    assert linear_floor(train, test, "tone", manifest.labels) is None


def test_several_labels_a_row_are_fitted_one_against_the_rest(text_checkpoint, manifest):
    train, test = datasets(text_checkpoint, manifest)
    for dataset in (train, test):
        dataset.manifest.rows[:] = [
            replace(r, labels=(*r.labels, "slow") if r.labels[0] != "high" else r.labels)
            for r in dataset.manifest.rows
        ]  # fmt: skip
    labels = ["high", "low", "middle", "slow", "absent"]
    scores = linear_floor(train, test, "tone", labels)
    truth = indicator(test.manifest.rows, labels)
    assert scores[truth[:, 3] == 1, 3].min() > scores[truth[:, 3] == 0, 3].max()
    assert (scores[:, 4] == 0).all()


def test_the_strength_is_chosen_by_held_out_groups(manifest):
    """200 features of noise beside two that tell the label: weak regularisation drowns in them."""
    generator = np.random.default_rng(0)
    rows = [replace(manifest.rows[0], labels=("ab"[i % 2],), group=f"g{i // 4}", id=str(i)) for i in range(60)]
    truth = np.array([i % 2 for i in range(60)])
    noise = generator.normal(size=(60, 200))
    informative = truth[:, None] * 2.0 + generator.normal(size=(60, 2))
    chosen = chosen_strength(np.hstack([informative, noise]), rows, ["a", "b"], several=False)
    assert chosen < 1
    alone = [replace(r, group="one") for r in rows]
    assert chosen_strength(informative, alone, ["a", "b"], several=False) == 1
    both = np.hstack([informative, noise])
    assert chosen_strength(both, alone, ["a", "b"], several=False, by_group=False) < 1


def test_one_against_rest_leaves_labels_without_positives_at_zero():
    from sklearn.linear_model import LogisticRegression

    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    scores = one_against_rest(x, np.array([[0, 0], [0, 0], [1, 0], [1, 0]]), x, LogisticRegression)
    assert (np.diff(scores[:, 0]) > 0).all()
    assert (scores[:, 1] == 0).all()


def test_rocket_floor(text_checkpoint, manifest):
    train, test = datasets(text_checkpoint, manifest)
    for dataset in (train, test):
        whole = dataset.processing["tone"]

        class Short(type(whole)):
            def __call__(self, signal):
                return {"values": super().__call__(signal)["values"][:, :64]}

        dataset.processing["tone"] = Short(**whole.parameters())
    scores = rocket_floor(train, test, "tone", manifest.labels)
    assert accuracy(scores, test.manifest.rows, manifest.labels) >= 5 / 6
    assert np.array_equal(scores, rocket_floor(train, test, "tone", manifest.labels))
