"""`modalign finetune`: whole runs, and mistakes as one message."""

import json

import pandas as pd
import pytest

from modalign import build_model
from modalign.tasks.finetune import FineTuned
from tests.cli.test_cli import invoke
from tests.conftest import make_recipe


@pytest.fixture
def base(text_checkpoint, tmp_path):
    recipe = make_recipe(text_checkpoint)
    towers = {**recipe.towers, "other": recipe.towers["tone"].model_copy(update={"modality": "tone"})}
    model = build_model(make_recipe(text_checkpoint, towers=towers, pairs=[["text", "tone"], ["text", "other"]]))
    model.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def table(manifest_file):
    """With ages, and a second column of tones that lacks some."""
    frame = pd.read_csv(manifest_file, dtype=str, keep_default_na=False)
    frame["age"] = [str(20 + 7 * (i % 5)) for i in range(len(frame))]
    frame["other"] = ["" if i % 3 == 0 else source for i, source in enumerate(frame["tone"])]
    frame.to_csv(manifest_file, index=False)
    return manifest_file


FAST = ["--set", "training.epochs=1", "--set", "training.batch_size=8"]


def test_classes_with_the_contrastive_term_and_resume(base, table, tmp_path):
    arguments = ["finetune", base, table, "--modality", "tone", "--tune", "lora", "--contrastive", "0.1", *FAST]
    code, output = invoke(*arguments, "--out", tmp_path / "run")
    assert code == 0, output
    folder = tmp_path / "run" / "evaluation"
    metrics = json.loads((folder / "metrics.json").read_text())
    names = [r["name"] for r in metrics["results"]]
    assert names == ["chance", "linear", "prompts", "probe", "prompts, tuned", "modalign"]
    assert metrics["protocol"] == "seen classes, unseen people"
    found = pd.read_parquet(folder / "predictions.parquet")
    assert (found[["high", "low", "middle"]].idxmax(axis=1) == found["label"]).mean() == metrics["results"][-1][
        "accuracy"
    ]
    assert "modalign finetune" in (folder / "report.html").read_text()
    assert FineTuned.load(tmp_path / "run").predict([table.parent / "low-0.txt"])[0] in {"low", "middle", "high"}
    code, output = invoke(*arguments, "--out", tmp_path / "run")
    assert code == 2
    assert "pass --resume" in output
    code, output = invoke(*arguments, "--out", tmp_path / "run", "--resume")
    assert code == 0, output
    assert json.loads((folder / "metrics.json").read_text())["results"] == metrics["results"]


def test_several_modalities_and_a_config_file(base, table, tmp_path):
    (tmp_path / "head.yaml").write_text("fusion: {missing: zero, state: 8}\ntraining: {epochs: 1, batch_size: 8}\n")
    code, output = invoke(
        "finetune", base, table, "--modality", "tone", "--modality", "other", "--fusion", "sequential",
        "--modality-dropout", "0.3", "--tune", "head", "--config", tmp_path / "head.yaml", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, output
    options = FineTuned.load(tmp_path / "run").settings.fusion
    assert (options.how, options.state, options.modality_dropout, options.missing) == ("sequential", 8, 0.3, "zero")
    tables = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())["tables"]
    subsets = next(t for t in tables if t["title"].startswith("By the modalities"))
    assert [row[0] for row in subsets["rows"]] == ["tone", "other", "tone + other"]


def test_numbers(base, table, tmp_path):
    code, output = invoke(
        "finetune", base, table, "--modality", "tone", "--head", "regression", "--target", "age", "--tune", "full",
        *FAST, "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, output
    metrics = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    assert metrics["metric"] == "R2"
    assert metrics["protocol"] == "unseen people"
    assert "MAE" in (tmp_path / "run" / "evaluation" / "report.html").read_text()


MISTAKES = {
    "tower": (["--modality", "tonne"], "no tower 'tonne'; did you mean 'tone'"),
    "tune": (["--modality", "tone", "--tune", "half"], "finetune: tune: .*'full', 'lora' or 'head'"),
    "key": (["--modality", "tone", "--set", "training.epoch=1"], "did you mean 'epochs'"),
    "column": (["--modality", "tone", "--head", "regression"], "--target age"),
    "no config": (["--modality", "tone", "--config", "none.yaml"], "none.yaml: cannot be read as YAML"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, base, table, tmp_path):
    import re

    arguments, message = MISTAKES[mistake]
    code, output = invoke("finetune", base, table, *arguments, "--out", tmp_path / "run")
    assert code == 2
    assert re.search(message, output)
    assert not (tmp_path / "run").exists()
