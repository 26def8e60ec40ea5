"""The CinC challenges, CPSC2018 and LUDB as manifests: on the local records, and on small trees of the same shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from modalign.align.manifest import Manifest, read_manifest
from modalign.datasets import cinc, cpsc2018, ludb
from modalign.datasets.registry import PublicDataset
from modalign.datasets.snomed import snomed_names
from modalign.errors import ReadError, RecipeError
from modalign.modalities import get_modality
from tests.modalities.ecg_files import ecg, write_wfdb

TOWERS = {"ecg": get_modality("ecg")}


def read(prepare: Any, root: Path, out: Path, **options: str) -> Manifest:
    return read_manifest(prepare(root, out / "out.csv", **options), TOWERS)


def test_snomed_names() -> None:
    assert snomed_names(["426783006", "164889003"]) == ("sinus rhythm", "atrial fibrillation")
    assert snomed_names(["713427006", "59118001"]) == ("right bundle branch block",)
    assert len(snomed_names(["713427006", "59118001"], merge=False)) == 2
    assert snomed_names(["164873001", "426783006"], scored=True) == ("sinus rhythm",)
    assert snomed_names(["123"]) == ("SNOMED 123",)


def test_cinc2021_on_the_local_records(real_data: Path, tmp_path: Path) -> None:
    manifest = read(cinc.prepare, real_data / "ecg_cinc2021_mini", tmp_path, year="2021")
    assert len(manifest.rows) == 60
    rows = {row.id: row for row in manifest.rows}
    assert rows["E07500"].labels == ("left atrial enlargement", "sinus bradycardia")
    assert rows["HR06000"].labels == ("abnormal T wave", "sinus rhythm")
    assert rows["E00001"].labels == ()
    counts = {label: sum(label in row.labels for row in manifest.rows) for label in manifest.labels}
    assert (counts["sinus tachycardia"], counts["sinus rhythm"], counts["premature atrial contraction"]) == (23, 15, 20)
    assert not any(label.startswith("SNOMED") for label in counts)
    # Two records with one signal are one group, so they cannot stand on both sides of a split.
    assert rows["E07509"].group == rows["E07510"].group
    assert len({row.group for row in manifest.rows}) == 59
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["source"].value_counts().to_dict() == {"Georgia": 30, "Chapman-Ningbo": 20, "PTB-XL": 10}
    for row in manifest.rows:
        TOWERS["ecg"].load(row.sources["ecg"])


def test_cinc_options(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "ecg_cinc2021_mini"
    older = read(cinc.prepare, root, tmp_path, year="2020", labels="scored")
    assert len(older.rows) == 40  # Chapman and Ningbo came in 2021
    assert "left atrial enlargement" not in older.labels
    one, same, other = (read(cinc.prepare, root, tmp_path, year="2021", seed=s) for s in ("0", "0", "1"))
    assert [r.split for r in one.rows] == [r.split for r in same.rows] != [r.split for r in other.rows]
    assert {r.split for r in one.rows} == {"train", "val", "test"}
    assert {r.split for r in read(cinc.prepare, root, tmp_path, year="2021", split="none").rows} == {""}
    for options in ({"split": "mine"}, {"seed": "x"}, {"labels": "some"}):
        with pytest.raises(RecipeError):
            cinc.prepare(root, tmp_path / "a.csv", year="2021", **options)
    with pytest.raises(ReadError, match="no WFDB header"):
        cinc.prepare(tmp_path, tmp_path / "a.csv", year="2021")


def test_cinc_in_folders_with_both_ways_of_writing_codes(tmp_path: Path) -> None:
    for folder, name, comment in (
        ("a/g1", "A0001", "Dx: 426783006"),
        ("b/g1", "A0001", " Dx: 1,164889003"),
        ("b", "Q1", "Dx:"),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        write_wfdb(tmp_path / folder, name, ecg(seed=len(folder)), kind="mat", comments=(comment, "Age: 50"))
    manifest = read(cinc.prepare, tmp_path, tmp_path, year="2021")
    assert {row.id: row.labels for row in manifest.rows} == {
        "A0001": ("sinus rhythm",),
        "b/g1/A0001": ("SNOMED 1", "atrial fibrillation"),
        "Q1": (),
    }
    assert "50" not in (tmp_path / "out.csv").read_text().replace("164889003", "")[:60]


def test_cpsc2018_as_its_organisers_offer_it(tmp_path: Path) -> None:
    from scipy.io import savemat

    (tmp_path / "TrainingSet1").mkdir()
    for name in ("A0001", "A0002"):
        savemat(tmp_path / f"TrainingSet1/{name}.mat", {"ECG": {"sex": "Male", "age": 74, "data": ecg(7, 500)}})
    (tmp_path / "REFERENCE.csv").write_text(
        "Recording,First_label,Second_label,Third_label\nA0001,5,,\nA0002,2,8,\nA0003,1,,\n"
    )
    manifest = read(cpsc2018.prepare, tmp_path, tmp_path)
    assert {r.id: r.labels for r in manifest.rows} == {
        "A0001": ("right bundle branch block",),
        "A0002": ("atrial fibrillation", "ST depression"),
    }
    row = manifest.rows[0]
    signal = TOWERS["ecg"].load(row.sources["ecg"], **row.fields["ecg"])
    assert (signal.rate, tuple(signal.data.shape)) == (500, (12, 3500))
    (tmp_path / "REFERENCE.csv").write_text("Recording,First_label\nA0001,12\n")
    with pytest.raises(ReadError, match="not from 1 to 9"):
        cpsc2018.prepare(tmp_path, tmp_path / "a.csv")


def test_cpsc2018_as_physionet_offers_it(tmp_path: Path) -> None:
    for name, codes in (("A0001", "59118001"), ("A0002", "164884008,426783006"), ("Q0001", "426783006")):
        write_wfdb(tmp_path, name, ecg(seed=len(codes)), kind="mat", comments=(f"Dx: {codes}",))
    manifest = read(cpsc2018.prepare, tmp_path, tmp_path)
    assert {r.id: r.labels for r in manifest.rows} == {
        "A0001": ("right bundle branch block",),
        "A0002": ("premature ventricular contractions", "normal ECG"),
    }


def test_ludb(tmp_path: Path) -> None:
    comments = (
        "<age>: 51", "<sex>: F", "<diagnoses>:", "Rhythm: Sinus bradycardia.",
        "Electric axis of the heart: left axis deviation.", "Left ventricular hypertrophy.",
    )  # fmt: skip
    leads = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")
    (tmp_path / "data").mkdir()
    write_wfdb(tmp_path / "data", "1", ecg(), leads=leads, comments=comments)
    manifest = read(ludb.prepare, tmp_path, tmp_path)
    assert manifest.rows[0].labels == (
        "sinus bradycardia", "electrical axis: left axis deviation", "left ventricular hypertrophy",
    )  # fmt: skip
    assert read(ludb.prepare, tmp_path, tmp_path, task="rhythm").rows[0].labels == ("sinus bradycardia",)
    assert TOWERS["ecg"].load(manifest.rows[0].sources["ecg"]).channels[3] == "aVR"
    assert "51" not in (tmp_path / "out.csv").read_text()


def test_all_are_registered() -> None:
    from modalign.datasets import ptb_xl, registry

    assert ptb_xl.SUPER
    known = registry._datasets
    for name in ("ptb-xl", "cinc2020", "cinc2021", "cpsc2018", "ludb"):
        assert isinstance(known[name], PublicDataset)
        assert known[name].url


def test_ludb_is_not_another_data_set(tmp_path: Path) -> None:
    write_wfdb(tmp_path, "A1", ecg(), comments=("Dx: 426783006", "Rx: Unknown"))
    with pytest.raises(ReadError, match="LUDB"):
        ludb.prepare(tmp_path, tmp_path / "a.csv")
