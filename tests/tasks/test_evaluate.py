"""A whole evaluation: what stands beside the figure, what is fitted on val, and that each row is encoded once."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from modalign import ManifestError, ModelError, build_model
from modalign.tasks.evaluate import evaluate_zero_shot, rows_to_embed
from modalign.tasks.evaluation import recompute
from modalign.tasks.figures import measure
from modalign.tasks.retrieval import evaluate_retrieval
from modalign.tasks.val_constants import own_calibration, val_rows
from tests.conftest import make_recipe


@pytest.fixture
def model(text_checkpoint):
    return build_model(make_recipe(text_checkpoint)).eval()


def several_labels(manifest):
    """The manifest with the label "odd" on every second row too."""
    rows = [replace(r, labels=(*r.labels, "odd")) if k % 2 else r for k, r in enumerate(manifest.rows)]
    vocabulary = [*manifest.vocabulary, "odd"]
    return replace(manifest, rows=rows, vocabulary=vocabulary)


def tables(evaluation):
    return {table.title: table for table in evaluation.tables}


def test_every_row_is_encoded_once(model, manifest, monkeypatch):
    seen = Counter()
    tower = model.tower("tone")
    encode = type(tower).encode_whole

    def counted(self, signals, *rest):
        seen.update(float(s.data.sum()) for s in signals if self.name == "tone")
        return encode(self, signals, *rest)

    monkeypatch.setattr(type(tower), "encode_whole", counted)
    done = []
    evaluate_zero_shot(model, manifest, "tone", advance=done.append)
    assert set(seen.values()) == {1}
    assert len(seen) == sum(done) == rows_to_embed(manifest, "test", "tone") == 12  # test and val


def test_tables_of_one_label_a_row(model, manifest, tmp_path):
    manifest.table["sex"] = ["F", "M"] * 18
    evaluation = evaluate_zero_shot(model, manifest, "tone", untrained=model, by=["sex"])
    found = tables(evaluation)
    assert list(found)[:4] == ["Figures", "Classes", "Calibration", "By sex"]
    assert {"Cut at the text limit", "Gap between the modalities"} < found.keys()
    assert found["Figures"].columns == ["figure", "modalign", "95 % interval", "linear", "untrained", "chance"]
    names = [row[0] for row in found["Figures"].rows]
    assert names == ["accuracy", "balanced accuracy", "macro F1", "macro AUROC", "macro AUPRC"]
    accuracy = found["Figures"].rows[0]
    assert accuracy[1] == accuracy[4] == evaluation.main.value  # the twin is the model itself here
    assert "only 1 group" in evaluation.main.note
    assert "modalign crossval" in evaluation.notes[0]
    assert not any("untrained" in note for note in evaluation.notes)
    p = evaluation.probabilities()
    np.testing.assert_allclose(p.sum(1), 1)
    assert evaluation.own.scale == (evaluation.scale,)
    assert found["By sex"].rows[-1][0].startswith("gap: ")
    evaluation.save(tmp_path)
    saved = json.loads((tmp_path / "metrics.json").read_text())
    for name, file in {"modalign": "", "untrained": "-untrained", "linear": "-linear"}.items():
        assert recompute(tmp_path / f"predictions{file}.parquet") == saved["methods"][name]


def test_several_labels_a_row(model, manifest):
    evaluation = evaluate_zero_shot(model, several_labels(manifest), "tone", untrained=model)
    assert evaluation.metric == "macro AUROC"
    assert evaluation.own is None  # a cosine with one of several labels is no probability
    assert evaluation.fitted.several
    assert evaluation.main.decided.shape == (6, 4)
    found = tables(evaluation)
    assert found["Figures"].rows[0][0] == "exact match"
    assert "best F1 of each label on val" in found["Figures"].note
    assert [row[0] for row in found["Calibration"].rows] == ["fitted on val"]
    assert evaluation.results[1].decided.tolist() == evaluation.main.decided.tolist()
    linear = next(r for r in evaluation.results if r.name == "linear")
    assert linear.decided.tolist() == (linear.scores > 0).astype(int).tolist()  # its own even odds


def test_a_learnt_bias_makes_probabilities_of_several_labels(text_checkpoint):
    model = build_model(make_recipe(text_checkpoint, temperature={"bias": -3.0}))
    own = own_calibration(model, several=True)
    assert own(np.zeros((1, 2)))[0] == pytest.approx(1 / (1 + np.exp(3)))


def test_nothing_is_fitted_on_what_is_evaluated(model, manifest):
    for split in ("val", "all"):
        assert val_rows(manifest, split, "tone") is None
        evaluation = evaluate_zero_shot(model, manifest, "tone", split)
        assert evaluation.fitted is None
        assert "nothing is fitted" in tables(evaluation)["Calibration"].note
    assert len(val_rows(manifest, "test", "tone").rows) == 6


def test_what_is_missing_is_said(model, manifest):
    evaluation = evaluate_zero_shot(model, manifest, "tone")
    assert any("There is no line 'untrained'" in note for note in evaluation.notes)
    evaluation = evaluate_zero_shot(model, replace(manifest, unnamed=36), "tone")
    assert any("36 rows of the manifest share files" in note for note in evaluation.notes)
    with pytest.raises(ManifestError, match="--by: has no column 'sx'"):
        evaluate_zero_shot(model, manifest, "tone", by=["sx"])


def test_texts_that_the_limit_cuts_are_counted(text_checkpoint, manifest):
    options = {"options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen", "processing": {"max_length": 6}}
    model = build_model(make_recipe(text_checkpoint, towers={"text": options, "tone": {}})).eval()
    prompts = {"low": ["low", "the sound of a low tone is heard"], "middle": ["middle"], "high": ["high"]}
    rows = tables(evaluate_zero_shot(model, manifest, "tone", descriptions=prompts))["Cut at the text limit"].rows
    assert rows[1] == ["prompts", 4, 4, 1, 0.25]
    name, count, distinct, cut, share = rows[0]
    assert (name, distinct, cut / distinct, share) == ("captions", 9, 1 / 3, pytest.approx(3 / count))
    assert not model.tower("tone").processing.cuts(None)  # only texts have a limit


def test_the_gap_says_when_captions_are_made_from_labels(model, manifest):
    gap = tables(evaluate_zero_shot(model, manifest, "tone"))["Gap between the modalities"]
    assert "which are made from labels" in gap.note
    named = manifest.take([i for i, row in enumerate(manifest.rows) if "text" in row.sources])
    gap = tables(evaluate_zero_shot(model, named, "tone"))["Gap between the modalities"]
    assert "made from labels" not in gap.note
    assert dict(gap.rows)["centroid distance"] > 0
    assert "mean cosine of tone" in dict(gap.rows)


def test_docs_predictions_are_those_of_the_results():
    """Figures of docs/results.json come out of the predictions beside them."""
    from pathlib import Path

    docs = Path(__file__).parents[2] / "docs"
    rows = {row["dataset"]: row for row in json.loads((docs / "results.json").read_text())}
    for name in ("motionsense", "kermany", "ptb-xl-500"):
        figures = recompute(pd.read_parquet(docs / "predictions" / f"{name}.parquet"))["figures"]
        metric = rows[name]["metric"]
        assert figures[metric]["value"] == pytest.approx(rows[name]["value"])


@pytest.mark.parametrize("how", ["cosine", "pairs"])
def test_labels_judged_one_by_one_have_chance_and_floor_of_the_same_figure(model, manifest, tmp_path, how):
    """One label a row, and several asked for: what stands beside a macro AUROC is no accuracy."""
    evaluation = evaluate_zero_shot(model, manifest, "tone", options={"multi_label": how})
    by_name = {result.name: result for result in evaluation.results}
    assert by_name["chance"].value == 0.5
    linear = evaluation.measured["linear"].figures
    assert by_name["linear"].value == pytest.approx(linear["macro AUROC"].value)
    # Saying yes to every label has the recall 1 of each, and is no better than chance.
    assert tables(evaluation)["Figures"].rows[1][-1] == 0.5
    yes = replace(evaluation.main, decided=np.ones_like(evaluation.main.decided))
    assert measure(evaluation.predictions_of(yes)).figures["balanced accuracy"].value == 0.5
    assert "every label of every row" in tables(evaluation)["Calibration"].note
    evaluation.save(tmp_path)
    saved = json.loads((tmp_path / "metrics.json").read_text())
    assert recompute(tmp_path / "predictions.parquet") == saved["methods"]["modalign"]


@pytest.mark.parametrize("split", ["train", "all"])
def test_the_floor_does_not_score_the_rows_that_it_learns_from(model, manifest, split):
    evaluation = evaluate_zero_shot(model, manifest, "tone", split)
    assert "linear" not in {result.name for result in evaluation.results}
    assert any("Rows of split train are among those measured" in note for note in evaluation.notes)


def test_rows_without_a_label_are_counted(model, manifest):
    bare = {row.id for row in manifest.split("test").rows[:2]}
    part = replace(manifest, rows=[replace(r, labels=()) if r.id in bare else r for r in manifest.rows])
    evaluation = evaluate_zero_shot(model, part, "tone")
    assert len(evaluation.rows) == 4
    assert any(note.startswith("2 rows of split test have no label") for note in evaluation.notes)


def test_an_embedding_that_is_not_finite_is_no_prediction(model, manifest):
    with torch.no_grad():
        next(model.tower("tone").projection.parameters()).fill_(torch.nan)
    with pytest.raises(ModelError, match="not finite"):
        evaluate_zero_shot(model, manifest, "tone")
    with pytest.raises(ModelError, match="not finite"):
        evaluate_retrieval(model, manifest, "tone", "text")
