"""`modalign few-shot` and `modalign probe` as a user meets them."""

import json

import pytest

from tests.cli.test_cli import invoke, recipe_file, run  # noqa: F401


@pytest.mark.parametrize("command", ["few-shot", "probe"])
def test_help_has_an_example(command):
    code, output = invoke(command, "--help")
    assert code == 0
    assert "modalign " + command in output


def test_both_on_a_run(run, manifest_file, tmp_path):  # noqa: F811
    arguments = [run, manifest_file, "--modality", "tone", "--out", tmp_path / "few"]
    code, output = invoke("few-shot", *arguments, "--shots", "1,2", "--episodes", 2, "--methods", "gda,prototypes")
    assert code == 0, output
    written = {p.name for p in (tmp_path / "few").iterdir()}
    assert written >= {"metrics.json", "predictions.parquet", "episodes.parquet", "report.html", "shots.png"}
    metrics = json.loads((tmp_path / "few" / "metrics.json").read_text())
    assert {e["method"] for e in metrics["few_shot"]} == {"gda", "prototypes"}
    assert {e["features"] for e in metrics["few_shot"]} == {"aligned", "untrained aligned", "hand"}
    arguments[-1] = tmp_path / "probe"
    code, output = invoke("probe", *arguments, "--fractions", "0.5,1", "--probes", "linear", "--seeds", 1)
    assert code == 0, output
    metrics = json.loads((tmp_path / "probe" / "metrics.json").read_text())
    assert {(e["features"], e["fraction"]) for e in metrics["probe"]} == {
        (f, x) for f in ("tower", "aligned", "hand", "untrained tower", "untrained aligned") for x in (0.5, 1.0)
    }
    for option, value, said in (
        ("--shots", "1,two", "--shots '1,two': give whole numbers"),
        ("--features", "towr", "did you mean 'tower'"),
        ("--methods", "gdaa", "no few-shot method 'gdaa'"),
        ("--choose-on", "test", "cannot be chosen on 'test'"),
    ):
        code, output = invoke("few-shot", *arguments, option, value)
        assert code == 2, output
        assert said in output
    code, output = invoke("probe", *arguments, "--fractions", "x")
    assert (code, "--fractions 'x': give numbers" in output) == (2, True)
