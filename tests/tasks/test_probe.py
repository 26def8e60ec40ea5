"""Probes: nested subsets, what is learnt on them, and agreement with scikit-learn."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modalign import AlignmentModel, ManifestError, ModelError, RecipeError
from modalign.align.manifest import Row, read_manifest
from modalign.modalities import get_modality
from modalign.tasks.floor import STRENGTHS
from modalign.tasks.probe import PROBES, evaluate_probe, strata_of, subset
from modalign.tasks.probe.evaluate import with_target
from modalign.tasks.probe.fits import probed_labels, probed_numbers
from modalign.tasks.probe.runs import r_squared, run_probes
from modalign.tasks.report import render
from modalign.tasks.training import train
from tests import tone
from tests.conftest import make_recipe


def row(identifier, labels, split="train", group="", cluster=""):
    return Row(str(identifier), split, group, cluster, tuple(labels), {}, {})


def windows(people=10, each=20):
    return [
        row(f"{p}-{i}", ["ab"[i % 2]], group=f"p{p}", cluster=f"p{p}r{i // 4}")
        for p in range(people)
        for i in range(each)
    ]


def test_subsets_are_nested_stratified_and_of_whole_people():
    rows = windows()
    before: set[int] = set()
    for fraction in (0.01, 0.1, 0.25, 0.5, 1.0):
        taken = subset(rows, fraction, 0, strata_of(rows))
        assert before <= set(taken)
        before = set(taken)
        assert len(taken) == round(fraction * 200)
        counts = Counter(rows[i].labels[0] for i in taken)
        assert abs(counts["a"] - counts["b"]) <= 1
        whole = Counter(rows[i].group for i in taken)
        assert sum(count < 20 for count in whole.values()) <= 1  # only the last person may be cut
    few = subset(rows, 0.02, 0, strata_of(rows))
    assert len({rows[i].cluster for i in few}) == 1  # four windows of one recording
    assert subset(rows, 0.1, 0, strata_of(rows)) == subset(rows, 0.1, 0, strata_of(rows))
    assert subset(rows, 0.1, 0, strata_of(rows)) != subset(rows, 0.1, 1, strata_of(rows))


def test_every_class_has_a_row_and_the_rarest_of_several_labels_is_the_class():
    rows = [*windows(), row("rare", ["c"])]
    assert "c" in {rows[i].labels[0] for i in subset(rows, 0.01, 3, strata_of(rows))}
    several = [row(i, ["common"]) for i in range(9)] + [row("x", ["common", "rare"]), row("y", [])]
    assert strata_of(several)[-3:] == ["common", "rare", ""]
    uneven = [row(i, ["abcdefghij"[i % 10]]) for i in range(240)]
    assert len(subset(uneven, 0.1, 0, strata_of(uneven))) == 24


@pytest.fixture
def synthetic():
    """Ten people of train, four of test; two classes and a number told by two of twelve features."""
    generator = np.random.default_rng(2)
    rows, values, numbers = [], [], []
    for person in range(14):
        for i in range(12):
            c = i % 2
            rows.append(
                row(f"{person}-{i}", ["ab"[c]], "train" if person < 10 else "test", f"p{person}", f"p{person}r{i}")
            )
            x = generator.normal(size=12)
            x[0] += 3 * c
            numbers.append(2 * x[0] - x[1] + 40 + 0.3 * generator.normal())
            values.append(x)
    return rows, np.array(values), np.array(numbers)


def test_the_linear_probe_is_scikit_learns(synthetic):
    rows, X, _ = synthetic
    learn = [i for i, r in enumerate(rows) if r.split == "train"]
    test = [i for i, r in enumerate(rows) if r.split == "test"]
    train_rows = [rows[i] for i in learn]
    scores, strength = probed_labels(PROBES["linear"], X[learn], train_rows, X[test], ["a", "b"], False, True)
    assert strength in STRENGTHS
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    theirs.fit(X[learn], [r.labels[0] for r in train_rows])
    np.testing.assert_allclose(scores, theirs.predict_proba(X[test]), atol=1e-6)


def test_ridge_is_scikit_learns(synthetic):
    rows, X, numbers = synthetic
    learn = np.array([i for i, r in enumerate(rows) if r.split == "train"])
    found, strength = probed_numbers(PROBES["linear"], X[learn], [rows[i] for i in learn], numbers[learn], X, True)
    theirs = make_pipeline(StandardScaler(), Ridge(alpha=1 / strength)).fit(X[learn], numbers[learn])
    np.testing.assert_allclose(found[:, 0], theirs.predict(X))
    assert r_squared(numbers, found[:, 0]) == pytest.approx(r2_score(numbers, found[:, 0]))
    assert r_squared(numbers, found[:, 0]) > 0.9
    assert np.isnan(r_squared(np.ones(3), np.arange(3)))


@pytest.mark.parametrize("probe", PROBES)
def test_each_probe_learns_labels_several_labels_and_numbers(probe, synthetic):
    rows, X, numbers = synthetic
    one = run_probes({"tower": X}, rows, ["a", "b", "other"], [0.1, 1.0], [probe], seeds=2)
    assert one.metric == "accuracy"
    summaries = one.summaries()
    assert summaries["tower", probe, 1.0].value > 0.85
    assert len(summaries["tower", probe, 0.1].figures) == 2
    assert (summaries["tower", probe, 0.1].rows, summaries["tower", probe, 1.0].rows) == (12, 120)
    low, high = summaries["tower", probe, 1.0].interval
    assert low <= summaries["tower", probe, 1.0].value <= high
    several = [replace(r, labels=(*r.labels, "all")) if r.labels == ("a",) else r for r in rows]
    many = run_probes({"tower": X}, several, ["a", "all", "b"], [1.0], [probe])
    assert many.metric == "macro AUROC"
    assert many.summaries()["tower", probe, 1.0].value > 0.9
    lone = [replace(r, labels=("c", "a") if r.labels == ("a",) else ("c",)) for r in rows]  # all have c
    alone = run_probes({"tower": X}, lone, ["a", "c"], [1.0], [probe])
    assert alone.summaries()["tower", probe, 1.0].value > 0.9
    regression = run_probes({"tower": X}, rows, ["age"], [1.0], [probe], numbers=numbers)
    assert regression.metric == "R2"
    assert regression.summaries()["tower", probe, 1.0].value > 0.7


def test_test_rows_change_nothing_that_is_learnt(synthetic):
    rows, X, _ = synthetic
    tested = np.array([r.split == "test" for r in rows])
    swapped = [replace(r, labels=("b",)) if r.split == "test" else r for r in rows]
    a = run_probes({"tower": X}, rows, ["a", "b"], [1.0], ["linear"])
    b = run_probes({"tower": X}, swapped, ["a", "b"], [1.0], ["linear"])
    assert np.array_equal(a.runs[0].scores, b.runs[0].scores)
    c = run_probes({"tower": np.where(tested[:, None], X * 5, X)}, rows, ["a", "b"], [1.0], ["linear"])
    assert a.runs[0].strength == b.runs[0].strength == c.runs[0].strength


@pytest.fixture(scope="module")
def trained(text_checkpoint, tmp_path_factory):
    """A model, its untrained twin, and the manifest with a column of ages and one of words."""
    folder = tmp_path_factory.mktemp("probe")
    path = tone.write_manifest(folder)
    table = pd.read_csv(path)
    table["pitch"] = table["label"].map(tone.PITCH).where(table.index != 3)
    table["device"] = table["label"].map({"low": "one", "middle": "one", "high": "two"})
    table.to_csv(path, index=False)
    rows = read_manifest(path, {name: get_modality(name) for name in ("text", "tone")})
    training = {"epochs": 12, "batch_size": 12, "learning_rate": 0.02, "log_every": 5}
    model = train(make_recipe(text_checkpoint, training=training), rows, folder / "run")
    return model, AlignmentModel.from_pretrained(folder / "run" / "untrained"), rows


def test_an_evaluation_says_beside_what(trained, tmp_path):
    model, untrained, manifest = trained
    done = []
    evaluation = evaluate_probe(model, manifest, "tone", [0.25, 1.0], seeds=2, untrained=untrained, ran=done.append)
    assert done == [1, 1, 1]
    assert [r.name for r in evaluation.results] == [
        "chance", "hand: linear", "untrained tower: linear", "untrained aligned: linear", "aligned: mlp",
        "aligned: linear", "tower: mlp", "modalign: linear",
    ]  # fmt: skip
    assert evaluation.main is evaluation.results[-1]
    assert evaluation.main.value > 0.6  # chance is a third
    assert evaluation.tables[0].columns == ["features", "probe", "25 %, 6 rows", "100 %, 24 rows"]
    evaluation.save(tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    table = pd.read_parquet(tmp_path / "runs.parquet")
    labels = ["high", "low", "middle"]
    for entry in metrics["probe"]:
        part = table[
            (table["features"] == entry["features"]) & (table["probe"] == entry["probe"])
            & (table["fraction"] == entry["fraction"])
        ]  # fmt: skip
        said = part[[f"score of {label}" for label in labels]].to_numpy().argmax(1)
        assert np.mean([labels[i] == t for i, t in zip(said, part["label"])]) == pytest.approx(entry["accuracy"])
    assert "25 %, 6 rows" in render("probe", [evaluation])


def test_a_column_of_numbers_is_regressed_and_one_of_words_classified(trained, tmp_path):
    model, _, manifest = trained
    evaluation = evaluate_probe(model, manifest, "tone", [1.0], target="pitch", probes=["linear"])
    assert (evaluation.metric, evaluation.labels) == ("R2", ["pitch"])
    assert evaluation.results[0].name == "mean of train"
    assert evaluation.results[0].value <= 0
    assert evaluation.main.value > 0.3
    assert "mean absolute error" in evaluation.main.note
    assert evaluation.runs.runs[0].rows == 23  # one cell is empty
    evaluation.save(tmp_path)
    saved = pd.read_parquet(tmp_path / "runs.parquet")
    part = saved[saved["features"] == "tower"]
    assert r2_score(part["target"], part["score of pitch"]) == pytest.approx(evaluation.main.value, abs=1e-6)
    assert "R2" in render("probe", [evaluation])
    words = evaluate_probe(model, manifest, "tone", [1.0], target="device", probes=["linear"])
    assert (words.metric, words.labels) == ("accuracy", ["one", "two"])
    assert words.main.value >= 5 / 6


def test_what_is_refused(trained):
    model, _, manifest = trained
    with pytest.raises(ManifestError, match="no column 'pich' to learn; did you mean 'pitch'"):
        evaluate_probe(model, manifest, "tone", target="pich")
    with pytest.raises(RecipeError, match="fractions '0,1'"):
        evaluate_probe(model, manifest, "tone", [0, 1])
    with pytest.raises(RecipeError, match="no probe 'liner'; did you mean 'linear'"):
        evaluate_probe(model, manifest, "tone", probes=["liner"])
    with pytest.raises(ModelError, match="no tower 'tne'"):
        evaluate_probe(model, manifest, "tne")
    low = manifest.take([i for i, r in enumerate(manifest.rows) if r.labels == ("low",)])
    with pytest.raises(ManifestError, match="have one label"):
        evaluate_probe(model, low, "tone")
    empty = manifest.take(range(len(manifest.rows)))
    empty.table = empty.table.assign(nothing=None)
    with pytest.raises(ManifestError, match="'nothing' is empty"):
        with_target(empty, "nothing")
