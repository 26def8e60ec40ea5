"""Retrieval of a split in both directions, near-duplicates, and queries that combine modalities."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from modalign import ManifestError, RecipeError, build_model, get_modality, read_manifest, train
from modalign.tasks.duplicates import find_duplicates
from modalign.tasks.retrieval import combine, evaluate_retrieval, save_retrieval
from tests.conftest import make_recipe


@pytest.fixture(scope="module")
def model(text_checkpoint):
    return build_model(make_recipe(text_checkpoint)).eval()


def figures(direction, method="modalign"):
    table = direction.evaluation.tables[0]
    line = next(line for line in table.rows if line[0] == method)
    return dict(zip(table.columns[1:], line[1:]))


def with_captions(manifest_file, captions):
    """The manifest with these captions in turn; a list gives a row several."""
    table = pd.read_csv(manifest_file, dtype=str, keep_default_na=False)
    table["text"] = [captions[i % len(captions)] for i in range(len(table))]
    table.to_csv(manifest_file, index=False)
    return read_manifest(manifest_file, {"text": get_modality("text"), "tone": get_modality("tone")})


def test_both_directions_beside_chance_and_the_twin(text_checkpoint, manifest, tmp_path):
    recipe = make_recipe(text_checkpoint, training={"epochs": 12, "batch_size": 12, "learning_rate": 0.02})
    model = train(recipe, manifest, tmp_path / "run")
    directions = evaluate_retrieval(model, manifest, "text", "tone", "all", untrained=model)
    assert [d.name for d in directions] == ["text_to_tone", "tone_to_text"]
    for direction in directions:
        evaluation = direction.evaluation
        assert [r.name for r in evaluation.results] == ["chance", "untrained", "modalign"]
        assert evaluation.results[2].value > evaluation.results[0].value
        low, high = evaluation.results[2].interval
        assert low <= evaluation.results[2].value <= high
        assert figures(direction)["R@1"] == pytest.approx(direction.ranks["hit@1"].mean())
        assert figures(direction)["mAP@10"] == pytest.approx(direction.ranks["AP@10"].mean())
        assert "Label-derived" in " ".join(evaluation.notes)
    save_retrieval(tmp_path / "out", directions)
    saved = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert saved["text_to_tone"]["metric"] == "R@1"
    assert len(pd.read_parquet(tmp_path / "out" / "tone_to_text_ranks.parquet")) == len(directions[1].ranks)


def test_equal_captions_are_all_relevant(model, manifest_file):
    manifest = with_captions(manifest_file, ["a low tone", "a high tone"])
    forth, back = evaluate_retrieval(model, manifest, "text", "tone", "all")
    assert set(forth.ranks["relevant"]) == {18}
    assert set(back.ranks["relevant"]) == {18}
    assert figures(forth, "chance")["R@1"] == pytest.approx(0.5)


def test_within_a_modality_nothing_finds_itself(model, manifest):
    (direction,) = evaluate_retrieval(model, manifest, "tone", "tone", "all", same="label")
    assert direction.name == "tone_to_tone"
    assert set(direction.ranks["relevant"]) == {11}  # twelve of each label
    with pytest.raises(ManifestError, match="to find"):
        evaluate_retrieval(model, manifest, "tone", "tone", "all", same="item")


def test_copies_of_what_is_relevant_are_relevant_whatever_their_caption(model, manifest_file):
    """Rows 0 and 1 share a caption, rows 1 and 2 a recording: caption 0 finds the recording in row 2 too."""
    table = pd.read_csv(manifest_file, dtype=str, keep_default_na=False).iloc[:6]
    table["text"] = ["one", "one", "two", "three", "four", "five"]
    shutil.copy(manifest_file.parent / table.loc[1, "tone"], manifest_file.parent / "copy.txt")
    table.loc[2, "tone"] = "copy.txt"
    table.to_csv(manifest_file, index=False)
    manifest = read_manifest(manifest_file, {"text": get_modality("text"), "tone": get_modality("tone")})
    forth, back = evaluate_retrieval(model, manifest, "text", "tone", "all")
    assert forth.ranks["relevant"].tolist() == [3, 3, 2, 1, 1, 1]
    assert back.ranks["relevant"].tolist() == [2, 3, 3, 1, 1, 1]


def test_windows_of_a_query_s_own_recording_do_not_count(model, manifest_file):
    table = pd.read_csv(manifest_file, dtype=str, keep_default_na=False)
    table["split"] = "train"
    table["cluster"] = [f"{label}-{k // 3 % 2}" for k, label in enumerate(table["label"])]  # two recordings a label
    table.to_csv(manifest_file, index=False)
    manifest = read_manifest(manifest_file, {"text": get_modality("text"), "tone": get_modality("tone")})
    (direction,) = evaluate_retrieval(model, manifest, "tone", "tone", "all", same="label")
    assert set(direction.ranks["relevant"]) == {6}
    assert figures(direction, "chance")["R@1"] == pytest.approx(6 / 30)
    assert "own recording" in " ".join(direction.evaluation.notes)


@pytest.mark.parametrize(("free", "said"), [(False, True), (True, False)])
def test_captions_that_say_the_label_are_told(model, manifest_file, free, said):
    table = pd.read_csv(manifest_file, dtype=str, keep_default_na=False)
    table["text"] = [f"{label}, take {k}" if free else f"it is {label}" for k, label in enumerate(table["label"])]
    table.to_csv(manifest_file, index=False)
    manifest = read_manifest(manifest_file, {"text": get_modality("text"), "tone": get_modality("tone")})
    notes = " ".join(evaluate_retrieval(model, manifest, "text", "tone", "all")[0].evaluation.notes)
    assert ("3 distinct captions for 36 rows" in notes) is said


def test_too_few_rows_are_refused(model, manifest):
    with pytest.raises(ManifestError, match="needs two or more"):
        evaluate_retrieval(model, manifest.take([0]), "text", "tone", "all")


def test_queries_add_and_take_away(model, manifest):
    path = manifest.rows[0].sources["tone"]
    tone, low, high = (model.embed(*one) for one in (("tone", [path]), ("text", ["low"]), ("text", ["high"])))
    query = combine(model, [("tone", path, 1), ("text", "low", 0.5), ("text", "high", -0.5)])
    torch.testing.assert_close(query, F.normalize(tone + 0.5 * low - 0.5 * high, dim=-1))


def test_near_duplicates_that_cross_splits(model, manifest_file):
    table = pd.read_csv(manifest_file, dtype=str, keep_default_na=False)
    folder = manifest_file.parent
    source = folder / table.loc[0, "tone"]
    copy = np.loadtxt(source)
    np.savetxt(folder / "copy.txt", copy)
    np.savetxt(folder / "near.txt", copy * 1.0001)
    extra = table.iloc[[0, 0]].assign(
        id=["copy", "near"], split="test", group="someone", cluster=["c", "n"], tone=["copy.txt", "near.txt"]
    )
    pd.concat([table, extra]).to_csv(manifest_file, index=False)
    manifest = read_manifest(manifest_file, {"text": get_modality("text"), "tone": get_modality("tone")})
    found = find_duplicates(model, manifest, "tone")
    pairs = {frozenset(pair) for pair in zip(found.crossing["id a"], found.crossing["id b"])}
    first = manifest.rows[0].id
    assert {frozenset({first, "copy"}), frozenset({first, "near"})} <= pairs
    assert found.pairs["equal samples"].sum() == 1
    assert len(find_duplicates(model, manifest, "tone", threshold=1.1).pairs) == 1, "equal samples whatever the cosine"


def test_ptb_xl_s_equal_signals(text_checkpoint, real_data, tmp_path):
    """The two pairs of equal signals that the data set is known to hold are found by their samples."""
    from modalign.datasets.registry import prepare

    path = prepare("ptb-xl", real_data / "ecg_ptbxl500", tmp_path / "manifest.csv", {"text": "none"})
    towers = {
        "text": {"options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen"},
        "ecg": {"options": {"stages": [8]}},
    }
    recipe = make_recipe(text_checkpoint, towers=towers, pairs=[["text", "ecg"]])
    manifest = read_manifest(path, {name: get_modality(name) for name in ("text", "ecg")})
    found = find_duplicates(build_model(recipe).eval(), manifest, "ecg")
    assert found.pairs["equal samples"].sum() == 2


def test_copies_of_a_caption_are_one_query_for_the_interval(model, manifest_file):
    """36 rows of two captions: what is known of the model rests on two queries."""
    manifest = with_captions(manifest_file, ["a low tone", "a high tone"])
    forth, back = evaluate_retrieval(model, manifest, "text", "tone", "all")
    hits = forth.ranks["hit@1"]
    assert hits.nunique() <= 2
    assert forth.evaluation.results[-1].interval == (hits.min(), hits.max())
    assert any("2 distinct queries" in note for note in forth.evaluation.notes)
    assert not any("distinct queries" in note for note in back.evaluation.notes)


def test_a_query_that_cancels_out_is_refused(model):
    with pytest.raises(RecipeError, match="cancel out"):
        combine(model, [("text", "a low tone", 1.0), ("text", "a low tone", -1.0)])
