"""`zero-shot` with trees, pairs, rejection; `labels`; `held-out`: as a user meets them."""

import json

import pandas as pd
import pytest
import yaml

from modalign import read_manifest
from modalign.align.recipe_files import parse_recipe
from modalign.modalities import get_modality
from modalign.tasks.hierarchy import label_set, read_hierarchy
from modalign.tasks.training import train
from tests import tone
from tests.cli.test_cli import invoke
from tests.conftest import make_recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory, text_checkpoint):
    """A folder with data, a recipe and a run that lacks the label "high"."""
    folder = tmp_path_factory.mktemp("options")
    (folder / "data").mkdir()
    path = tone.write_manifest(folder / "data")
    recipe = make_recipe(text_checkpoint)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    manifest = read_manifest(path, {"text": get_modality("text"), "tone": get_modality("tone")})
    kept = [i for i, row in enumerate(manifest.rows) if row.labels != ("high",)]
    train(parse_recipe(recipe.model_dump()), manifest.take(kept), folder / "run", untrained=False)
    return folder


def lines(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def zero_shot(place, *arguments):
    files = [place / "data" / "low-0.txt", place / "data" / "high-1.txt"]
    return invoke("zero-shot", place / "run", "--modality", "tone", *arguments, *files)


def test_a_tree(place, tmp_path):
    tree = tmp_path / "tree.yaml"
    tree.write_text("deep: [low]\nother: [middle, high]\n")
    code, output = zero_shot(place, "--hierarchy", tree, "--json")
    assert code == 0, output
    for found in lines(output):
        assert found["levels"][0]["other"] == pytest.approx(found["p"]["middle"] + found["p"]["high"], abs=1e-5)
        assert set(found["levels"][1]) == {"low", "middle", "high"}
    code, output = zero_shot(place, "--hierarchy", tree, "--rule", "path")
    assert code == 0, output
    assert "level 1: " in output


def test_pairs_and_cosines(place, tmp_path):
    negatives, templates = tmp_path / "negatives.yaml", tmp_path / "templates.yaml"
    negatives.write_text("low: [the note is high]\n")
    templates.write_text("templates: ['a {label} note']\nnegations: ['not a {label} note']\n")
    labels = ["--labels", "low;high"]
    code, output = zero_shot(place, *labels, "--multi-label", "pairs", "--json")
    assert code == 0, output
    found = lines(output)[0]
    assert set(found["labels"]) <= {"low", "high", "none of these"}
    code, output = zero_shot(place, *labels, "--multi-label", "pairs", "--scale", "model", "--json")
    assert code == 0, output
    assert lines(output)[0]["scores"] == found["scores"]
    assert lines(output)[0]["p"] != found["p"]
    for extra in (["--negatives", negatives], ["--templates", templates]):
        code, output = zero_shot(place, *labels, "--multi-label", "pairs", *extra, "--json")
        assert code == 0, output
        assert lines(output)[0]["scores"] != found["scores"]
    code, output = zero_shot(place, *labels, "--multi-label", "cosine", "--json")
    assert code == 0, output
    assert set(lines(output)[0]) == {"file", "scores"}
    code, output = zero_shot(place, *labels, "--multi-label", "pairs", "--ensemble", "max")
    assert code == 0, output
    assert "score" in output


def test_rejection_debiasing_and_gamma(place):
    fit = ["--fit", place / "data" / "manifest.csv"]
    code, output = zero_shot(place, "--labels", "low;high", *fit, "--reject-rate", "0", "--json")
    assert code == 0, output
    assert {found["label"] for found in lines(output)} <= {"low", "high", "none of these"}
    code, plain = zero_shot(place, "--labels", "low;high", "--json")
    code, output = zero_shot(place, "--labels", "low;high", *fit, "--debias", "--fit-split", "train", "--json")
    assert code == 0, output
    assert lines(output)[0]["scores"] != lines(plain)[0]["scores"]
    code, output = zero_shot(place, "--labels", "low;high", "--gamma", "0.5", "--json")
    assert code == 0, output
    for a, b in zip(lines(output), lines(plain)):
        assert a["scores"]["low"] == pytest.approx(b["scores"]["low"] - 0.5, abs=1e-6)
        assert a["scores"]["high"] == pytest.approx(b["scores"]["high"], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --labels, --label-set and --hierarchy"),
        (["--labels", "a;b", "--label-set", "x"], "give one of --labels, --label-set and --hierarchy"),
        (["--label-set", "x"], "tone has no label set 'x'"),
        (["--labels", "a;b", "--ensemble", "maxx"], "did you mean 'max'"),
        (["--labels", "a;b", "--multi-label", "pair"], "did you mean 'pairs'"),
        (["--labels", "a;b", "--scale", "big"], "--scale 'big': give a number"),
        (["--labels", "a;b", "--debias"], "give a manifest with --fit"),
        (["--labels", "a;b", "--debias", "--fit", "M", "--fit-split", "test"], "train or val"),
        (["--labels", "a;b", "--template", "{label}", "--templates", "T"], "not both"),
        (["--labels", "a;b", "--negatives", "N"], "give that too"),
        (["--labels", "a;b", "--scale", "-3"], "give a number above 0"),
        (["--labels", "a;b", "--fit", "M"], "--fit is what --debias and --reject-rate learn from"),
        (["--labels", "a;b", "--rule", "path"], "--rule path is for groups of labels"),
        (["--labels", "a;b", "--rule", "childen"], "did you mean 'children'"),
    ],
)
def test_mistakes(place, tmp_path, arguments, message):
    (tmp_path / "n.yaml").write_text("a: [not a]\n")
    places = {"M": place / "data" / "manifest.csv", "N": tmp_path / "n.yaml"}
    code, output = zero_shot(place, *[places.get(a, a) for a in arguments])
    assert code == 2
    assert message in output


def test_labels(tmp_path):
    code, output = invoke("labels")
    assert code == 0
    assert "esc50" in output
    assert "ptb-xl-sub" in output
    code, output = invoke("labels", "audio")
    assert code == 0
    assert " 50 labels" in output
    assert "chexpert" not in output
    code, output = invoke("labels", "xray", "--set", "chexpert")
    assert code == 0
    assert list(yaml.safe_load(output)) == label_set(get_modality("xray"), "chexpert").leaves
    out = tmp_path / "new" / "sounds.yaml"
    code, output = invoke("labels", "audio", "--set", "esc50", "--out", out)
    assert code == 0, output
    from modalign.align.manifest import read_descriptions

    assert len(read_descriptions(out)) == 50
    code, output = invoke("labels", "audio", "--set", "esc50", "--out", out)
    assert (code, "exists already" in output) == (2, True)
    code, output = invoke("labels", "ecg", "--set", "ptb-xl-sub", "--tree", "--out", tmp_path / "tree.yaml")
    assert code == 0, output
    assert read_hierarchy(tmp_path / "tree.yaml") == label_set(get_modality("ecg"), "ptb-xl-sub")
    code, output = invoke("labels", "ecg", "--templates")
    assert yaml.safe_load(output)["negations"] == list(get_modality("ecg").negations)
    for wrong in (["--set", "esc50"], ["audio", "--tree"], ["audio", "--set", "esc50", "--templates"]):
        assert invoke("labels", *wrong)[0] == 2
    code, output = invoke("labels", "audio", "--set", "esc5")
    assert (code, "did you mean 'esc50'" in output) == (2, True)


def test_held_out_of_a_model(place, tmp_path):
    data = place / "data" / "manifest.csv"
    common = ["--data", data, "--modality", "tone", "--out", tmp_path / "held"]
    code, output = invoke("held-out", place / "run", *common, "--gamma", "0.3")
    assert code == 0, output
    metrics = json.loads((tmp_path / "held" / "metrics.json").read_text())
    assert [r["name"] for r in metrics["results"]] == ["chance", "not calibrated", "calibrated"]
    assert "held-out" in metrics["protocol"]
    assert metrics["tables"][0]["rows"][0][0] == "high"
    assert len(pd.read_parquet(tmp_path / "held" / "predictions.parquet")) == 2
    code, output = invoke("held-out", place / "run", *common, "--leave", "low")
    assert (code, "--leave goes with a recipe" in output) == (2, True)


def test_held_out_by_a_recipe(place, tmp_path):
    data = place / "data" / "manifest.csv"
    common = ["--data", data, "--modality", "tone", "--out", tmp_path / "held"]
    code, output = invoke("held-out", place / "tiny.yaml", *common, "--leave", "high", "--inner", "0")
    assert code == 0, output
    assert (tmp_path / "held" / "report.html").is_file()
    assert not (tmp_path / "held" / "runs").exists()
    code, output = invoke("held-out", place / "tiny.yaml", *common, "--leave", "low;high", "--keep-models")
    assert code == 2  # one label would be left
    code, output = invoke("held-out", place / "tiny.yaml", *common, "--leave", "low", "--inner", "0", "--keep-models")
    assert code == 0, output
    assert (tmp_path / "held" / "runs" / "without-low" / "model" / "config.json").is_file()
    code, output = invoke("held-out", place / "tiny.yaml", *common, "--gamma", "0.1")
    assert (code, "--gamma goes with a model" in output) == (2, True)
    code, output = invoke("held-out", place / "tiny.yaml", *common, "--leave", "hihg")
    assert (code, "did you mean 'high'" in output) == (2, True)


def test_evaluate_takes_them_too(place, tmp_path):
    tree = tmp_path / "tree.yaml"
    tree.write_text("deep: [low]\nother: [middle, high]\n")
    data = place / "data" / "manifest.csv"
    common = ["evaluate", place / "run", data, "--modality", "tone", "--out", tmp_path / "out"]
    options = ["--ensemble", "max", "--gamma", "0.1", "--debias", "--fit-on", "train", "--reject-rate", "0.2"]
    code, output = invoke(*common, *options, "--hierarchy", tree, "--rule", "path")
    assert code == 0, output
    titles = [t["title"] for t in json.loads((tmp_path / "out" / "metrics.json").read_text())["tables"]]
    assert {"Prompts", "Levels of the hierarchy", "Refused as 'none of these'"} <= set(titles)
    code, output = invoke(*common, "--multi-label", "pairs")
    assert code == 0, output
    tables = json.loads((tmp_path / "out" / "metrics.json").read_text())["tables"]
    assert any(t["title"].startswith("Negation") for t in tables)
    code, output = invoke(*common, "--debias", "--fit-on", "test")
    assert code == 0, output
    assert "transductive" in json.loads((tmp_path / "out" / "metrics.json").read_text())["protocol"]
    code, output = invoke(*common, "--label-set", "x", "--hierarchy", tree)
    assert (code, "not both" in output) == (2, True)
    code, output = invoke(*common, "--fit-on", "train")
    assert (code, "--fit-on is what --debias" in output) == (2, True)
    code, output = invoke(*common, "--rule", "path")
    assert (code, "is for groups of labels" in output) == (2, True)


def test_a_text_tower_classifies_texts(place):
    code, output = invoke(
        "zero-shot", place / "run", "--modality", "text", "--labels", "low;high", "--json", "a low note"
    )
    assert code == 0, output
    assert lines(output)[0]["file"] == "a low note"
