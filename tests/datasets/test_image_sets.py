"""MedMNIST, Kermany, ChestX-ray14, IU X-ray, MedNIST: on real files, else on small trees of the same shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from modalign.align.manifest import read_manifest
from modalign.datasets import chestxray14, iu_xray, kermany, medmnist, mednist
from modalign.datasets.manifest import held_out
from modalign.errors import ReadError, RecipeError
from modalign.modalities.registry import BUILT_IN, get_modality

Image = pytest.importorskip("PIL.Image")


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def sidecar(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.with_name(f"{path.stem}.meta.yaml").read_text())
    return loaded


def load_all(path: Path, step: int = 1) -> list[Any]:
    """Every file of a manifest (every `step`th), read by its modality as the manifest says."""
    modality = next(name for name in ("xray", "ct") if name in table(path).columns)
    if modality not in BUILT_IN:
        pytest.skip(f"needs the modality {modality}")
    reader = get_modality(modality)
    rows = read_manifest(path, {modality: reader}).rows[::step]
    return [reader.load(row.sources[modality], **row.fields[modality]) for row in rows]


def picture(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 5), value, dtype=np.uint8)).save(path)


# ---------------------------------------------------------------------------------------------- MedMNIST


def npz(root: Path, subset: str, shape: tuple[int, ...], size: int = 28, **changed: Any) -> Path:
    """A small .npz of the published form: 6 train, 2 val, 4 test items, labels counting up."""
    known = medmnist.subsets()[subset]
    root.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 6), ("val", 2), ("test", 4)):
        ramp = np.indices(shape)[1].astype(np.uint8)  # a blank image is refused when it is read
        images = np.arange(count, dtype=np.uint8).reshape(-1, *[1] * len(shape)) + ramp
        numbers = np.arange(count)
        if known["multi"]:
            labels = np.zeros((count, len(known["classes"])), np.uint8)
            labels[:, 0], labels[:, 2] = numbers % 2, numbers > 2
        else:
            labels = (numbers % len(known["classes"]))[:, None].astype(np.uint8)
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    np.savez(root / medmnist.file_name(subset, size), **{**arrays, **changed})
    return root


def test_a_2d_subset_becomes_pictures(tmp_path: Path) -> None:
    path = medmnist.prepare(
        npz(tmp_path / "r", "pneumoniamnist", (28, 28)), tmp_path / "m.csv", subset="pneumoniamnist"
    )
    rows = table(path)
    assert rows["split"].value_counts().to_dict() == {"train": 6, "test": 4, "val": 2}
    assert list(rows["label"][:3]) == ["normal", "pneumonia", "normal"]
    read = np.asarray(Image.open(path.parent / sidecar(path)["root"] / rows["xray"][3]))
    assert (read.shape, read.dtype, int(read[0, 0])) == ((28, 28), np.uint8, 3)


def test_several_labels_a_row(tmp_path: Path) -> None:
    rows = table(medmnist.prepare(npz(tmp_path / "r", "chestmnist", (28, 28)), tmp_path / "m.csv", subset="chestmnist"))
    assert list(rows["labels"][:4]) == ["", "atelectasis", "", "atelectasis;pleural effusion"]


def test_a_colour_subset_says_how_to_read_it(tmp_path: Path) -> None:
    path = medmnist.prepare(npz(tmp_path / "r", "bloodmnist", (28, 28, 3)), tmp_path / "m.csv", subset="bloodmnist")
    assert sidecar(path)["defaults"] == {"xray.color": "luminance"}
    assert "no radiographs" in sidecar(path)["about"]


def test_a_3d_subset_becomes_volumes(tmp_path: Path) -> None:
    root = npz(tmp_path / "r", "organmnist3d", (28, 28, 28))
    path = medmnist.prepare(root, tmp_path / "m.csv", subset="organmnist3d", splits="val,test")
    rows = table(path)
    assert set(rows["split"]) == {"val", "test"}
    assert list(rows["label"][:2]) == ["liver", "kidney-right"]
    assert sidecar(path)["defaults"] == {"ct.unit": "none"}
    volume = np.load(path.parent / sidecar(path)["root"] / rows["ct"][1], allow_pickle=False)
    assert (volume.shape, volume.dtype, int(volume[0, 0, 0])) == ((28, 28, 28), np.uint8, 1)


def test_adrenalmnist3d_as_it_was_published(real_data: Path, tmp_path: Path) -> None:
    path = medmnist.prepare(
        real_data / "ct_adrenalmnist3d", tmp_path / "m.csv", subset="adrenalmnist3d", splits="val", size="64"
    )
    assert table(path)["label"].value_counts().to_dict() == {"normal": 76, "hyperplasia": 22}
    volume = np.load(path.parent / sidecar(path)["root"] / table(path)["ct"][0], allow_pickle=False)
    assert volume.shape == (64, 64, 64)
    assert set(np.unique(volume)) == {0, 255}
    assert {tuple(signal.data.shape) for signal in load_all(path, 20)} == {(1, 64, 64, 64)}


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, RecipeError, "subset=: "),
        ({"subset": "chestmnits"}, RecipeError, "did you mean 'chestmnist'"),
        ({"subset": "chestmnist", "size": "100"}, RecipeError, "comes in 28, 64, 128, 224"),
        ({"subset": "chestmnist", "splits": "all"}, RecipeError, "splits=all"),
        ({"subset": "adrenalmnist3d", "modality": "xray"}, RecipeError, "modality=xray"),
        ({"subset": "dermamnist", "modality": "ct"}, RecipeError, "the images are in colour"),
        ({"subset": "chestmnist"}, ReadError, r"holds no chestmnist\.npz or"),
        ({"subset": "breastmnist"}, ReadError, "do not fit 2 classes"),
        ({"subset": "octmnist"}, ReadError, "images are uint8"),
        ({"subset": "pathmnist"}, ReadError, "has no readable array 'train_labels'"),
        ({"subset": "organamnist"}, ReadError, "train has 5 images and 6 labels"),
    ],
)
def test_medmnist_refusals(options: dict[str, str], error: Any, says: str, tmp_path: Path) -> None:
    root = tmp_path / "r"
    npz(root, "breastmnist", (28, 28), train_labels=np.full((6, 1), 2))
    npz(root, "octmnist", (28, 28), train_images=np.zeros((6, 28, 28)))
    npz(root, "organamnist", (28, 28), train_images=np.zeros((5, 28, 28), np.uint8))
    npz(root, "adrenalmnist3d", (28, 28, 28))
    npz(root, "dermamnist", (28, 28, 3))
    (root / "pathmnist.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(error, match=says):
        medmnist.prepare(root, tmp_path / "m.csv", **options)
    assert not (tmp_path / "m.csv").exists()


def test_medmnist_tables() -> None:
    known = medmnist.subsets()
    assert len(known) == 18
    assert sum(name.endswith("3d") for name in known) == 6
    assert len(known["organmnist3d"]["classes"]) == 11
    assert {int(size) for size in known["chestmnist"]["md5"]} == {28, 64, 128, 224}
    assert medmnist._needed("chestmnist.npz", {"subset": "chestmnist"})
    assert not medmnist._needed("chestmnist_64.npz", {"subset": "chestmnist"})
    assert medmnist._needed("chestmnist_64.npz", {"subset": "chestmnist", "size": "64"})


@pytest.mark.parametrize(
    ("subset", "shape", "options", "size"),
    [
        ("pneumoniamnist", (28, 28), {}, (1, 28, 28)),
        ("bloodmnist", (28, 28, 3), {}, (1, 28, 28)),
        ("organamnist", (28, 28), {}, (1, 28, 28, 1)),
        ("organamnist", (28, 28), {"modality": "xray"}, (1, 28, 28)),
        ("organmnist3d", (28, 28, 28), {}, (1, 28, 28, 28)),
    ],
)
def test_medmnist_reads_back(subset: str, shape: Any, options: dict[str, str], size: Any, tmp_path: Path) -> None:
    path = medmnist.prepare(npz(tmp_path / "r", subset, shape), tmp_path / "m.csv", subset=subset, **options)
    assert {tuple(signal.data.shape) for signal in load_all(path)} == {size}


def test_another_sets_normal_is_no_normal_chest(tmp_path: Path) -> None:
    path = medmnist.prepare(npz(tmp_path / "r", "octmnist", (28, 28)), tmp_path / "m.csv", subset="octmnist")
    assert "normal" in set(table(path)["label"])
    assert sidecar(path)["descriptions"] == {}


# ---------------------------------------------------------------------------------------------- Kermany, MedNIST


def test_kermany_on_the_real_images(real_data: Path, tmp_path: Path) -> None:
    path = kermany.prepare(real_data / "cxr_kermany3", tmp_path / "m.csv")
    rows = table(path)
    theirs = pd.read_csv(real_data / "cxr_kermany3" / "manifest.csv").set_index("path")
    assert len(rows) == 1524
    assert [theirs.loc[p, "label"] for p in rows["xray"]] == list(rows["label"])
    assert rows[rows["split"] == "test"]["label"].value_counts().to_dict() == {
        "bacterial pneumonia": 242, "normal": 234, "viral pneumonia": 148,
    }  # fmt: skip
    rest = rows[rows["split"] != "test"]
    assert rest.groupby("group")["split"].nunique().max() == 1, "val is by patient"
    assert 0.05 < (rest["split"] == "val").mean() < 0.16
    assert sidecar(path)["official_split"] is True
    assert {tuple(signal.data.shape) for signal in load_all(path, 100)} == {(1, 224, 224)}
    two = table(kermany.prepare(real_data / "cxr_kermany3", tmp_path / "m.csv", classes="2", seed="1"))
    assert set(two["label"]) == {"normal", "pneumonia"}
    assert list(two["split"]) != list(rows["split"])


def test_kermany_as_the_owner_packs_it(tmp_path: Path) -> None:
    root = tmp_path / "root" / "chest_xray"
    for name in (
        "train/NORMAL/IM-0115-0001.jpeg", "train/NORMAL/NORMAL2-IM-0115-0001-0002.jpeg",
        "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
        "train/PNEUMONIA/person1_bacteria_1.jpeg", "train/PNEUMONIA/person1_virus_6.jpeg",
        "test/PNEUMONIA/person1_virus_7.jpeg", "test/NORMAL/IM-0001-0001.jpeg", "test/NORMAL/._IM-0001-0001.jpeg",
    ):  # fmt: skip
        picture(root / name)
    rows = table(kermany.prepare(tmp_path / "root", tmp_path / "m.csv")).set_index("id")
    assert len(rows) == 7
    assert rows.loc["train-person1_bacteria_1", "group"] == rows.loc["test-person1_virus_7", "group"] == "person1"
    assert rows.loc["train-IM-0115-0001", "group"] != rows.loc["train-NORMAL2-IM-0115-0001-0002", "group"]
    assert rows.loc["val-NORMAL2-IM-1427-0001", "split"] == held_out("NORMAL2-IM-1427")
    assert (rows.loc["test-IM-0001-0001", "label"], rows.loc["test-person1_virus_7", "label"]) == (
        "normal", "viral pneumonia",
    )  # fmt: skip
    picture(root / "train" / "PNEUMONIA" / "IM-0115-0009.jpeg")
    with pytest.raises(ReadError, match="say no class"):
        kermany.prepare(tmp_path / "root", tmp_path / "m.csv")
    with pytest.raises(ReadError, match="holds no folders train and test"):
        kermany.prepare(tmp_path / "absent", tmp_path / "m.csv")
    with pytest.raises(RecipeError, match="classes=4"):
        kermany.prepare(root, tmp_path / "m.csv", classes="4")


def test_mednist_on_the_real_images(real_data: Path, tmp_path: Path) -> None:
    rows = table(mednist.prepare(real_data / "img_mednist6", tmp_path / "m.csv"))
    assert len(rows) == 3000
    assert rows["label"].value_counts().to_dict() == dict.fromkeys(mednist.CLASSES, 500)
    shares = rows["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.7, abs=0.05)
    assert shares["val"] == pytest.approx(0.1, abs=0.03)
    path = tmp_path / "m.csv"
    assert {tuple(signal.data.shape) for signal in load_all(path, 100)} == {(1, 64, 64)}
    assert set(sidecar(path)["descriptions"]) == set(mednist.CLASSES)


def test_mednist_keeps_equal_files_together(tmp_path: Path) -> None:
    for name in mednist.CLASSES:
        for k in range(9):
            picture(tmp_path / "MedNIST" / name / f"{name}{k}.jpeg", value=k)
    rows = table(mednist.prepare(tmp_path, tmp_path / "m.csv"))
    assert rows.groupby("group").size().to_dict() == dict.fromkeys(set(rows["group"]), 6)
    assert rows.groupby("group")["split"].nunique().max() == 1
    assert set(table(mednist.prepare(tmp_path, tmp_path / "m.csv", split="none"))["split"]) == {""}
    with pytest.raises(RecipeError, match="split=mine"):
        mednist.prepare(tmp_path, tmp_path / "m.csv", split="mine")
    (tmp_path / "MedNIST" / "Hand").rename(tmp_path / "MedNIST" / "hands")
    with pytest.raises(ReadError, match="holds no folder Hand"):
        mednist.prepare(tmp_path, tmp_path / "m.csv")


# ---------------------------------------------------------------------------------------------- ChestX-ray14


VAL = next(k for k in range(10, 999) if held_out(f"patient-{k:05d}") == "val")


def nih(root: Path) -> Path:
    rows = [
        ("00000001_000.png", "Cardiomegaly|Effusion", VAL, "PA"),
        ("00000001_001.png", "No Finding", VAL, "AP"),
        ("00000002_000.png", "Pleural_Thickening", 2, "PA"),
        ("00000003_000.png", "Mass", 3, "PA"),  # its archive is not there
    ]
    root.mkdir()
    columns = ["Image Index", "Finding Labels", "Patient ID", "View Position"]
    pd.DataFrame(rows, columns=columns).assign(**{"Patient Gender": "F"}).to_csv(
        root / "Data_Entry_2017.csv", index=False
    )
    (root / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (root / "test_list.txt").write_text("00000002_000.png\n00000003_000.png")
    for name in ("00000001_000", "00000001_001", "00000002_000"):
        picture(root / "images_001" / "images" / f"{name}.png")
    return root


def test_chestxray14(tmp_path: Path) -> None:
    path = chestxray14.prepare(nih(tmp_path / "nih"), tmp_path / "m.csv")
    rows = table(path)
    assert list(rows["labels"]) == ["cardiomegaly;pleural effusion", "no finding", "pleural thickening"]
    assert list(rows["split"]) == ["val", "val", "test"]
    assert list(rows["xray.view"]) == ["PA", "AP", "PA"]
    assert list(rows["group"]) == [f"patient-{VAL:05d}"] * 2 + ["patient-00002"]
    assert "1 images of the table are not under the root" in sidecar(path)["about"]
    assert "official_split" not in sidecar(path), "no patient is in two splits, and reading checks that"
    bare = table(chestxray14.prepare(tmp_path / "nih", tmp_path / "m.csv", no_finding="none"))
    assert bare["labels"][1] == ""


def test_chestxray14_refusals(tmp_path: Path) -> None:
    root, out = nih(tmp_path / "nih"), tmp_path / "m.csv"
    with pytest.raises(RecipeError, match="no_finding=drop"):
        chestxray14.prepare(root, out, no_finding="drop")
    entry = root / "Data_Entry_2017.csv"
    whole = entry.read_text()
    entry.write_text(whole.replace("Mass", "Masses").replace("Cardiomegaly", "Heart"))
    with pytest.raises(ReadError, match="finding 'Heart' is not one of"):
        chestxray14.prepare(root, out)
    entry.write_text(whole.replace("Finding Labels", "Labels"))
    with pytest.raises(ReadError, match="no column 'Finding Labels'"):
        chestxray14.prepare(root, out)
    entry.write_text(whole)
    (root / "test_list.txt").write_text("00000003_000.png\n")
    with pytest.raises(ReadError, match=r"00000002_000\.png is in neither"):
        chestxray14.prepare(root, out)
    (root / "test_list.txt").unlink()
    with pytest.raises(ReadError, match=r"test_list\.txt: no such file"):
        chestxray14.prepare(root, out)
    with pytest.raises(ReadError, match=r"Data_Entry_2017_v2020\.csv: no such file"):
        chestxray14.prepare(tmp_path, out)


# ---------------------------------------------------------------------------------------------- IU X-ray

XML = """<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR1"/><MeSH><major>Cardiomegaly/mild</major>
<major>Cardiomegaly/borderline</major><major>Opacity/lung</major></MeSH><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText>
<AbstractText Label="FINDINGS">The heart  is mildly enlarged. XXXX. No effusion.</AbstractText>
<AbstractText Label="IMPRESSION">Mild cardiomegaly.</AbstractText></Abstract></Article></MedlineCitation>
<parentImage id="CXR1_1_IM-0001-3001"/><parentImage id="CXR1_1_IM-0001-4001"/></eCitation>"""


def openi(root: Path) -> Path:
    (root / "ecgen-radiology").mkdir(parents=True)
    (root / "ecgen-radiology" / "1.xml").write_text(XML)
    silent = XML.replace("The heart  is mildly enlarged. XXXX. No effusion.", "").replace("Mild cardiomegaly.", "XXXX")
    (root / "ecgen-radiology" / "2.xml").write_text(silent.replace("CXR1_1", "CXR2"))
    picture(root / "png" / "CXR1_1_IM-0001-3001.png")
    picture(root / "png" / "CXR1_1_IM-0001-4001.png")
    return root


def test_iu_xray_from_xml(tmp_path: Path) -> None:
    root = openi(tmp_path / "r")
    path = iu_xray.prepare(root, tmp_path / "m.csv")
    rows = table(path)
    assert list(rows["id"]) == ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"]
    assert set(rows["text"]) == {"The heart is mildly enlarged. No effusion. Mild cardiomegaly."}
    assert set(rows["labels"]) == {"cardiomegaly;opacity"}
    assert rows["group"].nunique() == rows["split"].nunique() == 1
    assert "1 reports without text" in sidecar(path)["about"]
    for part, says in (
        ("findings", "The heart is mildly enlarged. No effusion."),
        ("impression", "Mild cardiomegaly."),
    ):
        assert set(table(iu_xray.prepare(root, tmp_path / "m.csv", text=part))["text"]) == {says}


def test_iu_xray_from_tables(tmp_path: Path) -> None:
    root = tmp_path / "r"
    for name in ("1_IM-0001-4001.dcm", "1_IM-0001-3001.dcm"):
        picture(root / "images" / "images_normalized" / f"{name}.png")
    reports = {"uid": [1, 2], "MeSH": "x", "Problems": ["normal", "Nodule;Scar"], "findings": ["Clear.", ""]}
    pd.DataFrame({**reports, "impression": ["Normal XXXX chest.", ""]}).to_csv(
        root / "indiana_reports.csv", index=False
    )
    shown = {"uid": [1, 1, 2], "filename": ["1_IM-0001-4001.dcm.png", "1_IM-0001-3001.dcm.png", "2.dcm.png"]}
    views = pd.DataFrame({**shown, "projection": ["Frontal", "Lateral", "Frontal"]})
    views.to_csv(root / "indiana_projections.csv", index=False)
    rows = table(iu_xray.prepare(root, tmp_path / "m.csv"))
    assert list(rows["xray.view"]) == ["frontal", "lateral"]
    assert set(rows["text"]) == {"Clear. Normal chest."}
    assert len(table(iu_xray.prepare(root, tmp_path / "m.csv", views="frontal"))) == 1
    views.assign(projection="Oblique").to_csv(root / "indiana_projections.csv", index=False)
    with pytest.raises(ReadError, match="projection 'oblique' is not"):
        iu_xray.prepare(root, tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("<eCitation>", r"1\.xml: is no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares entities"),
    ],
)
def test_iu_xray_refusals(content: str, says: str, tmp_path: Path) -> None:
    root = openi(tmp_path / "r")
    (root / "ecgen-radiology" / "1.xml").write_text(content)
    with pytest.raises(ReadError, match=says):
        iu_xray.prepare(root, tmp_path / "m.csv")
    with pytest.raises(ReadError, match="holds neither"):
        iu_xray.prepare(root / "png", tmp_path / "m.csv")
    for options in ({"text": "all"}, {"views": "oblique"}, {"seed": "x"}):
        with pytest.raises(RecipeError):
            iu_xray.prepare(root, tmp_path / "m.csv", **options)
