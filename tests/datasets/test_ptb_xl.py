"""PTB-XL as a manifest: the official labels and folds, both rates, both kinds of text."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from modalign.align.manifest import Manifest, read_manifest
from modalign.datasets import ptb_xl
from modalign.errors import ReadError, RecipeError
from modalign.modalities import get_modality
from tests.modalities.ecg_files import ecg, write_wfdb

TOWERS = {"ecg": get_modality("ecg"), "text": get_modality("text")}


@pytest.fixture
def root(real_data: Path) -> Path:
    return real_data / "ecg_ptbxl500"


def read(root: Path, out: Path, **options: str) -> Manifest:
    return read_manifest(ptb_xl.prepare(root, out / "ptb.csv", **options), TOWERS)


def test_superclasses_and_folds_agree_with_the_local_manifest(root: Path, tmp_path: Path) -> None:
    manifest = read(root, tmp_path)
    theirs = pd.read_csv(root / "manifest.csv", keep_default_na=False).set_index("ecg_id")
    assert len(manifest.rows) == 500
    for row in manifest.rows:
        expected = theirs.loc[int(row.id.removeprefix("ptbxl-"))]
        wanted = {ptb_xl.SUPER[c] for c in str(expected["superclass"]).split("|") if c}
        assert set(row.labels) == wanted, row.id
        assert (row.split, row.group) == (expected["split"], f"patient-{expected['patient_id']}")
        assert row.sources["text"] == (expected["text_en_from_codes"],)
    counts = {label: sum(label in row.labels for row in manifest.rows) for label in manifest.labels}
    assert counts == {
        "normal ECG": 297, "myocardial infarction": 73, "ST/T change": 96, "hypertrophy": 40,
        "conduction disturbance": 78,
    }  # fmt: skip
    assert [len(manifest.split(s).rows) for s in ("train", "val", "test")] == [353, 81, 66]
    assert not manifest.official_split  # so that reading has checked that no patient crosses
    assert len({row.group for row in manifest.rows}) == 466


def test_every_task(root: Path, tmp_path: Path) -> None:
    labels = {task: read(root, tmp_path, task=task).labels for task in ptb_xl.TASKS}
    assert len(labels["super"]) == 5
    assert set(labels["sub"]) <= set(ptb_xl.SUB.values())
    assert "sinus rhythm" in labels["rhythm"]
    assert "sinus rhythm" not in labels["form"]
    statements = pd.read_csv(root / "scp_statements.csv", index_col=0)
    counts = {t: int((statements[t] == 1).sum()) for t in ("diagnostic", "form", "rhythm")}
    assert counts == {"diagnostic": 44, "form": 19, "rhythm": 12}
    assert set(labels["form"]) <= set(statements[statements["form"] == 1]["description"])
    assert set(labels["rhythm"]) | set(labels["form"]) < set(labels["all"])
    assert set(statements["diagnostic_subclass"].dropna()) == set(ptb_xl.SUB)


def test_texts(root: Path, tmp_path: Path) -> None:
    report = read(root, tmp_path, text="report").rows[0]
    assert report.sources["text"] == ("sinusrhythmus periphere niederspannung",)
    table = pd.read_csv(ptb_xl.prepare(root, tmp_path / "none.csv", text="none"))
    assert "text" not in table.columns
    said = yaml.safe_load((tmp_path / "none.meta.yaml").read_text())["descriptions"]
    assert set(said) == set(ptb_xl.SUPER.values())


def test_columns_for_subgroups(root: Path, tmp_path: Path) -> None:
    table = pd.read_csv(ptb_xl.prepare(root, tmp_path / "p.csv"), dtype=str, keep_default_na=False)
    assert table["sex"].value_counts().to_dict() == {"female": 251, "male": 249}
    assert table["site"].value_counts().to_dict() == {"0": 256, "1": 161, "3": 66, "2": 17}
    assert table["device"].value_counts()["CS-12 E"] == 255
    assert table["age"].iloc[:3].tolist() == ["56", "19", "37"]
    assert table["age"][table["age"] != ""].astype(int).max() == 90


def test_500_hz_where_the_files_are(root: Path, tmp_path: Path) -> None:
    manifest = read(root, tmp_path, rate="500")
    assert len(manifest.rows) == 40
    assert "460 records of the table have no file" in yaml.safe_load((tmp_path / "ptb.meta.yaml").read_text())["about"]
    signal = TOWERS["ecg"].load(manifest.rows[0].sources["ecg"])
    assert (signal.rate, tuple(signal.data.shape)) == (500, (12, 5000))


def test_refusals(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="rhythm"):
        ptb_xl.prepare(root, tmp_path / "a.csv", task="rythm")
    with pytest.raises(RecipeError, match=r"written as \.csv"):
        ptb_xl.prepare(root, tmp_path / "a.parquet")
    with pytest.raises(ReadError, match=r"ptbxl_database\.csv"):
        ptb_xl.prepare(tmp_path, tmp_path / "a.csv")
    for name in ("ptbxl_database.csv", "scp_statements.csv"):
        shutil.copyfile(root / name, tmp_path / name)
    with pytest.raises(ReadError, match="no recording"):
        ptb_xl.prepare(tmp_path, tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "ptbxl_database.csv").head(1)
    (tmp_path / "records100/00000").mkdir(parents=True)
    write_wfdb(tmp_path / "records100/00000", "00001_lr", ecg())
    table.assign(scp_codes="__import__('os')").to_csv(tmp_path / "ptbxl_database.csv", index=False)
    with pytest.raises(ReadError, match="no mapping"):
        ptb_xl.prepare(tmp_path, tmp_path / "a.csv")
    table.drop(columns="strat_fold").to_csv(tmp_path / "ptbxl_database.csv", index=False)
    with pytest.raises(ReadError, match="strat_fold"):
        ptb_xl.prepare(tmp_path, tmp_path / "a.csv")
