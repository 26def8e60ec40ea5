"""The progress bar where it cannot be drawn: a notebook without ipywidgets gets lines, and no warnings."""

import io

from rich.console import Console

from modalign.align import progress
from modalign.tasks.training import train


def test_a_notebook_without_widgets_draws_no_bar(monkeypatch):
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    console = Console(file=io.StringIO())
    assert not progress.make_progress(console).disable
    console.is_jupyter = True
    assert progress.make_progress(console).disable


def test_lines_name_epoch_and_figures(recipe, manifest, tmp_path, monkeypatch):
    said = io.StringIO()
    console = Console(file=said, width=200)
    made = progress.make_progress
    monkeypatch.setattr(progress, "make_progress", lambda c: _disabled(made(c)))
    train(recipe, manifest, tmp_path / "run", untrained=False, console=console)
    assert "training: epoch 1 of 2" in said.getvalue()
    assert "val" in said.getvalue()


def _disabled(bar):
    bar.disable = True
    return bar
