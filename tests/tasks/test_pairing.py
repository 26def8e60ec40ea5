"""Pairs of two manifests: who, when, which split, where the files are, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from modalign.align.manifest import read_manifest
from modalign.errors import ManifestError, RecipeError
from modalign.modalities import get_modality
from modalign.tasks.pairing import joined, nearest, pair_manifests, parse_window
from tests.cli.test_cli import invoke

XRAYS: list[dict[str, Any]] = [
    {"id": "x1", "split": "train", "group": "ann", "date": "2150-03-01", "text": "No effusion.", "label": "clear"},
    {"id": "x2", "split": "train", "group": "ann", "date": "2150-09-01", "text": "Effusion.", "label": "effusion"},
    {"id": "x3", "split": "test", "group": "ben", "date": "2151-01-10T08:30", "text": "", "label": ""},
    {"id": "x4", "split": "val", "group": "cleo", "date": "2151-01-10", "text": "Clear lungs.", "label": "clear"},
    {"id": "x5", "split": "train", "group": "dan", "date": "", "text": "Clear.", "label": "clear"},
    {"id": "x6", "split": "train", "group": "eve", "date": "21500101", "text": "Clear.", "label": "clear"},
]
ECGS: list[dict[str, Any]] = [
    {"id": "e1", "split": "test", "group": "ann", "when": "2150-01-05", "text": "AF.", "labels": "AF;clear"},
    {"id": "e2", "split": "", "group": "ann", "when": "2150-04-28", "text": "Sinus rhythm.", "labels": "sinus"},
    {"id": "e3", "split": "", "group": "ben", "when": "2151-03-11 08:30", "text": "LBBB.", "labels": ""},
    {"id": "e4", "split": "", "group": "cleo", "when": "2151-03-12", "text": "Sinus.", "labels": ""},
    {"id": "e5", "split": "", "group": "dan", "when": "2151-03-12", "text": "Sinus.", "labels": ""},
]


def write(folder: Path, xrays: list[dict[str, Any]] = XRAYS, ecgs: list[dict[str, Any]] = ECGS) -> tuple[Path, Path]:
    """Two manifests in folders of their own, each with its files below a root of its own."""
    for name, rows, array in (("xray", xrays, np.eye(20)), ("ecg", ecgs, np.sin(np.arange(500) / 9)[None])):
        files = folder / name / "files"
        files.mkdir(parents=True, exist_ok=True)
        for n, row in enumerate(rows):
            np.save(files / f"{row['id']}.npy", array + n / 100)
        pd.DataFrame([{**row, name: f"{row['id']}.npy"} for row in rows]).to_csv(folder / name / "m.csv", index=False)
    defaults = {"xray": {"xray.range": "0,2"}, "ecg": {"ecg.rate": 100, "ecg.leads": "II", "ecg.unit": "mV"}}
    for name, said in defaults.items():
        sidecar = {"root": "files", "about": f"about {name}", "defaults": said, "descriptions": {"clear": [name]}}
        (folder / name / "m.meta.yaml").write_text(yaml.safe_dump(sidecar))
    return folder / "xray" / "m.csv", folder / "ecg" / "m.csv"


def pair(folder: Path, files: tuple[Path, Path], **options: Any) -> Any:
    said = {"within": timedelta(days=60), "time": "date", "time_b": "when", "by": "patient", **options}
    return pair_manifests(*files, folder / "out" / "paired.csv", **said)


def test_nearest() -> None:
    at = [datetime(2020, 1, n) for n in (1, 3, 3, 9)]
    days = timedelta(days=2)
    assert nearest([datetime(2020, 1, 2)], at, days) == [0], "of two as near, the earlier"
    assert nearest([datetime(2020, 1, 4)], at, days) == [1], "of two equal ones, the first"
    assert nearest([datetime(2020, 1, 11)], at, days) == [3], "the window's end is in it"
    assert nearest([datetime(2020, 1, 11, 0, 1)], at, days) == [None]
    assert nearest([datetime(2020, 1, 1)], [], days) == [None]


def test_windows() -> None:
    assert parse_window("60d") == timedelta(days=60)
    assert parse_window("2 w") == timedelta(days=14)
    assert parse_window("90min") == timedelta(hours=1.5)
    for wrong in ("60", "d", "5 months", "-3d", "90m"):
        with pytest.raises(RecipeError, match="as 60d"):
            parse_window(wrong)


def test_pairs(tmp_path: Path) -> None:
    found = pair(tmp_path, write(tmp_path), join=True)
    table = pd.read_csv(found.path, dtype=str, keep_default_na=False)
    assert table[["id", "id_ecg"]].to_numpy().tolist() == [["x1", "e1"], ["x3", "e3"]], "55 days, and 60 to the minute"
    assert table["apart_days"].astype(float).tolist() == [55, 60]
    assert table["split"].tolist() == ["train", "test"], "the first's"
    assert found.moved == 1
    assert found.alone == {
        "without person or time": 1, "of people whom the other does not have": 1, "too far apart": 2,
    }  # fmt: skip
    assert table["group"].tolist() == ["ann", "ben"]
    assert table["labels"].tolist() == ["clear;AF", ""]
    assert table["text_xray"].tolist() == ["No effusion.", ""]
    assert table["text_ecg"].tolist() == ["AF.", "LBBB."]
    assert table["text"].tolist() == [
        "The report from Xray is: No effusion. The report from ECG is: AF.",
        "The report from ECG is: LBBB.",
    ]
    xray, ecg, text = (get_modality(name) for name in ("xray", "ecg", "text"))
    manifest = read_manifest(found.path, {"xray": xray, "ecg": ecg, "text_xray": text, "text_ecg": text})
    row = manifest.rows[0]
    assert row.sources["text_ecg"] == ("AF.",)
    assert xray.load(row.sources["xray"], **row.fields["xray"]).data.shape == (1, 20, 20)
    assert ecg.load(row.sources["ecg"], **row.fields["ecg"]).rate == 100
    assert manifest.descriptions == {"clear": ["xray"]}, "the first's words stand"
    assert yaml.safe_load((tmp_path / "out" / "paired.meta.yaml").read_text())["about"].endswith(
        "about xray; about ecg"
    )


def test_a_row_of_the_second_may_serve_several(tmp_path: Path) -> None:
    files = write(tmp_path)
    found = pair(tmp_path, files, within=timedelta(days=200))
    assert found.table["id_ecg"].tolist() == ["e1", "e2", "e3", "e4"]
    assert found.shared == 0
    found = pair(tmp_path / "c", write(tmp_path / "c", ecgs=ECGS[1:]), within=timedelta(days=200))
    assert found.table["id_ecg"].tolist() == ["e2", "e2", "e3", "e4"]
    assert found.shared == 1
    assert "text" not in found.table
    manifest = read_manifest(found.path, {"ecg": get_modality("ecg")})
    assert manifest.rows[0].cluster == manifest.rows[1].cluster != "", "one file, one recording"


def test_by_another_column(tmp_path: Path) -> None:
    xrays, ecgs = ([{**row, "who": row["group"], "group": ""} for row in rows] for rows in (XRAYS, ECGS))
    found = pair(tmp_path, write(tmp_path, xrays, ecgs), by="who")
    assert found.table["group"].tolist() == ["ann", "ben"]


def test_no_person_crosses_splits(tmp_path: Path) -> None:
    crossing = [{**row, "split": "test"} if row["id"] == "x2" else row for row in XRAYS]
    files = write(tmp_path, crossing)
    sidecar = files[0].with_name("m.meta.yaml")
    sidecar.write_text(sidecar.read_text() + "official_split: true\n")
    with pytest.raises(ManifestError, match="'ann' would have pairs in train and test"):
        pair(tmp_path, files, within=timedelta(days=200))
    assert len(pair(tmp_path, files).table) == 2, "x2 has no pair, so nobody crosses"


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({"date": "03/04/2150"}, {}, "'03/04/2150' of 'x1' is no time"),
        ({"date": "2150-03-01T08:00+01:00"}, {}, "some times in date have a time zone"),
        ({}, {"time": "day"}, "no column 'day'"),
        ({}, {"by": "who"}, "no column 'who'"),
        ({}, {"within": timedelta(days=1)}, "no rows pair within 1 day"),
    ],
)
def test_refuses(change: dict[str, str], options: dict[str, Any], says: str, tmp_path: Path) -> None:
    files = write(tmp_path, [{**XRAYS[0], **change}, *XRAYS[1:]])
    with pytest.raises(ManifestError, match=says.replace("(", "\\(")):
        pair(tmp_path, files, **options)


def test_refuses_one_modality_twice_and_zones_of_one_side(tmp_path: Path) -> None:
    first, _ = write(tmp_path)
    with pytest.raises(ManifestError, match="both have a column 'xray'"):
        pair(tmp_path, (first, first), time_b=None)
    zoned = [{**row, "when": f"{row['when'][:10]}T00:00+00:00"} for row in ECGS]
    with pytest.raises(ManifestError, match="times of one have a time zone"):
        pair(tmp_path, write(tmp_path, ecgs=zoned))


def test_joined() -> None:
    assert joined([("ct", "a"), ("ecg", " ")]) == "The report from CT is: a"


def test_command(tmp_path: Path) -> None:
    first, second = write(tmp_path)
    arguments = ["data", "pair", first, second, "--within", "60d", "--time", "date", "--time-b", "when"]
    code, output = invoke(*arguments, "--by", "patient", "--out", tmp_path / "paired.csv")
    assert code == 0, output
    assert "2 pairs; median 57.5 days apart" in output
    assert "2 rows of m.csv too far apart: left out" in output
    code, output = invoke(*arguments, "--by", "patient", "--out", tmp_path / "paired.txt")
    assert (code, "written as .csv" in output) == (2, True), output
