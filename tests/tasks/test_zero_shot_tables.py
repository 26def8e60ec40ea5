"""What an evaluation by prompts tells: template spread, negation, levels, refusals, debiasing by split."""

from dataclasses import replace

import numpy as np
import pytest

from modalign import RecipeError, ZeroShotClassifier, build_model
from modalign.align.embed import embed_split
from modalign.tasks.evaluate import dataset_of, evaluate_zero_shot, rows_to_embed
from modalign.tasks.hierarchy import Hierarchy
from modalign.tasks.zero_shot_tables import prompt_table, rejection_table
from tests.conftest import make_recipe


@pytest.fixture(scope="module")
def model(text_checkpoint):
    return build_model(make_recipe(text_checkpoint)).eval()


@pytest.fixture
def several(manifest):
    rows = [replace(r, labels=(*r.labels, "odd")) if k % 2 else r for k, r in enumerate(manifest.rows)]
    return replace(manifest, rows=rows, vocabulary=[*manifest.vocabulary, "odd"])


def tables(evaluation):
    return {table.title: table for table in evaluation.tables}


def test_templates_default_best_worst_and_spread(model, manifest):
    test = manifest.split("test")
    items = embed_split(model, dataset_of(model, test), "tone").embeddings
    truth = [r.labels[0] for r in test.rows]

    def accuracy(templates, **options):
        return ZeroShotClassifier(model, "tone", manifest.labels, templates, **options).score(items, truth)

    table = prompt_table(ZeroShotClassifier(model, "tone", manifest.labels), items, test.rows, False)
    rows = {(row[0], row[2]): row[1] for row in table.rows}
    both = ["a {label} tone", "the sound is {label}"]
    alone = {f"“{t}”": accuracy([t]) for t in both}
    assert rows["default", "2 a label, mean_embedding"] == accuracy(both)
    assert rows["default", "by max"] == accuracy(both, ensemble="max")
    assert rows["default", "by mean_score"] == accuracy(both, ensemble="mean_score")
    best, worst = ((row[1], row[2]) for row in table.rows if row[0] in ("best alone", "worst alone"))
    assert best[0] == alone[best[1]] == max(alone.values())
    assert worst[0] == alone[worst[1]] == min(alone.values())
    assert rows["mean alone", "of 2"] == pytest.approx(np.mean(list(alone.values())))
    assert rows["spread", "best less worst"] == max(alone.values()) - min(alone.values())


def test_sentences_are_tried_beside_the_modalitys_templates(model, manifest):
    said = {"low": ["deep", "low note", "a low tone"], "middle": ["a", "b"], "high": ["c", "d"]}
    table = tables(evaluate_zero_shot(model, manifest, "tone", descriptions=said))["Prompts"]
    assert table.rows[0][2] == "2 to 3 a label, mean_embedding"
    assert [row[k] for row in table.rows for k in (0, 2) if row[0] == "mean alone"] == ["mean alone", "of 4"]


@pytest.mark.parametrize("mode", [None, "cosine", "pairs"])
def test_several_labels_bring_the_negation_test(model, several, mode):
    evaluation = evaluate_zero_shot(model, several, "tone", options={"multi_label": mode} if mode else None)
    table = next(t for name, t in tables(evaluation).items() if name.startswith("Negation"))
    assert [row[0] for row in table.rows] == [*several.vocabulary, "mean"]
    test = several.split("test")
    items = embed_split(model, dataset_of(model, test), "tone").embeddings
    margin = ZeroShotClassifier(model, "tone", several.vocabulary, multi_label="pairs").decision_function(items)
    has = np.array(["low" in r.labels for r in test.rows])
    row = next(row for row in table.rows if row[0] == "low")
    k = several.vocabulary.index("low")
    assert row[1:3] == pytest.approx([(margin[has, k] > 0).mean(), (margin[~has, k] < 0).mean()])
    if mode == "pairs":
        np.testing.assert_array_equal(evaluation.main.scores, margin)
        np.testing.assert_allclose(evaluation.probabilities(), 1 / (1 + np.exp(-margin.astype(float))), rtol=1e-5)
    else:
        assert evaluation.own is None


def test_one_label_a_row_may_be_judged_by_pairs(model, manifest):
    evaluation = evaluate_zero_shot(model, manifest, "tone", untrained=model, options={"multi_label": "pairs"})
    assert evaluation.metric == "macro AUROC"
    assert evaluation.results[1].value == evaluation.main.value


@pytest.mark.parametrize("rule", ["children", "path"])
def test_levels_of_a_tree(model, manifest, rule):
    tree = Hierarchy.parse({"deep": ["low", "not here"], "other": ["middle", "high"]})
    evaluation = evaluate_zero_shot(model, manifest, "tone", tree=tree, rule=rule)
    rows = tables(evaluation)["Levels of the hierarchy"].rows
    assert [row[:2] for row in rows] == [["1", 2], ["2", 3]]
    assert [row[3] for row in rows] == pytest.approx([2 / 3, 1 / 3])
    if rule == "children":
        assert rows[1][2] == evaluation.main.value
    with pytest.raises(RecipeError, match="the hierarchy has no label 'middle'"):
        evaluate_zero_shot(model, manifest, "tone", tree=Hierarchy.parse(["low", "high"]))


def test_levels_with_several_labels(model, several):
    tree = Hierarchy.parse({"deep": ["low", "odd"], "other": ["middle", "high"]})
    evaluation = evaluate_zero_shot(model, several, "tone", tree=tree)
    rows = tables(evaluation)["Levels of the hierarchy"].rows
    assert rows[1][2:] == pytest.approx([evaluation.main.value, 0.5])


def test_debiasing_by_train_val_or_the_test_set(model, manifest):
    test = manifest.split("test")
    items = embed_split(model, dataset_of(model, test), "tone").embeddings
    for on in ("train", "val", "test"):
        done = []
        evaluation = evaluate_zero_shot(
            model, manifest, "tone", options={"debias": True}, fit_on=on, advance=done.append
        )
        rows = manifest.split(on)
        mean = embed_split(model, dataset_of(model, rows), "tone").embeddings
        expected = ZeroShotClassifier(model, "tone", manifest.labels, debias=True).fit(mean).decision_function(items)
        np.testing.assert_allclose(evaluation.main.scores, expected, atol=1e-5)
        assert ("transductive" in evaluation.protocol) == (on == "test")
        assert any(f"{len(rows.rows)} rows of {on}" in note for note in evaluation.notes)
        assert sum(done) == rows_to_embed(manifest, "test", "tone", fit_on=on)
        best = next(row for row in tables(evaluation)["Prompts"].rows if row[0] == "default")
        assert best[1] == evaluation.main.value  # the other prompts are debiased too
    for on, options, message in [
        ("tset", {"debias": True}, "--fit-on 'tset'"),
        ("test", {"reject_rate": 0.1}, "not set on rows that are evaluated"),
    ]:
        with pytest.raises(RecipeError, match=message):
            evaluate_zero_shot(model, manifest, "tone", options=options, fit_on=on)
    with pytest.raises(RecipeError, match="val is what is evaluated"):
        evaluate_zero_shot(model, manifest, "tone", "val", options={"debias": True}, fit_on="test")
    with pytest.raises(RecipeError, match="has no labelled rows of that split"):
        evaluate_zero_shot(
            model, manifest.take([i for i, r in enumerate(manifest.rows) if r.split != "val"]), "tone",
            options={"debias": True},
        )  # fmt: skip


def test_what_is_refused(model, manifest):
    evaluation = evaluate_zero_shot(model, manifest, "tone", options={"reject_rate": 0.5})
    found = dict(tables(evaluation)["Refused as 'none of these'"].rows)
    scores = evaluation.main.scores
    kept = scores.max(1) > found["threshold"]
    assert found["share refused"] == pytest.approx(1 - kept.mean())
    assert found["accuracy of all"] == evaluation.main.value
    classifier = ZeroShotClassifier(model, "tone", manifest.labels[:2], reject_rate=0.0)
    val, test = manifest.split("val"), manifest.split("test")
    items = [embed_split(model, dataset_of(model, rows), "tone").embeddings for rows in (val, test)]
    classifier.fit(items[0], [r.labels for r in val.rows])
    known = [k for k, r in enumerate(test.rows) if r.labels[0] in manifest.labels[:2]]
    figures = dict(rejection_table(classifier, items[1][known], [test.rows[k] for k in known]).rows)
    assert 0 <= figures["false positives"] <= 1


def test_thresholds_by_label(model, several):
    table = tables(evaluate_zero_shot(model, several, "tone", options={"reject_rate": 0.2}))["Thresholds"]
    assert [row[0] for row in table.rows] == several.vocabulary
    assert all(0 <= row[2] <= 1 for row in table.rows)
