"""Writing manifests, and files unpacked once: whole or not at all, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from modalign.datasets import manifest
from modalign.datasets.manifest import write_manifest
from modalign.datasets.unpacked import MARK, unpack_once
from modalign.errors import ReadError, RecipeError


def rows(*names: str) -> list[dict[str, str]]:
    return [{"id": name, "label": "Walking", "motion": f"{name}.csv"} for name in names]


def test_a_manifest_and_its_sidecar(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").touch()
    out = tmp_path / "out" / "m.csv"
    write_manifest(rows("a"), out, tmp_path / "data", "mine", "motion", defaults={"motion.rate": 50})
    sidecar = yaml.safe_load(out.with_name("m.meta.yaml").read_text())
    assert (sidecar["root"], sidecar["about"], sidecar["defaults"]) == ("../data", "mine", {"motion.rate": 50})
    assert "official_split" not in sidecar
    assert len(sidecar["descriptions"]["Walking"]) == 3, "the modality's own, whatever the case"
    write_manifest(
        rows("a"), out, tmp_path / "data", "", "motion", descriptions={"Walking": ["w"]}, official_split=True
    )
    sidecar = yaml.safe_load(out.with_name("m.meta.yaml").read_text())
    assert sidecar["descriptions"] == {"Walking": ["w"]}
    assert sidecar["official_split"] is True
    assert sorted(p.name for p in out.parent.iterdir()) == ["m.csv", "m.meta.yaml"]


def test_a_modality_that_is_not_installed_has_no_descriptions(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    out = write_manifest([{"id": "a", "label": "x", "no_such": "a"}], tmp_path / "m.csv", tmp_path, "", "no_such")
    assert yaml.safe_load(out.with_name("m.meta.yaml").read_text())["descriptions"] == {}


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"written as \.csv"):
        write_manifest(rows("a"), tmp_path / "m.parquet", tmp_path, "", "motion")
    with pytest.raises(ReadError, match="no recording"):
        write_manifest([], tmp_path / "m.csv", tmp_path, "", "motion")
    (tmp_path / "b.csv").touch()
    with pytest.raises(ReadError, match=r"1 of 2 files are not there, a\.csv first"):
        write_manifest(rows("a", "b"), tmp_path / "m.csv", tmp_path, "", "motion")
    assert not (tmp_path / "m.csv").exists()
    for check, value in (
        (manifest.number, "x"),
        (manifest.number, "-1"),
        (manifest.number, "nan"),
        (manifest.number, "inf"),
        (lambda option, value: manifest.choice(option, value, ("a",)), "b"),
    ):
        with pytest.raises(RecipeError, match=f"--option key={value}"):
            check("key", value)


def test_a_hashed_split_is_what_it_says_and_knows_no_others() -> None:
    units = [f"patient-{k}" for k in range(2000)]
    shares = pd.Series([manifest.hashed_split(unit, 0) for unit in units]).value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.7, abs=0.04)
    assert shares["val"] == pytest.approx(0.1, abs=0.03)
    kept = sum(manifest.held_out(unit) == "val" for unit in units) / len(units)
    assert kept == pytest.approx(0.1, abs=0.03)
    assert manifest.hashed_split("patient-7", 0) == manifest.hashed_split("patient-7", 0)


def test_files_are_unpacked_once_and_again_when_something_changed(tmp_path: Path) -> None:
    source, calls = tmp_path / "x.npz", []
    source.write_text("1")

    def write(folder: Path) -> None:
        calls.append(folder)
        (folder / "a").write_text(source.read_text())

    for _ in range(2):
        folder = unpack_once(tmp_path / "m.csv", [source], {"size": 28}, write)
    assert (folder.name, (folder / "a").read_text(), len(calls)) == ("m.files", "1", 1)
    unpack_once(tmp_path / "m.csv", [source], {"size": 64}, write)
    source.write_text("22")
    unpack_once(tmp_path / "m.csv", [source], {"size": 64}, write)
    assert len(calls) == 3
    assert (folder / "a").read_text() == "22"


def test_a_run_that_breaks_off_leaves_the_old_files(tmp_path: Path) -> None:
    folder = unpack_once(tmp_path / "m.csv", [], {"k": 1}, lambda target: (target / "a").touch())

    def broken(target: Path) -> None:
        (target / "b").touch()
        raise ReadError("damaged")

    with pytest.raises(ReadError, match="damaged"):
        unpack_once(tmp_path / "m.csv", [], {"k": 2}, broken)
    assert sorted(p.name for p in folder.iterdir()) == [MARK, "a"]
    assert [p.name for p in tmp_path.iterdir()] == ["m.files"]


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "m.files").mkdir()
    (tmp_path / "m.files" / "mine").touch()
    with pytest.raises(RecipeError, match="modalign did not make it"):
        unpack_once(tmp_path / "m.csv", [], {}, lambda folder: None)
    assert (tmp_path / "m.files" / "mine").exists()
