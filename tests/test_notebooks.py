"""The notebooks: each runs from nothing in under three minutes, and none is committed with outputs or a path."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
NAMES = [
    "01_zero_shot_audio",
    "02_zero_shot_motion",
    "03_zero_shot_ecg",
    "04_zero_shot_chest_xray_ct",
    "05_add_a_modality",
    "06_finetune_with_lora",
]
SECONDS = 180


def test_all_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean_and_says_what_to_change(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert "For full-size work" in first.source
    assert "pip install 'modalign[" in first.source
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            if "\n!" not in f"\n{cell.source}":
                ast.parse(cell.source)
        assert "/home/" not in cell.source
        assert "../shared" not in cell.source


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("MODALIGN_DATA", str(real_data))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two threads that share their cores with others take ten times as long
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(path.parents[1]), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    NotebookClient(notebook, timeout=2 * SECONDS, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert time.perf_counter() - started < 2 * SECONDS  # on a busy machine; `make notebooks` prints each one's time
    pictures = sum("image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", []))
    assert pictures >= 1
    said = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))
    assert "Warning" not in said
