"""The pages' code: each ```python block after a `<!-- run -->` line runs, a page's blocks one after another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modalign import AlignmentModel, ZeroShotClassifier, check_modality
from modalign.align.losses import registry as losses
from modalign.modalities import registry
from modalign.modalities.testing import Sample

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^<!-- run -->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md") if BLOCK.search(p.read_text()))


def blocks(page: str) -> list[str]:
    return BLOCK.findall((DOCS / page).read_text())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a page in an empty folder; what it registers is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    known = dict(losses._losses)
    before = {*registry._registered, *registry.BUILT_IN}  # a built-in one registers when it is first used

    def runner(page: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "page"}
        for number, block in enumerate(blocks(page), 1):
            exec(compile(block, f"{page}, block {number}", "exec"), names)
        return names

    yield runner
    for name in set(registry._registered) - before:
        del registry._registered[name]
    for name in set(losses._losses) - set(known):
        del losses._losses[name]


def test_every_run_mark_has_its_block() -> None:
    for path in DOCS.rglob("*.md"):
        text = path.read_text()
        assert text.count("<!-- run -->") == len(BLOCK.findall(text)), path


@pytest.mark.parametrize("page", PAGES)
def test_pages_run_and_do_what_they_say(page: str, run: Any, tmp_path: Path) -> None:
    names = run(page)
    if page in CHECKS:
        CHECKS[page](names, tmp_path)


def test_a_modality_takes_under_forty_lines() -> None:
    code = [line for block in blocks("add_a_modality.md") for line in block.splitlines() if line.strip()]
    assert 20 < len(code) < 40


def check_eeg(names: dict[str, Any], folder: Path) -> None:
    """The trained model names what it never saw, its adapter loads, and the modality conforms."""
    test, model = names["test"], names["model"]
    classifier = ZeroShotClassifier(model, "eeg", ["eyes closed", "eyes open"])
    said = classifier.predict([row.sources["eeg"] for row in test])
    assert list(said) == [row.labels[0] for row in test], "alpha waves are easy"
    again = AlignmentModel.load_adapter("adapter")
    sources = [test[0].sources["eeg"]]
    assert (again.eval().embed("eeg", sources) == model.eval().embed("eeg", sources)).all()
    (folder / "work").mkdir()
    check_modality("eeg", [Sample(folder / "0.npy"), Sample(folder / "1.npy")], folder / "work")


CHECKS = {"add_a_modality.md": check_eeg}
"""What a page promises of its results."""
