"""The command line as a user meets it: help, whole runs, and every mistake as one message and exit code 2."""

import json
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from modalign.cli.app import app
from modalign.errors import ModalignError
from tests.conftest import make_recipe

COMMANDS = [
    "demo",
    "init",
    "train",
    "evaluate",
    "crossval",
    "compare",
    "compose",
    "zero-shot",
    "few-shot",
    "probe",
    "explain",
    "retrieve",
    "index",
    "search",
    "duplicates",
    "labels",
    "held-out",
    "finetune",
    "embed",
    "modalities",
    "recipes",
    "doctor",
    "data",
]


def invoke(*arguments: object) -> tuple[int, str]:
    """Run a command in this process, as `modalign.cli.main` does: (exit code, what it printed)."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, ModalignError):
        return 2, f"error: {result.exception}"
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def recipe_file(text_checkpoint, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(make_recipe(text_checkpoint).model_dump(mode="json")))
    return path


@pytest.fixture
def run(recipe_file, manifest_file, tmp_path):
    code, output = invoke("train", recipe_file, "--data", manifest_file, "--out", tmp_path / "run")
    assert code == 0, output
    return tmp_path / "run"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    code, output = invoke(command, "--help")
    assert code == 0
    if command not in {"doctor", "data"}:
        assert "modalign " + command in output


def test_train_evaluate_zero_shot_embed(run, manifest_file, tmp_path, capfd):
    folder = manifest_file.parent
    code, output = invoke("evaluate", run / "model", manifest_file, "--modality", "tone", "--out", tmp_path / "e")
    assert code == 0, output
    assert "seen classes, unseen people" in " ".join(output.split())
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert [r["name"] for r in metrics["results"]] == ["chance", "untrained", "linear", "modalign"]
    assert (tmp_path / "e" / "report.html").read_text().startswith("<!doctype html>")

    arguments = ["zero-shot", run, "--modality", "tone", "--labels", "low; high"]
    code, output = invoke(*arguments, folder / "low-0.txt", folder / "high-1.txt", "--json")
    assert code == 0, output
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [set(line["scores"]) for line in lines] == [{"low", "high"}] * 2
    assert sum(lines[0]["p"].values()) == pytest.approx(1)
    code, output = invoke(*arguments, folder / "low-0.txt", "--template", "one {label}", "--field", "rate=50")
    assert code == 0
    assert "cosine" in output

    code, output = invoke("embed", run, manifest_file, "--modality", "tone", "--out", tmp_path / "x" / "e.parquet")
    assert code == 0, output
    table = pd.read_parquet(tmp_path / "x" / "e.parquet")
    assert len(table) == 36
    assert len(table.embedding[0]) == 16


def test_a_second_run_needs_resume(run, recipe_file, manifest_file):
    code, output = invoke("train", recipe_file, "--data", manifest_file, "--out", run)
    assert code == 2
    assert "pass --resume" in output
    code, output = invoke("train", recipe_file, "--data", manifest_file, "--out", run, "--resume")
    assert code == 0, output


def test_a_file_that_cannot_be_read_does_not_lose_those_before(run, manifest_file):
    bad = manifest_file.parent / "bad.txt"
    bad.write_text("x y z")
    process = subprocess.run(
        [sys.executable, "-c", "import tests.tone; from modalign.cli import main; main()", "zero-shot", str(run),
         "--modality", "tone", "--labels", "low;high", "--json", str(bad.with_name("low-0.txt")), str(bad)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert json.loads(process.stdout.splitlines()[0])["label"] in {"low", "high"}
    assert "bad.txt: not numbers" in process.stderr
    assert "Traceback" not in process.stderr


MISTAKES = {
    "unknown recipe": (["train", "tinny", "--data", "M", "--out", "O"], "no recipe 'tinny'"),
    "unknown key": (["train", "R", "--data", "M", "--out", "O", "--set", "training.epoch=1"], "did you mean 'epochs'"),
    "wrong value": (["train", "R", "--data", "M", "--out", "O", "--set", "dim=big"], "dim"),
    "unknown loss": (["train", "R", "--data", "M", "--out", "O", "--set", "loss.name=info"], "no loss 'info'"),
    "unknown encoder": (
        ["train", "R", "--data", "M", "--out", "O", "--set", "towers.tone.encoder=x"],
        "no encoder 'x'",
    ),
    "unknown augmentation": (
        ["train", "R", "--data", "M", "--out", "O", "--set", "towers.tone.augment=[{name: gian}]"],
        "did you mean 'gain'",
    ),
    "no manifest": (["train", "R", "--data", "none.csv", "--out", "O"], "none.csv: no such file"),
    "no model": (["evaluate", "none", "M", "--modality", "tone", "--out", "O"], "no such folder"),
    "unknown tower": (["evaluate", "RUN", "M", "--modality", "tonne", "--out", "O"], "did you mean 'tone'"),
    "unknown split": (
        ["evaluate", "RUN", "M", "--modality", "tone", "--split", "dev", "--out", "O"],
        "no row has split",
    ),
    "one label": (["zero-shot", "RUN", "F", "--modality", "tone", "--labels", "a"], "two labels or more"),
    "bad template": (
        ["zero-shot", "RUN", "F", "--modality", "tone", "--labels", "a;b", "--template", "x"],
        "has no {label}",
    ),
    "bad field": (["zero-shot", "RUN", "F", "--modality", "tone", "--labels", "a;b", "--field", "rate"], "key=value"),
    "unknown field": (
        ["zero-shot", "RUN", "F", "--modality", "tone", "--labels", "a;b", "--field", "rat=5"],
        "did you mean 'rate'",
    ),
    "no file": (["zero-shot", "RUN", "none.txt", "--modality", "tone", "--labels", "a;b"], "none.txt: no such file"),
    "one modality": (["init", "text"], "name two modalities"),
    "unknown modality": (["init", "text", "tonne"], "no modality 'tonne'"),
    "descriptions": (["train", "R", "--data", "M", "--out", "O", "--descriptions", "none.yaml"], "none.yaml"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, recipe_file, manifest_file, tmp_path, request):
    arguments, message = MISTAKES[mistake]
    places = {"R": recipe_file, "M": manifest_file, "O": tmp_path / "out", "F": manifest_file.parent / "low-0.txt"}
    if "RUN" in arguments:
        places["RUN"] = request.getfixturevalue("run")
    code, output = invoke(*[places.get(a, a) for a in arguments])
    assert code == 2
    assert message in output
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_init_writes_a_recipe_that_is_valid(tmp_path):
    out = tmp_path / "new.yaml"
    code, output = invoke("init", "text", "motion", "tone", "--out", out)
    assert code == 0, output
    from modalign import load_recipe

    recipe = load_recipe(out)
    assert set(recipe.towers) == {"text", "motion", "tone"}
    assert [(p.a, p.b) for p in recipe.pairs] == [("text", "motion"), ("text", "tone")]
    code, output = invoke("init", "text", "motion", "--out", out)
    assert code == 2
    assert "--force" in output


def test_modalities_are_shown():
    code, output = invoke("modalities")
    assert code == 0
    assert "motion" in output.split()
    code, output = invoke("modalities", "motion")
    assert code == 0
    for word in ("fcn", "rate", "window", "full_rotation", "gravity"):
        assert word in output


def test_a_broken_plugin_is_reported_and_breaks_nothing_else(monkeypatch):
    from importlib.metadata import EntryPoint

    from modalign.modalities import registry

    plugins = {"broken": EntryPoint("broken", "no_such_module:Broken", registry.GROUP)}
    monkeypatch.setattr(registry, "_plugins", lambda: plugins)
    monkeypatch.setattr("modalign.cli.doctor.EXTRAS", {})
    code, output = invoke("doctor")
    assert code == 1
    assert "broken" in output
    assert "No module named 'no_such_module'" in output
    assert registry.get_modality("text").name == "text"
    with pytest.raises(ModalignError, match="failed to import"):
        registry.get_modality("broken")


def test_version_and_help_from_a_shell():
    shell = [sys.executable, "-m", "modalign"]
    assert subprocess.run([*shell, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    help_text = subprocess.run([*shell, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(command in help_text for command in COMMANDS)
