"""The .ts format: what is read, what is refused, and a manifest that the motion modality can use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modalign.align.manifest import read_manifest
from modalign.datasets.uea_ts import prepare, read_ts
from modalign.errors import ReadError, RecipeError
from modalign.modalities import get_modality

HEAD = """#The first line is a comment
@problemName Waves
@timeStamps false
@missing false
@univariate false
@dimensions 3
@equalLength true
@seriesLength 4
@classLabel true still moving
@data
"""
CASE = "0,0,0,0:0,0.1,0,0:1,1,1.5,1:{}\n"
SAID = {"rate": "10", "columns": "acc_x,acc_y,acc_z", "unit": "g"}


def write(folder: Path, name: str = "Waves", train: str = "", test: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    body = "".join(CASE.format(label) for label in ("still", "moving") * 6)
    (folder / f"{name}_TRAIN.ts").write_text(train or HEAD + body)
    (folder / f"{name}_TEST.ts").write_text(test or HEAD + CASE.format("moving"))
    return folder


def test_cases(tmp_path: Path) -> None:
    cases = read_ts(write(tmp_path / "r") / "Waves_TRAIN.ts")
    assert len(cases) == 12
    assert (cases[1].label, cases[1].data.shape) == ("moving", (4, 3))
    np.testing.assert_allclose(cases[0].data[2], [0, 0, 1.5])


def test_one_dimension_without_classes_and_of_unequal_length(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_text("@univariate true\n@classLabel false\n@DATA\n1,2,3\n\n4e-1,-5\n")
    cases = read_ts(path)
    assert [case.data.shape for case in cases] == [(3, 1), (2, 1)]
    assert cases[1].label == ""


def test_a_manifest_that_motion_reads(tmp_path: Path) -> None:
    motion = get_modality("motion")
    manifest = read_manifest(prepare(write(tmp_path / "r"), tmp_path / "m.csv", **SAID), {"motion": motion})
    counts = {split: sum(row.split == split for row in manifest.rows) for split in ("train", "val", "test")}
    assert counts == {"train": 10, "val": 2, "test": 1}
    assert {row.labels[0] for row in manifest.rows if row.split == "val"} == {"still", "moving"}
    signal = motion.load(manifest.rows[0].sources["motion"], **manifest.rows[0].fields["motion"])
    assert signal.rate == 10
    assert signal.data[2, 2].item() == pytest.approx(1.5 * 9.80665)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("@timeStamps false", "@timeStamps true", "with time stamps are not read"),
        ("@classLabel true still moving\n", "@targetLabel true\n", "for regression"),
        ("@classLabel true still moving\n", "", "has no @classLabel"),
        ("@data", "data", r"line 10: 'data' stands before @data"),
        ("0,0,0,0:0,0.1,0,0:1,1,1.5,1:moving", "0,0,0,0:0,0.1,0,0:1,1,1.5,1:flying", "line 12: class 'flying'"),
        ("0,0,0,0:0,0.1,0,0:1,1,1.5,1:moving", "0,0,0:0,0.1,0,0:1,1,1.5,1:moving", r"line 12: .*\[3, 4\] values"),
        ("0,0,0,0:0,0.1,0,0:1,1,1.5,1:moving", "0,0,0,0:0,0.1,0,0:moving", "has 2 dimensions, and the header says 3"),
        ("0,0,0,0:0,0.1,0,0:1,1,1.5,1:moving", "0,?,0,0:0,0.1,0,0:1,1,1.5,1:moving", "1 values are missing"),
        ("0,0,0,0:0,0.1,0,0:1,1,1.5,1:moving", "0,x,0,0:0,0.1,0,0:1,1,1.5,1:moving", "could not convert"),
    ],
)
def test_lines_that_are_refused(old: str, new: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "r") / "Waves_TRAIN.ts"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ReadError, match=says):
        read_ts(path)


def test_what_the_user_must_say(tmp_path: Path) -> None:
    root, out = write(tmp_path / "r"), tmp_path / "m.csv"
    for options, says in (
        ({}, "pass --option rate=HZ"),
        ({"rate": "fast"}, "rate=fast"),
        ({**SAID, "unit": "mg"}, "motion.unit"),
        ({**SAID, "leads": "I"}, "motion.leads is not a field"),
        ({**SAID, "name": "Wave"}, "did you mean 'Waves'"),
        ({**SAID, "modality": "moton"}, "did you mean 'motion'"),
    ):
        with pytest.raises(RecipeError, match=says):
            prepare(root, out, **options)
    write(root, "Other")
    with pytest.raises(RecipeError, match=r"several data sets.*Other, Waves"):
        prepare(root, out, **SAID)
    assert prepare(root, out, name="Other", **SAID).is_file()
    (root / "Other_TEST.ts").write_text(HEAD)
    with pytest.raises(ReadError, match="holds no case"):
        prepare(root, out, name="Other", **SAID)
    with pytest.raises(ReadError, match="holds no NAME_TRAIN"):
        prepare(tmp_path / "absent", out, **SAID)


def test_a_byte_order_mark_and_tabs_in_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    text = (HEAD + CASE.format("still")).replace("@dimensions 3", "@dimensions\t3").replace("l true s", "l\ttrue\ts")
    path.write_text(text, encoding="utf-8-sig")
    assert [(case.label, case.data.shape) for case in read_ts(path)] == [("still", (4, 3))]
    path.write_text(text.replace("0:0,0.1", "0:0,inf") + CASE.format("still").replace("1.5", "inf"))
    with pytest.raises(ReadError, match=r"line 11: a value is not finite"):
        read_ts(path)
