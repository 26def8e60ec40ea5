"""Every figure of an evaluation: against scikit-learn, by subgroup, and computed again from the saved rows."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from modalign import ManifestError
from modalign.align.manifest import Manifest, Row
from modalign.align.metrics import Calibration
from modalign.tasks.compare import swapped_units
from modalign.tasks.evaluation import Evaluation, few_groups, interval_note, recompute, score_result
from modalign.tasks.figures import chance_figures, measure, order
from modalign.tasks.predictions import Predictions, from_table, pool
from modalign.tasks.subgroups import split_by, subgroups_of
from modalign.tasks.val_constants import fitted_calibration, thresholds

LABELS = ["a", "b", "c", "d"]


def case(several=False, n=240, groups=15, seed=0, **changes):
    """Predictions of n rows; the label "d" is on no row."""
    generator = np.random.default_rng(seed)
    if several:
        truth = [tuple(label for label in "abc" if generator.random() < 0.5) or ("a",) for _ in range(n)]
    else:
        truth = [(str(label),) for label in generator.choice(list("abc"), size=n, p=[0.6, 0.3, 0.1])]
    scores = generator.normal(size=(n, 4)) + [[label in own for label in LABELS] for own in truth]
    made = {
        "ids": [f"r{i}" for i in range(n)],
        "groups": [f"p{i % groups}" for i in range(n)] if isinstance(groups, int) else groups,
        "clusters": [f"c{i // 2}" for i in range(n)],
        "truth": truth,
        "labels": LABELS,
        "scores": scores.astype(np.float32),
        "metric": "macro AUROC" if several else "accuracy",
    }
    return Predictions(**{**made, **changes})


def evaluation_of(predictions, **fields):
    rows = [
        Row(i, "test", g, c, t, {}, {})
        for i, g, c, t in zip(predictions.ids, predictions.groups, predictions.clusters, predictions.truth)
    ]
    result = score_result("modalign", predictions.scores, rows, predictions.labels)
    other = score_result("untrained", predictions.scores[::-1].copy(), rows, predictions.labels)
    evaluation = Evaluation("t", "p", predictions.metric, predictions.labels, rows, [other, result], **fields)
    evaluation.measure_all()
    return evaluation


def test_figures_agree_with_scikit_learn():
    p = case()
    measured = measure(p, draws=50)
    y, chosen = [t[0] for t in p.truth], [LABELS[i] for i in p.scores.argmax(1)]
    truth = p.indicator()
    expected = {
        "accuracy": sk.accuracy_score(y, chosen),
        "balanced accuracy": sk.balanced_accuracy_score(y, chosen),
        "macro F1": sk.f1_score(y, chosen, average="macro", labels=list("abc")),
        "macro AUROC": sk.roc_auc_score(truth[:, :3], p.scores[:, :3], average="macro"),
        "macro AUPRC": sk.average_precision_score(truth[:, :3], p.scores[:, :3], average="macro"),
    }
    assert {n: f.value for n, f in measured.figures.items()} == pytest.approx(expected, abs=1e-12)
    assert all(f.interval[0] < f.value < f.interval[1] for f in measured.figures.values())
    assert (measured.unit, measured.groups, measured.unscored) == ("groups", 15, ["d"])
    report = sk.classification_report(y, chosen, output_dict=True, zero_division=0)
    for row in measured.classes[:3]:
        assert row["rows"] == report[row["label"]]["support"]
        for name, theirs in (("precision", "precision"), ("recall", "recall"), ("F1", "f1-score")):
            assert row[name].value == pytest.approx(report[row["label"]][theirs])
    assert math.isnan(measured.classes[3]["AUROC"].value)


def test_the_main_figures_interval_is_that_of_the_table():
    for several in (False, True):
        evaluation = evaluation_of(case(several))
        found = evaluation.measured["modalign"].figures[evaluation.metric]
        assert found.value == evaluation.main.value
        assert found.interval == pytest.approx(evaluation.main.interval, abs=1e-12)


@pytest.mark.parametrize("several", [False, True])
def test_every_figure_is_computed_again_from_the_saved_rows(several, tmp_path):
    p = case(several)
    slopes, biases = (2.0, 1.5, 0.5, float("nan")), (0.1, 0.0, -1.0, float("nan"))
    fitted = Calibration(slopes, biases, True) if several else Calibration((1.7,))
    evaluation = evaluation_of(
        p,
        subgroups={"sex": ["F" if i % 3 else "M" for i in range(240)], "group": p.groups},
        own=None if several else Calibration((3.0,)),
        fitted=fitted,
    )
    evaluation.save(tmp_path)
    saved = json.loads((tmp_path / "metrics.json").read_text())
    for name, file in (("modalign", "predictions.parquet"), ("untrained", "predictions-untrained.parquet")):
        assert recompute(tmp_path / file) == saved["methods"][name]
        assert json.loads(json.dumps(recompute(pd.read_parquet(tmp_path / file)))) == saved["methods"][name]
    assert saved["methods"]["modalign"]["calibration"].keys() == ({"fitted"} if several else {"own", "fitted"})
    assert saved["methods"]["modalign"]["subgroups"].keys() == {"sex", "group"}
    line = saved["results"][1]
    assert line[evaluation.metric] == saved["methods"]["modalign"]["figures"][evaluation.metric]["value"]
    columns = pd.read_parquet(tmp_path / "predictions.parquet").columns
    assert list(columns) == ["id", "group", "cluster", "label", "sex", *LABELS]  # "group" is there already


def test_thresholds_decide_where_rows_have_several_labels(tmp_path):
    p = case(several=True)
    assert "accuracy" not in measure(p, draws=20).figures
    truth, decided = p.indicator(), (p.scores > 0.5).astype(int)
    p = case(several=True, decided=decided)
    measured = measure(p, draws=20)
    assert measured.figures["accuracy"].value == pytest.approx(sk.accuracy_score(truth, decided))
    assert measured.figures["macro F1"].value == pytest.approx(
        sk.f1_score(truth[:, :3], decided[:, :3], average="macro")
    )
    p.table().to_parquet(tmp_path / "p.parquet")
    again = from_table(tmp_path / "p.parquet")
    assert again.decided.tolist() == decided.tolist()
    assert again.truth == p.truth


def test_thresholds_are_those_of_the_best_f1_of_val():
    p = case(several=True)
    rows = [Row(i, "val", "", "", t, {}, {}) for i, t in zip(p.ids, p.truth)]
    found = thresholds(p.scores, rows, LABELS)
    assert found[3] == np.inf
    for c in range(3):
        best = max(sk.f1_score(p.indicator()[:, c], p.scores[:, c] >= t) for t in p.scores[:, c])
        assert sk.f1_score(p.indicator()[:, c], p.scores[:, c] >= found[c]) == pytest.approx(best)
        assert found[c] not in p.scores[:, c]


def test_what_val_cannot_fit_is_said():
    rows = [Row(str(i), "val", f"p{i}", "", (label,), {}, {}) for i, label in enumerate("ab")]
    fitted, said = fitted_calibration(np.eye(2), rows, ["a", "b"], False)
    assert fitted is None
    assert "all are right" in said
    rows = [Row(str(i), "val", "", "", labels, {}, {}) for i, labels in enumerate([("a",), ("a", "b"), ("a",)])]
    fitted, said = fitted_calibration(np.random.default_rng(0).random((3, 2)), rows, ["a", "b"], True)
    assert "Left out, since val has no row with them or none without: a" in said
    assert np.isnan(fitted(np.zeros((1, 2)))[0]).tolist() == [True, False]


def test_chance_is_what_guessing_scores_in_the_long_run():
    p = case(n=4000)
    generator = np.random.default_rng(1)
    y = [t[0] for t in p.truth]
    guesses = {
        "constant": ["a"] * 4000,
        "random": [str(c) for c in generator.choice(LABELS, size=4000)],
    }
    chance = chance_figures(p)
    for name, score in (
        ("accuracy", sk.accuracy_score),
        ("balanced accuracy", lambda t, g: sk.recall_score(t, g, labels=list("abc"), average="macro")),
        ("macro F1", lambda t, g: sk.f1_score(t, g, labels=list("abc"), average="macro")),
    ):
        assert chance[name] == pytest.approx(max(score(y, g) for g in guesses.values()), abs=0.01)
    noise = case(n=4000, scores=generator.random((4000, 4)))
    measured = measure(noise, draws=2)
    for name in ("macro AUROC", "macro AUPRC"):
        assert chance[name] == pytest.approx(measured.figures[name].value, abs=0.02)


def test_subgroups_and_the_gap():
    p = case()
    sex = ["F" if i % 3 else "M" for i in range(240)]
    measured = measure(case(subgroups={"sex": [*sex[:-1], "unknown"]}))
    found = measured.subgroups["sex"]
    assert [row["name"] for row in found["subgroups"]] == ["F", "M", "unknown"]
    right = p.scores.argmax(1) == p.indicator().argmax(1)
    for row in found["subgroups"][:2]:
        own = np.array([s == row["name"] for s in [*sex[:-1], "unknown"]])
        assert row["accuracy"].value == pytest.approx(right[own].mean())
        assert row["rows"] == own.sum()
        assert row["accuracy"].interval[0] < row["accuracy"].value < row["accuracy"].interval[1]
    gap = found["gap"]
    values = {row["name"]: row["accuracy"].value for row in found["subgroups"]}
    assert gap["difference"].value == pytest.approx(values[gap["best"]] - values[gap["worst"]])
    assert gap["difference"].value >= 0
    assert {gap["best"], gap["worst"]} == {"F", "M"}


def test_the_gap_of_areas_is_over_common_labels():
    p = case(several=True)
    site = ["one" if "c" in t else "two" for t in p.truth]  # nothing has or lacks c in a site
    measured = measure(case(several=True, subgroups={"site": site}), draws=20)
    assert [row["labels"] for row in measured.subgroups["site"]["subgroups"]] == [2, 2]
    truth = p.indicator()
    areas = []
    for name in ("one", "two"):
        own = np.array([s == name for s in site])
        areas.append(sk.roc_auc_score(truth[own, :2], p.scores[own, :2]))
    assert measured.subgroups["site"]["gap"]["difference"].value == pytest.approx(abs(areas[0] - areas[1]))


def manifest_with(**columns):
    n = len(next(iter(columns.values())))
    rows = [Row(str(i), "test", "", "", ("a",), {}, {}) for i in range(n)]
    return Manifest("m.csv", rows, table=pd.DataFrame(columns))


def test_columns_become_subgroups():
    ages = [str(a) for a in range(20, 60)]
    manifest = manifest_with(age=["", *ages[1:]], sex=["0", "1"] * 20, site=[1.0, 2.0] * 19 + [None, 3.0])
    found = subgroups_of(manifest, ["age", "sex", "site"])
    assert found["age"][0] == "unknown"
    assert sorted(set(found["age"]), key=order) == ["under 30.5", "30.5 to 40", "40 to 49.5", "49.5 or more", "unknown"]
    assert set(found["sex"]) == {"0", "1"}
    assert found["site"][-3:] == ["2", "unknown", "3"]
    assert subgroups_of(manifest, ["age=40,50"])["age"][19:21] == ["under 40", "40 to 50"]
    assert split_by("sex, age=40,60,site,height=1.5") == ["sex", "age=40,60", "site", "height=1.5"]
    assert split_by("") == []


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("agee", "no column 'agee'; did you mean 'age'"),
        ("empty", "'empty' is empty in all 2 rows"),
        ("age=60,40", "edges are rising numbers"),
        ("age=old", "edges are rising numbers"),
        ("word=3", "has edges, and 'x' is no number"),
    ],
)
def test_bad_subgroups(by, message):
    with pytest.raises(ManifestError, match=message):
        subgroups_of(manifest_with(age=["1", "2"], empty=["", ""], word=["x", "y"]), [by])


def test_tables_of_other_makers_are_read(tmp_path):
    table = pd.DataFrame({"id": [1, 2, 3], "label": ["x", "y", "x"], "x": [0.9, 0.2, 0.4], "y": [0.1, 0.8, 0.6]})
    assert recompute(table)["figures"]["accuracy"]["value"] == pytest.approx(2 / 3)
    with pytest.raises(ManifestError, match="no column 'label'"):
        from_table(table.drop(columns="label"))
    with pytest.raises(ManifestError, match="label 'x', and there is no column of its scores"):
        from_table(table.drop(columns="x").assign(z=0.5))
    with pytest.raises(ManifestError, match="has no scores"):
        from_table(table[["id", "label"]])
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(ManifestError, match="cannot be read as Parquet"):
        from_table(tmp_path / "no.parquet")


def test_folds_are_pooled_by_label():
    a = case(n=20)
    b = case(n=10, labels=["b", "a"], ids=[f"s{i}" for i in range(10)], truth=[("a",)] * 10, scores=np.eye(10)[:, :2])
    whole = pool([a, b])
    assert whole.labels == LABELS
    assert whole.scores[20].tolist() == [0, 1, 0, 0]
    assert len(whole.ids) == 30
    with pytest.raises(ManifestError, match="'r0' is in two folds"):
        pool([a, a])


def test_few_groups_are_said_beside_the_figure():
    rows = [Row(str(i), "test", f"p{i % 3}", f"c{i}", ("a",), {}, {}) for i in range(9)]
    assert few_groups(rows) == "only 3 groups: the interval says little of other people"
    assert "modalign crossval" in interval_note(rows)
    assert "modalign crossval" not in interval_note(rows, crossval=True)
    many = [Row(str(i), "test", f"p{i}", "", ("a",), {}, {}) for i in range(10)]
    assert few_groups(many) == ""
    assert "column 'group'" in interval_note([Row("1", "test", "", "", ("a",), {}, {})])


def test_a_class_may_be_called_predicted(tmp_path):
    labels = ["predicted", "b"]
    scores = np.array([[0.9, 0.1], [0.2, 0.8]], dtype=np.float32)
    truth = [("predicted",), ("b",)]
    made = Predictions(["x", "y"], ["", ""], ["", ""], truth, labels, scores)
    made.table().to_parquet(tmp_path / "p.parquet", index=False)
    assert from_table(tmp_path / "p.parquet").decided is None


def test_a_row_without_a_group_goes_with_its_recording():
    """Windows of one recording are never resampled or swapped one by one, also where only other rows name a person."""
    groups = [*(f"p{i}" for i in range(12)), *[""] * 6]
    clusters = [*[""] * 12, *["tape"] * 6]
    made = case(n=18, groups=groups, clusters=clusters)
    assert made.units() == ([*groups[:12], *["tape"] * 6], "groups")
    assert swapped_units(made) == made.units()[0]


def test_a_missing_file_of_predictions_is_said_to_be_missing(tmp_path):
    with pytest.raises(ManifestError, match="no such file"):
        from_table(tmp_path / "predictions.parquet")
