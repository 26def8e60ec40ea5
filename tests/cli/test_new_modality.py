"""`modalign modalities new`: the package that it writes installs, is found by its entry point, and passes its tests."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modalign.cli.new_modality import write_plugin
from modalign.errors import RecipeError
from tests.cli.test_cli import invoke

ROOT = Path(__file__).parents[2]


def test_as_written_it_installs_and_passes_its_tests(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    pytest.importorskip("hatchling")
    plugin, site = tmp_path / "modalign-eeg", tmp_path / "site"
    code, output = invoke("modalities", "new", "eeg", "--channels", "C3, C4", "--rate", 50, "--out", plugin)
    assert code == 0, output
    assert "pip install -e" in output
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(plugin)], check=True, capture_output=True)
    # The tests must find the installed package by its entry point, not the folder beside them.
    (plugin / "modalign_eeg").rename(plugin / "hidden")
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    run: dict[str, Any] = {"env": environment, "cwd": plugin, "capture_output": True, "text": True}
    tested = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], check=False, **run)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "passed" in tested.stdout
    shown = subprocess.run([sys.executable, "-m", "modalign", "modalities", "eeg"], check=False, **run)
    assert shown.returncode == 0, shown.stderr
    for word in ("Time series of C3, C4", "conv", "rate", "gain (breaks amplitude)"):
        assert word in shown.stdout
    again = subprocess.run([sys.executable, "-m", "modalign", "modalities", "new", "eeg"], check=False, **run)
    assert again.returncode == 2
    assert "the modality 'eeg' is there already" in again.stderr


@pytest.mark.parametrize("channels", [["a"], ["Fp1-A2", "O2 ref", "ECG+"], [f"c{k}" for k in range(64)]])
def test_what_is_written_is_python_with_no_word_left_over(channels: list[str], tmp_path: Path) -> None:
    folder = write_plugin("signal", tmp_path / "p", channels, 22.05, 1.5)
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) == 8
    for path in written:
        text = path.read_text()
        assert "$" not in text.replace("$name.rate", ""), path
        if path.suffix == ".py":
            ast.parse(text)
    reader = ast.parse((folder / "modalign_signal" / "reader.py").read_text())
    assigned = next(node for node in reader.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(assigned.value) == tuple(channels)
    assert 'signal = "modalign_signal:SignalModality"' in (folder / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my-eeg", "write a Python identifier in lower case"),
        ("EEG", "write a Python identifier in lower case"),
        ("1eeg", "write a Python identifier in lower case"),
        ("_eeg", "write a Python identifier in lower case"),
        ("éeg", "write a Python identifier in lower case"),
        ("eeg_", "write a Python identifier in lower case"),
        ("", "write a Python identifier in lower case"),
        ("class", "means something else already"),
        ("label", "means something else already"),
        ("new", "means something else already"),
        ("motion", "is there already"),
        ("tone", "is there already"),
    ],
)
def test_names_that_are_refused(name: str, says: str, tmp_path: Path) -> None:
    code, output = invoke("modalities", "new", name, "--out", tmp_path / "p")
    assert code == 2
    assert says in output
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("channels", "rate", "window"),
    [(["a", "a"], 100, 2), ([""], 100, 2), (["-"], 100, 2), (['"; import os'], 100, 2), (["a"], 0, 2), (["a"], 1, 2),
     (["1", "2"], 100, 2), (["a", "nan"], 100, 2), (["a"], float("inf"), 2), (["a"], 100, -1)],
)  # fmt: skip
def test_values_that_are_refused(channels: list[str], rate: float, window: float, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--channels|--rate"):
        write_plugin("eeg", tmp_path / "p", channels, rate, window)
    assert not (tmp_path / "p").exists()


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    code, output = invoke("modalities", "new", "eeg", "--out", tmp_path)
    assert code == 2
    assert "is there and not empty" in output
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("modalities", "new", "skin_heat")[0] == 0
    assert (tmp_path / "modalign-skin-heat" / "tests" / "test_skin_heat.py").is_file()


def test_showing_and_listing_go_on_as_before() -> None:
    assert invoke("modalities", "show", "motion") == invoke("modalities", "motion")
    assert "text" in invoke("modalities")[1].split()
    code, output = invoke("modalities", "moton")
    assert code == 2
    assert "did you mean 'motion'" in output
