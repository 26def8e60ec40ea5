"""Zero-shot classification, its evaluation beside baselines, and the report."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from modalign import ManifestError, ModelError, RecipeError, ZeroShotClassifier, build_model
from modalign.align.manifest import Row
from modalign.tasks.evaluate import dataset_of, evaluate_zero_shot, score
from modalign.tasks.evaluation import (
    Evaluation,
    Result,
    chance,
    hashed_groups,
    protocol_of,
    score_result,
    unit_of_resampling,
)
from modalign.tasks.prompts import prompts_for
from modalign.tasks.report import render
from modalign.tasks.training import train
from modalign.tasks.zero_shot import prompt_accuracy, prompt_figures
from tests.conftest import make_recipe


def row(label="a", group="", cluster="", identifier="x", labels=None):
    return Row(identifier, "test", group, cluster, tuple(labels or [label]), {}, {})


def test_prompts():
    assert prompts_for(["dog_bark"], ["the sound of {label}"]) == {"dog_bark": ["the sound of dog bark"]}
    known = {"a": ["knew"]}
    assert prompts_for(["a", "b"], known=known) == {"a": ["knew"], "b": ["b"]}
    assert prompts_for(["a"], ["x {label}"], known=known) == {"a": ["x a"]}
    assert prompts_for(["a"], ["x {label}"], {"a": ["said"]}, known) == {"a": ["said"]}
    with pytest.raises(RecipeError, match=r"has no \{label\}"):
        prompts_for(["a"], ["the sound"])
    with pytest.raises(RecipeError, match="stands twice"):
        prompts_for(["a", "a"])
    with pytest.raises(RecipeError, match="no labels"):
        prompts_for([])


@pytest.fixture
def trained(text_checkpoint, manifest, tmp_path):
    recipe = make_recipe(
        text_checkpoint, training={"epochs": 12, "batch_size": 12, "learning_rate": 0.02, "log_every": 5}
    )
    return train(recipe, manifest, tmp_path / "run")


def test_classes_are_means_of_their_prompts(text_checkpoint):
    model = build_model(make_recipe(text_checkpoint)).eval()
    words = {"low": ["a low tone", "the low note"], "high": ["a high tone"]}
    classifier = ZeroShotClassifier(model, "tone", ["low", "high"], None, words)
    each = model.embed("text", ["a low tone", "the low note", "a high tone"])
    expected = torch.nn.functional.normalize(torch.stack([each[:2].mean(0), each[2]]), dim=1)
    torch.testing.assert_close(classifier.class_embeddings, expected)
    embeddings = torch.nn.functional.normalize(torch.randn(5, 16), dim=1)
    scores = classifier.decision_function(embeddings)
    np.testing.assert_allclose(scores, (embeddings @ expected.T).numpy())
    p = classifier.predict_proba(embeddings)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(p, torch.tensor(scores / 0.07).softmax(1).numpy(), rtol=1e-3)
    assert classifier.predict(embeddings) == [["low", "high"][i] for i in scores.argmax(1)]


def test_the_modalitys_templates_are_the_default(text_checkpoint):
    model = build_model(make_recipe(text_checkpoint)).eval()
    assert ZeroShotClassifier(model, "tone", ["low"]).prompts == {"low": ["a low tone", "the sound is low"]}
    assert ZeroShotClassifier(model, "tone", ["low"], ["one {label}"]).prompts == {"low": ["one low"]}


def test_a_model_without_the_text_tower_is_refused(text_checkpoint):
    model = build_model(make_recipe(text_checkpoint))
    with pytest.raises(ModelError, match="none called 'words'"):
        ZeroShotClassifier(model, "tone", ["low", "high"], text="words")


def test_it_learns_and_the_evaluation_says_beside_what(trained, manifest, tmp_path):
    from modalign import AlignmentModel

    untrained = AlignmentModel.from_pretrained(tmp_path / "run" / "untrained")
    evaluation = evaluate_zero_shot(trained, manifest, "tone", untrained=untrained)
    assert [r.name for r in evaluation.results] == ["chance", "untrained", "linear", "modalign"]
    assert evaluation.protocol == "seen classes, unseen people"
    assert "zero-shot" not in evaluation.title.lower()  # a name for classes or data sets that training never saw
    assert evaluation.main.value >= 5 / 6  # six recordings of two unseen people's worth of three tones
    assert evaluation.main.interval[0] <= evaluation.main.value <= evaluation.main.interval[1]
    evaluation.save(tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert list(table.columns) == ["id", "group", "cluster", "label", "high", "low", "middle"]
    again = (table[["high", "low", "middle"]].idxmax(axis=1) == table["label"]).mean()
    assert again == metrics["results"][-1]["accuracy"] == evaluation.main.value
    assert evaluation.confusion().sum() == 6


def test_evaluation_needs_labels(trained, manifest):
    with pytest.raises(ManifestError, match="two labels or more"):
        evaluate_zero_shot(trained, manifest.take([0, 3, 6]), "tone", "all")


def test_the_same_model_by_hand_and_from_disk(trained, manifest, tmp_path):
    from modalign import AlignmentModel

    loaded = AlignmentModel.from_pretrained(tmp_path / "run" / "model")
    assert loaded.record["labels"] == ["high", "low", "middle"]
    a = evaluate_zero_shot(trained, manifest, "tone").main.scores
    b = evaluate_zero_shot(loaded, manifest, "tone").main.scores
    assert np.array_equal(a, b)


def test_several_labels_a_row_give_macro_auroc():
    rows = [
        row(labels=["a", "b"], identifier="1"),
        row(labels=["a"], identifier="2"),
        row(labels=["c"], identifier="3"),
    ]
    scores = np.array([[0.9, 0.8, 0.1], [0.8, 0.1, 0.2], [0.1, 0.2, 0.9]])
    result = score_result("m", scores, rows, ["a", "b", "c"])
    assert result.value == 1.0
    assert chance(rows, ["a", "b", "c"]).value == 0.5


def test_auroc_can_be_asked_for_where_rows_have_one_label():
    rows = [row("a")] * 3 + [row("b")]
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])  # all called a, in the right order
    assert score_result("m", scores, rows, ["a", "b"]).value == 0.75
    assert score_result("m", scores, rows, ["a", "b"], auroc=True).value == 1.0


def test_chance_is_the_commonest_class_where_that_is_better():
    rows = [row("a")] * 8 + [row("b")] * 2
    assert chance(rows, ["a", "b"]).value == 0.8
    assert chance([row("a"), row("b"), row("c")], ["a", "b", "c"]).value == pytest.approx(1 / 3)


def test_intervals_resample_groups_only_where_there_are_ten():
    few = [row(group=f"p{i % 3}", cluster=f"r{i % 20}") for i in range(60)]
    many = [row(group=f"p{i % 12}", cluster=f"r{i % 20}") for i in range(60)]
    assert unit_of_resampling(few)[1] == "recordings"
    assert unit_of_resampling(many)[1] == "groups"
    assert unit_of_resampling([row()])[1] == "rows"


def test_protocols_claim_no_more_than_the_record_shows(manifest):
    salt = "s"

    def said(split="test", trained="train", labels=("low", "middle", "high"), sha256=manifest.sha256):
        groups = hashed_groups(manifest.split(trained).rows, salt) if trained else []
        record = {"labels": labels, "manifest_sha256": sha256, "salt": salt, "hashed_groups": groups}
        return protocol_of(record, manifest, split)

    assert protocol_of(None, manifest, "test") == "training unknown"
    assert said() == "seen classes, unseen people"
    assert said(labels=["low"]) == "seen and held-out classes, unseen people"
    assert said(labels=["x"]) == "held-out classes, unseen people"
    assert said(split="train") == "seen classes, not subject-independent"
    assert said(trained="") == "seen classes, people unknown"
    assert said(sha256="other") == "another manifest than training's, seen classes, unseen people"
    assert said(trained="test", sha256="other").endswith("groups named as training's")
    assert not [g for g in hashed_groups(manifest.rows, salt) if g in {row.group for row in manifest.rows}]


def test_a_class_that_the_split_lacks_can_still_be_chosen(trained, manifest):
    kept = manifest.take([i for i, row in enumerate(manifest.rows) if row.split != "test" or row.labels != ("middle",)])
    evaluation = evaluate_zero_shot(trained, kept, "tone")
    assert evaluation.labels == ["high", "low", "middle"]
    assert evaluation.main.scores.shape == (4, 3)


def test_the_report_escapes_and_loads_nothing():
    label = "<script>alert(1)</script>"
    rows = [row(label, identifier="1"), row("b & c", identifier="2")]
    scores = np.array([[0.9, 0.1], [0.6, 0.4]])
    evaluation = Evaluation(
        f"title {label}", f"protocol {label}", "accuracy", [label, "b & c"], rows,
        [Result("chance", 0.5), score_result(f"m {label}", scores, rows, [label, "b & c"], f"note {label}")],
        [f"note {label}"],
    )  # fmt: skip
    page = render(f"page {label}", [evaluation], [(label, label)])
    assert "<script" not in page
    assert html.escape(label) in page
    assert not re.search(r"(src|href)\s*=|https?://|@import|url\(", page)
    assert "0.500" in page


def test_a_description_of_no_label_is_refused(text_checkpoint, manifest, tmp_path):
    manifest.descriptions = {"low": ["deep"], "hihg": ["shrill"]}
    with pytest.raises(ManifestError, match="'hihg', a label that no row has; did you mean 'high'"):
        train(make_recipe(text_checkpoint), manifest, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_a_label_without_description_takes_the_modalitys_templates(text_checkpoint):
    model = build_model(make_recipe(text_checkpoint)).eval()
    prompts = ZeroShotClassifier(model, "tone", ["low", "high"], None, {"low": ["deep"]}).prompts
    assert prompts == {"low": ["deep"], "high": ["a high tone", "the sound is high"]}


def test_classes_may_be_called_as_columns_are(tmp_path):
    rows = [row("id", identifier="1"), row("b", identifier="2")]
    scores = np.array([[0.9, 0.1], [0.6, 0.4]])
    result = score_result("m", scores, rows, ["id", "b"])
    Evaluation("t", "p", "accuracy", ["id", "b"], rows, [result]).save(tmp_path)
    columns = list(pd.read_parquet(tmp_path / "predictions.parquet").columns)
    assert columns == ["id", "group", "cluster", "label", "id (score)", "b"]


def test_labels_that_auroc_leaves_out_are_named_and_no_nan_is_written(trained, manifest, tmp_path):
    from dataclasses import replace

    manifest.rows = [
        replace(r, labels=("low", r.labels[0]) if r.labels[0] != "low" else ("low",)) for r in manifest.rows
    ]
    evaluation = evaluate_zero_shot(trained, manifest, "tone")
    assert any("Left out of macro AUROC" in note and "low" in note for note in evaluation.notes)
    manifest.rows = [replace(r, labels=("low", "high")) for r in manifest.rows]
    evaluate_zero_shot(trained, manifest, "tone").save(tmp_path / "same")
    assert "NaN" not in (tmp_path / "same" / "metrics.json").read_text()


def test_another_recipe_does_not_resume_a_run(text_checkpoint, manifest, tmp_path):
    train(make_recipe(text_checkpoint), manifest, tmp_path / "run", untrained=False)
    settings = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "log_every": 1}
    other = make_recipe(text_checkpoint, training={**settings, "learning_rate": 0.5})
    with pytest.raises(ModelError, match=r"begun with another training\.learning_rate"):
        train(other, manifest, tmp_path / "run", untrained=False, resume=True)
    same = make_recipe(text_checkpoint, training={**settings, "log_every": 2})
    train(same, manifest, tmp_path / "run", untrained=False, resume=True)


def test_texts_alone_need_no_untrained_twin(text_checkpoint, manifest, tmp_path):
    text = {"modality": "text", "options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen"}
    manifest = manifest.take([i for i, r in enumerate(manifest.rows) if "text" in r.sources])
    for r in manifest.rows:
        r.sources["body"], r.fields["body"] = r.sources["text"], {}
    recipe = make_recipe(text_checkpoint, towers={"text": text, "body": text}, pairs=[["text", "body"]])
    train(recipe, manifest, tmp_path / "run")
    assert (tmp_path / "run" / "model").is_dir()
    assert not (tmp_path / "run" / "untrained").exists()


def test_a_frozen_text_tower_encodes_the_prompts_of_val_once(text_checkpoint, manifest, monkeypatch):
    model = build_model(make_recipe(text_checkpoint)).eval()
    dataset, calls = dataset_of(model, manifest), []
    words = model.tower("text")
    encode = type(words).encode
    monkeypatch.setattr(type(words), "encode", lambda self, i: (calls.append(self.name), encode(self, i))[1])
    evaluate = prompt_accuracy("tone", "text", [])
    before = evaluate(model, dataset)
    assert calls.count("text") == 1
    assert evaluate(model, dataset) == before
    assert calls.count("text") == 1
    scores = score(model, dataset, "tone", manifest.labels)
    truth = [r.labels[0] for r in manifest.rows]
    assert before["accuracy"] == np.mean([manifest.labels[k] == t for k, t in zip(scores.argmax(1), truth)])
    with torch.no_grad():  # the projection still moves
        words.projection.layers.weight.neg_()
    assert evaluate(model, dataset) != before


def test_training_reads_no_test_row_and_fits_constants_on_train_alone(text_checkpoint, manifest, tmp_path):
    for r in manifest.split("test").rows:
        r.sources["tone"].write_text("not numbers")
    for r in manifest.split("val").rows:
        r.sources["tone"].write_text("\n".join(["1000.0"] * 64))
    model = train(make_recipe(text_checkpoint), manifest, tmp_path / "run", untrained=False)
    assert model.tower("tone").processing.scale < 2
    assert model.record["rows"] == len(manifest.split("train").rows)


def test_two_towers_of_recordings_are_both_classified_on_val(text_checkpoint, manifest):
    model = build_model(make_recipe(text_checkpoint))
    dataset = dataset_of(model, manifest.split("val"))
    one = prompt_figures({"tone": []}, "text")(model, dataset)
    assert set(one) == {"accuracy"}
    two = prompt_figures({"tone": [], "other": []}, "text")(model, dataset)
    assert two == {"tone_accuracy": one["accuracy"], "accuracy": one["accuracy"]}


def test_a_run_is_not_resumed_on_other_rows(text_checkpoint, manifest, tmp_path):
    recipe = make_recipe(text_checkpoint)
    train(recipe, manifest, tmp_path / "run", untrained=False)
    manifest.sha256 = "other"
    with pytest.raises(ModelError, match="is not as it was when the run began"):
        train(recipe, manifest, tmp_path / "run", resume=True)
