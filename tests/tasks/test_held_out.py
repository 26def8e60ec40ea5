"""Leaving classes out: nothing of them is trained on, gamma comes from val, figures are those of the scores."""

from dataclasses import replace

import numpy as np
import pytest

from modalign import ManifestError, RecipeError, build_model
from modalign.tasks import held_out
from modalign.tasks.calibrated import calibrate, curve, seen_unseen
from modalign.tasks.held_out import (
    HeldOut,
    _slug,
    held_out_evaluation,
    held_out_of,
    leave_classes_out,
    leave_sets,
    without,
)
from tests.conftest import make_recipe

LABELS = ["high", "low", "middle"]


def test_rows_of_the_labels_are_gone_from_train_and_val_alone(manifest):
    rows = without(manifest, ["high"])
    assert {label for r in rows.rows if r.split != "test" for label in r.labels} == {"low", "middle"}
    assert rows.split("test").rows == manifest.split("test").rows
    manifest.rows = [replace(r, labels=(*r.labels, "x")) if r.labels == ("low",) else r for r in manifest.rows]
    assert not any("low" in r.labels for r in without(manifest, ["x"]).rows if r.split != "test")


def test_sets(manifest):
    manifest.vocabulary = ["a", "b", "c", "d"]
    assert leave_sets(manifest) == [("a",), ("b",), ("c",), ("d",)]
    assert leave_sets(manifest, [["a", "b"], ["c"]]) == [("a", "b"), ("c",)]
    for sets, message in [
        ([["aa"]], "no row has the label 'aa' to leave out; did you mean 'a'"),
        ([["a"], ["b", "a"]], "'a' is in two of the sets"),
        ([["a", "b", "c"]], "fewer than two labels are left"),
    ]:
        with pytest.raises(RecipeError, match=message):
            leave_sets(manifest, sets)


def test_the_ring_of_inner_models(manifest):
    manifest.vocabulary = list("abcde")
    sets = leave_sets(manifest)
    assert held_out._pseudo(sets, 0, manifest, 2) == [("b",), ("e",)]
    pairs = {frozenset((*sets[k], *other)) for k in range(5) for other in held_out._pseudo(sets, k, manifest, 2)}
    assert len(pairs) == 5  # each serves two sets
    assert held_out._pseudo([("a",)], 0, manifest, 2) == [("b",), ("d",)]
    assert held_out._pseudo(sets, 0, manifest, 0) == []
    assert held_out._pseudo([("a", "b"), ("c", "d")], 0, manifest, 2) == []  # one label would be left


def test_each_label_in_turn(text_checkpoint, manifest, tmp_path, monkeypatch):
    recipe = make_recipe(text_checkpoint, training={"epochs": 8, "batch_size": 12, "learning_rate": 0.02})
    manifest.vocabulary = sorted({*manifest.vocabulary, "none"})  # so that two labels are left for inner models
    trained = []
    train = held_out.train

    def listening(recipe, rows, folder, **options):
        trained.append({label for row in rows.rows if row.split != "test" for label in row.labels})
        return train(recipe, rows, folder, **options)

    monkeypatch.setattr(held_out, "train", listening)
    sets = [[label] for label in LABELS]
    evaluation = leave_classes_out(recipe, manifest, "tone", tmp_path / "runs", sets, inner=2)
    assert [set(LABELS) - labels for labels in trained[:1]] == [{"high"}]
    assert sorted(len(labels) for labels in trained) == [1, 1, 1, 2, 2, 2]
    assert evaluation.protocol == "held-out classes (zero-shot), unseen people"
    assert [r.name for r in evaluation.results] == ["chance", "not calibrated", "calibrated"]
    assert [row[0] for row in evaluation.tables[0].rows] == [*LABELS, "mean"]
    assert len(evaluation.rows) == len(manifest.split("test").rows)
    assert not (tmp_path / "runs").exists()
    order = [evaluation.labels.index(r.labels[0]) for r in evaluation.rows]
    for k, result in enumerate(evaluation.results[1:]):
        recall = [np.mean(result.scores[np.array(order) == c].argmax(1) == c) for c in (0, 1, 2)]
        assert [row[2 if k == 0 else 6] for row in evaluation.tables[0].rows[:-1]] == pytest.approx(recall)


def test_figures_are_those_of_the_scores(manifest):
    test, generator = manifest.split("test"), np.random.default_rng(0)
    found = [HeldOut((label,), generator.normal(size=(6, 3)), 0.1 * k) for k, label in enumerate(LABELS)]
    evaluation = held_out_evaluation(found, test, LABELS, "p", False)
    truth = np.array([LABELS.index(r.labels[0]) for r in test.rows])
    for k, (own, row) in enumerate(zip(found, evaluation.tables[0].rows)):
        seen = np.arange(3) != k
        plain, tuned = (seen_unseen(own.scores, truth, seen, g) for g in (0, own.gamma))
        expected = [2, plain.unseen, plain.seen, plain.harmonic, own.gamma, tuned.unseen, tuned.seen, tuned.harmonic]
        assert row[1:] == pytest.approx([*expected, curve(own.scores, truth, seen).area])
    pooled = evaluation.main
    right = [calibrate(own.scores, np.arange(3) != k, own.gamma)[i].argmax() == k
             for k, own in enumerate(found) for i in np.flatnonzero(truth == k)]  # fmt: skip
    assert pooled.value == np.mean(right)
    bare = held_out_evaluation([replace(own, gamma=None) for own in found], test, LABELS, "p", False)
    assert [r.name for r in bare.results] == ["chance", "not calibrated"]
    assert np.isnan(bare.tables[0].rows[-1][5])


def test_several_labels_a_row_give_auroc_of_unseen_labels(manifest):
    from sklearn.metrics import roc_auc_score

    test = manifest.split("test")
    test.rows = [replace(r, labels=("low", "high") if r.labels == ("low",) else r.labels) for r in test.rows]
    generator = np.random.default_rng(0)
    found = [HeldOut((label,), generator.normal(size=(6, 3))) for label in ("high", "middle")]
    evaluation = held_out_evaluation(found, test, LABELS, "p", True)
    truth = np.array([[label in r.labels for label in LABELS] for r in test.rows])
    areas = [roc_auc_score(truth[:, 0], found[0].scores[:, 0]), roc_auc_score(truth[:, 2], found[1].scores[:, 2])]
    assert evaluation.metric == "macro AUROC"
    assert evaluation.main.value == pytest.approx(np.mean(areas))
    assert [row[2] for row in evaluation.tables[0].rows] == pytest.approx([*areas, np.mean(areas)])


def test_a_model_by_what_its_record_says(text_checkpoint, manifest):
    model = build_model(make_recipe(text_checkpoint)).eval()
    with pytest.raises(RecipeError, match="does not say which labels"):
        held_out_of(model, manifest, "tone")
    model.record = {"labels": ["low", "middle"], "manifest_sha256": manifest.sha256}
    evaluation = held_out_of(model, manifest, "tone", gamma=0.2)
    assert evaluation.protocol == "seen and held-out classes, people unknown"
    assert [row[0] for row in evaluation.tables[0].rows] == ["high", "mean"]
    assert {r.labels for r in evaluation.rows} == {("high",)}
    model.record["labels"] = LABELS
    with pytest.raises(RecipeError, match="trained with all of its labels"):
        held_out_of(model, manifest, "tone")
    model.record["labels"] = ["low", "middle"]
    kept = manifest.take([i for i, r in enumerate(manifest.rows) if r.labels != ("high",)])
    with pytest.raises(ManifestError, match="not of both labels"):
        held_out_of(model, kept, "tone")


def test_folders_of_labels_that_no_ascii_spells_differ():
    assert _slug(["low", "high"]) == "low-high"
    names = [_slug([label]) for label in ("零", "一", "C+", "C-", "x" * 300)]
    assert len(set(names)) == 5
    assert all(name.isascii() and len(name) < 200 for name in names)
