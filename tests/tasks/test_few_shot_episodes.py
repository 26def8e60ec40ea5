"""Episodes: what is drawn, what is measured on it, and that the test rows change nothing but the figures."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from modalign import AlignmentModel, FewShotClassifier, ManifestError, ModelError, RecipeError, build_model
from modalign.align.manifest import Row, read_manifest
from modalign.modalities import get_modality
from modalign.tasks.evaluate import dataset_of
from modalign.tasks.features import encode_rows, split_rows, unit_features
from modalign.tasks.few_shot.episodes import draw, repeated_recordings, too_few
from modalign.tasks.few_shot.evaluate import best_method, evaluate_few_shot, few_shot_features
from modalign.tasks.few_shot.plot import plot_shots
from modalign.tasks.few_shot.runs import Run, Runs, mean_interval, methods_for, run_episodes, spread
from modalign.tasks.report import render
from modalign.tasks.training import train
from tests import tone
from tests.conftest import make_recipe


def row(identifier, labels, split="train", group="", cluster=""):
    return Row(str(identifier), split, group, cluster, tuple(labels), {}, {})


def windows():
    """Two labels, four people, each with three recordings of four windows a label."""
    return [
        row(f"{label}{person}{take}{w}", [label], group=person, cluster=f"{label}{person}{take}")
        for label in "ab" for person in "pqrs" for take in "123" for w in "wxyz"
    ]  # fmt: skip


def test_episodes_are_seeded_nested_and_spread_over_people_and_recordings():
    rows = windows()
    drawn = draw(rows, ["a", "b"], [1, 4, 12, 16], (0, 1))
    assert drawn == draw(rows, ["a", "b"], [1, 4, 12, 16], (0, 1))
    assert drawn != draw(rows, ["a", "b"], [1, 4, 12, 16], (0, 2))
    assert drawn[4] == draw(rows, ["a", "b"], [4], (0, 1))[4]
    for k, support in drawn.items():
        assert Counter(rows[i].labels[0] for i in support) == {"a": k, "b": k}
        assert len(set(support)) == len(support)
    assert set(drawn[1]) < set(drawn[4]) < set(drawn[12])
    assert {rows[i].group for i in drawn[4] if rows[i].labels == ("a",)} == set("pqrs")
    assert repeated_recordings(rows, drawn[12]) == 0  # twelve recordings a label
    assert repeated_recordings(rows, drawn[16]) == 8


def test_labels_with_few_rows_give_all():
    rows = [*windows(), row("only", ["c"])]
    assert {k: len(support) for k, support in draw(rows, ["a", "b", "c"], [1, 4], [0]).items()} == {1: 3, 4: 9}
    assert too_few(rows, ["a", "b", "c"], 4) == {"c": 1}


def test_several_labels_serve_the_rarest_first_and_count_for_all():
    rows = [row(i, ["common"]) for i in range(20)] + [row(f"r{i}", ["rare", "common"]) for i in range(2)]
    support = draw(rows, ["common", "rare"], [2], [0])[2]
    assert sorted(rows[i].id for i in support) == ["r0", "r1"]
    three = draw(rows, ["common", "rare"], [3], [0])[3]
    assert len(three) == 3


@pytest.fixture
def synthetic():
    """Two people a split, three classes, ten rows each: rows, features, and class names."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 6))
    rows, values = [], []
    for split in ("train", "val", "test"):
        for person in "12":
            for i in range(15):
                c = i % 3
                rows.append(row(f"{split}{person}{i}", ["abc"[c]], split, f"{split}{person}", f"{split}{person}{i}"))
                values.append(centres[c] + 1.2 * generator.normal(size=6))
    X = np.array(values) / np.linalg.norm(values, axis=1, keepdims=True)
    return rows, {"aligned": X}, {"aligned": centres / np.linalg.norm(centres, axis=1, keepdims=True)}


@pytest.mark.parametrize("choose_on", ["few", "val", "support"])
def test_test_labels_and_rows_are_not_looked_at_when_parameters_are_chosen(synthetic, choose_on):
    rows, features, text = synthetic
    options = {"text": text, "choose_on": choose_on, "methods": {"aligned": ["gda", "tip-adapter", "logistic"]}}
    runs = run_episodes(features, rows, list("abc"), [2, 4], 2, **options)
    moved = [replace(r, labels=("c",)) if r.split == "test" else r for r in rows]
    other = {"aligned": np.where(np.array([r.split == "test" for r in rows])[:, None], 0.5, features["aligned"])}
    again = run_episodes(other, moved, list("abc"), [2, 4], 2, **options)
    assert len(runs.runs) == 2 * 2 * 3
    for a, b in zip(runs.runs, again.runs):
        assert (a.key, a.parameters, a.validation) == (b.key, b.parameters, b.validation)
    changed = [replace(r, labels=("a",)) if r.split == "val" else r for r in rows]
    third = run_episodes(features, changed, list("abc"), [2, 4], 2, **options)
    same = all(a.validation == b.validation for a, b in zip(runs.runs, third.runs))
    assert same == (choose_on == "support")


def test_few_validation_rows_are_as_many_as_shots(synthetic):
    rows, features, text = synthetic
    methods = {"aligned": ["prototypes"]}
    few = run_episodes(features, rows, list("abc"), [2], 6, text=text, methods=methods)
    sixths = np.array([run.validation * 6 for run in few.runs])  # two rows of each of three classes
    np.testing.assert_allclose(sixths, sixths.round(), atol=1e-9)
    whole = run_episodes(features, rows, list("abc"), [2], 6, text=text, methods=methods, choose_on="val")
    thirtieths = np.array([run.validation * 30 for run in whole.runs])
    np.testing.assert_allclose(thirtieths, thirtieths.round(), atol=1e-9)
    assert (thirtieths.round() % 5 != 0).any()


def test_more_rows_help_and_the_figures_are_those_of_the_scores(synthetic):
    rows, features, _ = synthetic
    runs = run_episodes(features, rows, list("abc"), [1, 8], 5, methods={"aligned": ["prototypes"]})
    summaries = runs.summaries()
    assert summaries["aligned", "prototypes", 8].value > summaries["aligned", "prototypes", 1].value
    low, high = summaries["aligned", "prototypes", 1].interval
    assert low < summaries["aligned", "prototypes", 1].value < high
    table = runs.table()
    names = ["score of a", "score of b", "score of c"]
    correct = table[names].to_numpy().argmax(1) == table["label"].map("abc".index)
    means = correct.groupby([table["method"], table["shots"], table["episode"]]).mean()
    assert means["prototypes", 8].mean() == pytest.approx(summaries["aligned", "prototypes", 8].value)
    middle = runs.middle(("aligned", "prototypes", 8))
    figures = {run.episode: f for run, f in runs.figures(middle.key)}
    mean = summaries[middle.key].value
    assert abs(figures[middle.episode] - mean) == min(abs(f - mean) for f in figures.values())


def test_a_label_that_train_lacks_is_never_chosen(synthetic):
    rows, features, text = synthetic
    rows = [replace(r, labels=("b",)) if r.split == "train" and r.labels == ("c",) else r for r in rows]
    runs = run_episodes(features, rows, list("abc"), [2], 1, text=text)
    assert all((run.scores.argmax(1) < 2).all() and run.scores.shape == (30, 3) for run in runs.runs)


def test_intervals_and_the_best_method_come_from_validation():
    assert mean_interval([0.5]) == (0.5, None)
    value, (low, high) = mean_interval([0.4, 0.5, 0.6])
    assert value == pytest.approx(0.5)
    assert (low, high) == pytest.approx((0.5 - 4.302653 * 0.1 / 3**0.5, 0.5 + 4.302653 * 0.1 / 3**0.5))
    right, wrong = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    runs = [Run(("aligned", "x", 1), 0, right, validation=0.2), Run(("aligned", "y", 1), 0, wrong, validation=0.9)]
    summaries = Runs([row("t", ["a"])], ["a", "b"], False, runs).summaries()
    assert (summaries["aligned", "x", 1].value, summaries["aligned", "y", 1].value) == (1.0, 0.0)
    assert best_method(summaries, "aligned", 1) == "y"


def test_methods_that_fit():
    assert methods_for([], True, True) == ["logistic", "tip-adapter"]
    assert "cross-modal" in methods_for([], False, True)
    assert "cross-modal" not in methods_for([], False, False)
    with pytest.raises(RecipeError, match="'gda' has no form for several labels a row; these have: logistic"):
        methods_for(["gda"], True, True)
    with pytest.raises(RecipeError, match="did you mean 'prototypes'"):
        methods_for(["prototype"], False, True)


@pytest.fixture(scope="module")
def trained(text_checkpoint, tmp_path_factory):
    """A model and its untrained twin."""
    folder = tmp_path_factory.mktemp("few")
    rows = read_manifest(tone.write_manifest(folder), {name: get_modality(name) for name in ("text", "tone")})
    training = {"epochs": 12, "batch_size": 12, "learning_rate": 0.02, "log_every": 5}
    model = train(make_recipe(text_checkpoint, training=training), rows, folder / "run")
    return model, AlignmentModel.from_pretrained(folder / "run" / "untrained")


def test_an_evaluation_says_beside_what(trained, manifest, tmp_path):
    model, untrained = trained
    done = []
    evaluation = evaluate_few_shot(
        model, manifest, "tone", [1, 4], 3, kinds=("aligned", "tower"), untrained=untrained, ran=done.append
    )
    assert done == [1, 1, 1]
    names = [r.name for r in evaluation.results]
    assert names[:3] == ["chance", "untrained, prompts", "prompts"]
    assert {n.partition(":")[0] for n in names[3:]} == {
        "hand", "untrained aligned", "untrained tower", "tower", "aligned", "modalign",
    }  # fmt: skip
    assert evaluation.main is evaluation.results[-1]
    assert evaluation.main.name.startswith("modalign: ")
    assert evaluation.main.value > 0.6  # chance is a third
    assert any("k counts the labels that the classifier saw" in note for note in evaluation.notes)
    assert evaluation.protocol == "seen classes, unseen people"
    evaluation.save(tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    table = pd.read_parquet(tmp_path / "out" / "episodes.parquet")
    one = next(e for e in metrics["few_shot"] if (e["features"], e["method"], e["shots"]) == ("aligned", "gda", 4))
    assert len(one["episodes"]) == len(one["parameters"]) == 3
    assert set(one["parameters"][0]) == {"alpha"}
    part = table[(table["features"] == "aligned") & (table["method"] == "gda") & (table["shots"] == 4)]
    labels = ["high", "low", "middle"]
    said = part[[f"score of {label}" for label in labels]].to_numpy().argmax(1)
    assert np.mean([labels[i] == t for i, t in zip(said, part["label"])]) == pytest.approx(one["accuracy"])
    page = render("few", [evaluation])
    assert "k = 4" in page
    assert "the best on validation" in page
    plot_shots(evaluation, tmp_path / "shots.png")
    assert (tmp_path / "shots.png").stat().st_size > 10_000


def test_items_are_encoded_once_for_all_methods(trained, manifest, monkeypatch):
    model, _ = trained
    tower = model.tower("tone")
    items, encode = [], type(tower).encode_whole
    monkeypatch.setattr(
        type(tower),
        "encode_whole",
        lambda self, signals, *a: (items.extend(s for s in signals if self.name == "tone"), encode(self, signals, *a))[
            1
        ],
    )
    evaluate_few_shot(model, manifest, "tone", [1, 2], 2, kinds=("aligned", "tower"))
    assert len(items) == len(manifest.rows)


def test_the_features_are_the_models(trained, manifest):
    model, untrained = trained
    features = few_shot_features(model, manifest, "tone", ("aligned", "tower"), untrained)
    sources = [r.sources["tone"] for r in manifest.rows]
    np.testing.assert_allclose(features.values["aligned"], model.embed("tone", sources).numpy(), atol=1e-6)
    pooled = model.tower("tone").encode_whole([model.tower("tone").modality.load(s) for s in sources]).double().numpy()
    plain = encode_rows(model, manifest, "tone")
    np.testing.assert_allclose(plain.values["tower"], pooled, atol=1e-6)
    standard = (pooled - pooled[:24].mean(0)) / pooled[:24].std(0)
    np.testing.assert_allclose(
        features.values["tower"], standard / np.linalg.norm(standard, axis=1, keepdims=True), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.norm(features.values["hand"], axis=1), 1)
    constant = unit_features(np.ones((3, 2)), np.array([0, 1]))
    assert (constant == 0).all()


def test_several_labels_a_row(trained, manifest):
    model, _ = trained
    manifest.rows = [
        replace(r, labels=(*r.labels, "slow")) if r.labels[0] != "high" else r for r in manifest.rows
    ]  # fmt: skip
    manifest.vocabulary = ["high", "low", "middle", "slow"]
    evaluation = evaluate_few_shot(model, manifest, "tone", [2, 4], 2)
    assert evaluation.metric == "macro AUROC"
    assert {key[1] for key in evaluation.runs.summaries()} == {"logistic", "tip-adapter"}
    assert evaluation.main.value > 0.8


def test_what_is_refused(trained, manifest):
    model, _ = trained
    with pytest.raises(RecipeError, match="shots '0,1'"):
        evaluate_few_shot(model, manifest, "tone", [0, 1])
    with pytest.raises(RecipeError, match="cannot be chosen on 'test'"):
        evaluate_few_shot(model, manifest, "tone", choose_on="test")
    with pytest.raises(ModelError, match="no tower 'tne'"):
        evaluate_few_shot(model, manifest, "tne")
    with pytest.raises(ManifestError, match="no row of split 'train' has tone and a label"):
        evaluate_few_shot(model, manifest.split("test"), "tone")
    with pytest.raises(ManifestError, match="no row of split 'test' has tone and age"):
        split_rows(manifest.split("train"), "tone", ("train", "test"), lambda i: True, "age")


@pytest.mark.parametrize("method", ["gda", "logistic"])
def test_a_classifier_over_a_model(trained, manifest, method):
    model, _ = trained
    learn = manifest.take([i for i, r in enumerate(manifest.rows) if r.group in {"p0", "p1"}])
    test = manifest.split("test")
    X, y = [r.sources["tone"] for r in learn.rows], [r.labels[0] for r in learn.rows]
    classifier = FewShotClassifier(model, "tone", method).fit(X, y, groups=[r.group for r in learn.rows])
    assert classifier.labels == ["high", "low", "middle"]
    sources, truth = [r.sources["tone"] for r in test.rows], [r.labels[0] for r in test.rows]
    assert classifier.score(sources, truth) >= 5 / 6
    embedded = model.embed("tone", sources)
    assert classifier.predict(embedded) == classifier.predict(sources)
    np.testing.assert_allclose(classifier.predict_proba(embedded).sum(1), 1)
    assert classifier.decision_function(sources).shape == (6, 3)
    assert FewShotClassifier(**classifier.get_params()).method == method
    assert classifier.choice.parameters.keys() == classifier.estimator.grid.keys()


def test_a_classifier_of_several_labels(trained, manifest):
    model, _ = trained
    train_rows, test = manifest.split("train").rows, manifest.split("test").rows
    X = [r.sources["tone"] for r in train_rows]
    y = [("slow", "low") if r.labels[0] == "low" else r.labels for r in train_rows]
    classifier = FewShotClassifier(model, "tone", "logistic").fit(X, y)
    said = [set(labels) for labels in classifier.predict(X)]
    assert np.mean([s == set(t) for s, t in zip(said, y)]) == classifier.score(X, y) > 0.9
    assert all(("slow" in s) == ("low" in s) for s in said)
    assert len(classifier.predict([r.sources["tone"] for r in test])) == 6
    with pytest.raises(RecipeError, match="'other' of validation is none of those learnt"):
        classifier.fit(X, y, (X[:1], [("other",)]))
    with pytest.raises(RecipeError, match="has no form for several labels"):
        FewShotClassifier(model, "tone", "gda").fit(X, y)


def test_a_model_without_text_learns_from_items_alone(text_checkpoint, manifest):
    recipe = make_recipe(text_checkpoint)
    model = build_model(recipe).eval()
    X = torch.nn.functional.normalize(torch.randn(6, 16), dim=1)
    classifier = FewShotClassifier(model, "tone", "gda", text="words").fit(X, list("ababab"))
    assert classifier.estimator.text is None
    evaluation = evaluate_few_shot(model, manifest, "tone", [2], 2, text="words")
    assert "prompts" not in [r.name for r in evaluation.results]
    assert len(dataset_of(model, manifest)) == 36


def test_a_label_that_no_train_row_has_is_known_by_chance():
    """One score for all rows: never chosen, and an area of one half, whatever the other labels score."""
    scores = spread(np.array([[5.0, 9.0], [-3.0, -8.0], [0.5, 0.1]]), [0, 2], 3)
    assert len(set(scores[:, 1])) == 1
    assert (scores[:, 1] < scores[:, [0, 2]].min()).all()
