"""Prepared signals on disk: found again by what they were made from, whole or not at all, and harmless when damaged."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from modalign import ReadError
from modalign.align.data import AlignmentDataset
from modalign.align.model import build_model
from modalign.align.signal_cache import SignalCache, identity, load_prepared, read_entry, write_entry
from modalign.modalities import get_modality
from modalign.modalities.base import Processing, Signal
from modalign.tasks.training import train
from tests import tone
from tests.conftest import make_recipe

META = {"affine": ((1.0, 0.0), (0.0, 2.0)), "spacing": (0.5, 0.5), "unit": "HU", "tilt": 18.5, "none": None}


class Half(Processing):
    """Its `prepare` halves."""

    by: float = 2.0
    later: int = 0

    def prepare(self, signal: Signal) -> Signal:
        return replace(signal, data=signal.data / self.by, meta={"prepared": True})

    def prepare_parameters(self) -> dict[str, Any]:
        return {"by": self.by}


def signal(value: float = 1.0) -> Signal:
    return Signal(torch.full((1, 3, 4), value), None, ("HU",), META)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text("1 2 3")
    return path


def make(calls: list[int]) -> Callable[[], Signal]:
    def made() -> Signal:
        calls.append(1)
        return signal(float(len(calls)))

    return made


def test_an_entry_comes_back_as_it_was(tmp_path: Path) -> None:
    for number, one in enumerate([signal(), Signal(torch.randn(2, 0, 3), 250.0), Signal(torch.randn(5).half())]):
        path = tmp_path / f"{number}.safetensors"
        assert write_entry(path, one, 1.5)
        found = read_entry(path)
        assert found is not None
        back, seconds = found
        assert torch.equal(back.data, one.data)
        assert back.data.dtype == one.data.dtype
        assert (back.rate, back.channels, dict(back.meta), seconds) == (one.rate, one.channels, dict(one.meta), 1.5)
    assert not list(tmp_path.glob(".*")), "nothing is left beside"


def test_hits_and_what_they_depend_on(source: Path, tmp_path: Path) -> None:
    cache, calls = SignalCache(tmp_path / "cache"), []
    for _ in range(3):
        taken = cache.take(source, {"unit": "HU"}, "ct", Half(), make(calls))
    assert (len(calls), cache.hits, cache.made) == (1, 2, 1)
    assert torch.equal(taken.data, signal().data)
    cache.take(str(source), {"unit": "HU"}, "ct", Half(later=5), make(calls))
    assert len(calls) == 1, "what comes after prepare makes no other entry"
    others = [
        (source, {"unit": "raw"}, "ct", Half()),
        (source, {"unit": "HU"}, "xray", Half()),
        (source, {"unit": "HU"}, "ct", Half(by=3)),
    ]
    for place in others:
        cache.take(*place, make(calls))
    assert len(calls) == 4
    os.utime(source, ns=(1, 1))
    cache.take(source, {"unit": "HU"}, "ct", Half(), make(calls))
    assert len(calls) == 5
    assert "3 recordings from the cache, 5 made and kept in" in cache.report()


def test_a_folder_is_known_by_all_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    for name in ("1.dcm", "2.dcm"):
        (folder / name).write_text(name)
    before = identity(folder)
    (folder / "2.dcm").write_text("changed")
    assert identity(folder) != before
    (folder / "3.dcm").write_text("new")
    changed = identity(folder)
    (folder / "3.dcm").unlink()
    assert identity(folder) != changed
    assert identity(tmp_path / "absent") is None


@pytest.mark.parametrize("damage", ["cut", "bits", "empty", "other", "foreign"])
def test_a_damaged_entry_is_made_again(damage: str, source: Path, tmp_path: Path) -> None:
    cache, calls = SignalCache(tmp_path / "cache"), []
    cache.take(source, {}, "ct", Half(), make(calls))
    (entry,) = (tmp_path / "cache").iterdir()
    whole = entry.read_bytes()
    contents = {
        "cut": whole[:-5], "bits": whole[:-4] + b"\0\0\1\0", "empty": b"", "other": b"\x80\x04pickle" * 40,
        "foreign": whole.replace(b'"hash"', b'"hush"'),
    }  # fmt: skip
    entry.write_bytes(contents[damage])
    assert read_entry(entry) is None
    taken = cache.take(source, {}, "ct", Half(), make(calls))
    assert (len(calls), float(taken.data.max())) == (2, 2.0)
    assert read_entry(entry) is not None


def test_a_disk_that_refuses_stops_nothing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache, calls = SignalCache(tmp_path / "file" / "cache"), []
    assert cache.take(source, {}, "ct", Half(), make(calls)).data.shape == (1, 3, 4)
    assert cache.unsaved == 1
    assert "1 could not be written" in cache.report()
    odd = Signal(torch.zeros(2), meta={"odd": object()})
    assert not write_entry(tmp_path / "odd.safetensors", odd, 0.0)
    assert not list(tmp_path.glob("*odd*"))


def test_two_writers_never_show_half_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    big = {value: Signal(torch.full((200, 1000), value), None, (), {"value": value}) for value in (1.0, 2.0)}

    def writer(value: float) -> bool:
        return all(write_entry(path, big[value], 0.0) for _ in range(15))

    def reader(_: int) -> bool:
        seen = [read_entry(path) for _ in range(40) if path.exists()]
        return all(e is not None and bool((e[0].data == e[0].meta["value"]).all()) for e in seen)

    assert write_entry(path, big[1.0], 0.0)
    with ThreadPoolExecutor(4) as pool:
        results = [*pool.map(writer, (1.0, 2.0)), *pool.map(reader, range(2))]
    assert all(results)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_only_paths_and_costly_preparations_are_kept(source: Path, tmp_path: Path) -> None:
    cache, calls = SignalCache(tmp_path / "cache"), []
    cache.take(torch.zeros(3), {}, "ct", Half(), make(calls))
    cache.take(tmp_path / "absent", {}, "ct", Half(), make(calls))
    plain = load_prepared(cache, source, {}, get_modality("tone"), tone.ToneProcessing())
    assert plain.data.numel() == 3
    assert not (tmp_path / "cache").exists()
    halved = load_prepared(None, source, {}, get_modality("tone"), Half())
    assert torch.equal(halved.data * 2, plain.data)


def test_an_error_names_the_source(source: Path, manifest, recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Processing, given: Signal) -> Signal:
        raise ReadError("tone: no spacing")

    monkeypatch.setattr(tone.ToneProcessing, "prepare", refuse)
    model = build_model(recipe)
    rows = AlignmentDataset(manifest, {"tone": model.tower("tone")})
    with pytest.raises(ReadError, match=r"row '.*': .*\.txt: tone: no spacing"):
        rows.signal(0, "tone", rows.options_of(0, "tone")[0])


def test_a_run_keeps_what_it_prepared(text_checkpoint, manifest, tmp_path: Path, monkeypatch) -> None:
    """The second run reads no recording, and ends with the same weights, bit for bit."""
    reads: list[Any] = []
    read = tone.Tone.read

    def counted(self: Any, given: Any, **fields: Any) -> Signal:
        reads.append(given)
        return read(self, given, **fields)

    def prepare(self: Processing, given: Signal) -> Signal:
        return given if given.meta.get("done") else replace(given, data=given.data * 0.5, meta={"done": True})

    monkeypatch.setattr(tone.Tone, "read", counted)
    monkeypatch.setattr(tone.ToneProcessing, "prepare", prepare)
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "log_every": 1}
    weights, printed = [], []
    for name, folder in (("own", None), ("shared", str(tmp_path / "own" / "cache"))):
        recipe = make_recipe(text_checkpoint, training={**training, "cache": folder})
        reads.clear()
        console = Console(file=io.StringIO(), width=200)
        model = train(recipe, manifest, tmp_path / name, untrained=False, console=console)
        weights.append({k: v.clone() for k, v in model.state_dict().items()})
        printed.append((len(reads), console.file.getvalue()))
    kept = sum(path.is_file() for path in (tmp_path / "own" / "cache").iterdir())  # features have a folder
    assert kept == printed[0][0] == 30, "24 train and 6 val rows, once each; test rows are not touched"
    assert printed[1][0] == 0
    assert "30 recordings from the cache, 0 made" in printed[1][1]
    assert not (tmp_path / "shared" / "cache").exists()
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    embedded = model.embed("tone", [manifest.rows[0].sources["tone"]])
    assert embedded.shape == (1, 16), "without a cache"
