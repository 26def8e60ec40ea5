"""Motion data sets: on real files, else on small trees of the same shape."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modalign.align.manifest import Manifest, read_manifest
from modalign.datasets import cmu_mocap, hapt, motionsense, pamap2, shoulder_exercises, uci_har, wisdm
from modalign.datasets.motion_windows import bridge, held_out_people, windows
from modalign.errors import ReadError, RecipeError
from modalign.modalities import get_modality

MOTION = get_modality("motion")
G = 9.80665


def read(path: Path) -> Manifest:
    return read_manifest(path, {"motion": MOTION, "text": get_modality("text")})


def load(manifest: Manifest, at: int = 0) -> Any:
    row = manifest.rows[at]
    return MOTION.load(row.sources["motion"], **row.fields["motion"])


def splits(manifest: Manifest) -> dict[str, set[str]]:
    return {s: {r.group for r in manifest.rows if r.split == s} for s in ("train", "val", "test")}


def text(path: Path, rows: Any, form: str = "%.7e") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.asarray(rows), fmt=form)


# ---------------------------------------------------------------------------------------------- MotionSense


def test_motionsense_on_the_real_recordings(real_data: Path, tmp_path: Path) -> None:
    manifest = read(motionsense.prepare(real_data / "imu_motionsense", tmp_path / "m.csv", hop="2.56"))
    assert len({row.cluster for row in manifest.rows}) == 144
    assert manifest.labels == sorted(motionsense.LABELS.values())
    assert splits(manifest)["test"] == {f"person-{p}" for p in range(19, 25)}
    assert splits(manifest)["val"] == {f"person-{p}" for p in range(16, 19)}
    assert not manifest.official_split
    still = next(i for i, row in enumerate(manifest.rows) if row.labels == ("standing",))
    signal = load(manifest, still)
    assert tuple(signal.data.shape) == (6, 128)
    assert signal.rate == 50
    source = pd.read_csv(manifest.rows[still].sources["motion"])
    felt = -G * (source["gravity.y"][0] + source["userAcceleration.y"][0])
    assert signal.data[1, 0].item() == pytest.approx(felt, rel=1e-5)
    assert signal.data[:3].mean(1).norm().item() == pytest.approx(G, rel=0.02), "at rest, one g is felt"
    assert set(manifest.descriptions) == set(manifest.labels)


def test_motionsense_options_and_refusals(real_data: Path, tmp_path: Path) -> None:
    root, out = real_data / "imu_motionsense", tmp_path / "m.csv"
    few = read(motionsense.prepare(root, out, window="5", hop="5", test="1", val="2"))
    assert splits(few)["test"] == {"person-01"}
    assert tuple(load(few).data.shape) == (6, 250)
    for options, says in (
        ({"window": "0"}, "window=0"),
        ({"test": "1-3", "val": "3"}, "person 3 is in test too"),
        ({"val": "a"}, "lists people"),
        ({"test": "119-124"}, "none of these people is in the data"),
    ):
        with pytest.raises(RecipeError, match=says):
            motionsense.prepare(root, out, **options)
    with pytest.raises(ReadError, match="no recording"):
        motionsense.prepare(tmp_path, out)
    bad = tmp_path / "xyz_1"
    bad.mkdir()
    (bad / "sub_1.csv").touch()
    with pytest.raises(ReadError, match="is not in a folder such as"):
        motionsense.prepare(tmp_path, out)
    (tmp_path / "wlk_1").mkdir()
    bad.joinpath("sub_1.csv").rename(tmp_path / "wlk_1" / "sub_1.csv.gz")
    (tmp_path / "wlk_1" / "sub_1.csv.gz").write_bytes(gzip.compress(b"a\n" * 99)[:20])
    with pytest.raises(ReadError, match=r"sub_1\.csv\.gz: cannot be read"):
        motionsense.prepare(tmp_path, out)


# ---------------------------------------------------------------------------------------------- UCI HAR and HAPT


def har_tree(root: Path) -> Path:
    """Three windows a person: people 1, 3 and 27 train, 2 test; each sample says its person, window and channel."""
    generator = np.random.default_rng(0)
    folder = root / "UCI HAR Dataset"
    for part, people in (("train", [1, 1, 1, 3, 3, 3, 27, 27, 27]), ("test", [2, 2, 2])):
        text(folder / part / f"subject_{part}.txt", people, "%d")
        text(folder / part / f"y_{part}.txt", [1, 1, 5] * (len(people) // 3), "%d")
        for c, name in enumerate(uci_har.SIGNALS):
            base = np.array(people)[:, None] / 100 + np.arange(len(people))[:, None] / 10 + c
            plane = (0.1 * base if c < 3 else base) + 1e-3 * generator.normal(size=(len(people), 128))
            text(folder / part / "Inertial Signals" / f"{name}_{part}.txt", plane)
    return root


def test_uci_har(tmp_path: Path) -> None:
    path = uci_har.prepare(har_tree(tmp_path / "root"), tmp_path / "m.csv", val="27")
    manifest = read(path)
    assert splits(manifest) == {"train": {"person-01", "person-03"}, "val": {"person-27"}, "test": {"person-02"}}
    assert [row.labels[0] for row in manifest.rows[:3]] == ["walking", "walking", "standing"]
    assert manifest.rows[0].cluster == manifest.rows[1].cluster != manifest.rows[2].cluster
    signal = load(manifest, 4)  # the second window of person 3
    assert tuple(signal.data.shape) == (6, 128)
    assert signal.data[1].mean().item() == pytest.approx(0.1 * G * (0.03 + 0.4 + 1), rel=1e-2)
    assert signal.data[4].mean().item() == pytest.approx(0.03 + 0.4 + 4, rel=1e-2)


def test_uci_har_refusals(tmp_path: Path) -> None:
    root, out = har_tree(tmp_path / "root"), tmp_path / "m.csv"
    with pytest.raises(RecipeError, match="person 9 is not in the official train part"):
        uci_har.prepare(root, out, val="9")
    with pytest.raises(ReadError, match="holds no train/Inertial Signals"):
        uci_har.prepare(tmp_path / "absent", out)
    train = root / "UCI HAR Dataset" / "train"
    text(train / "y_train.txt", [1] * 8, "%d")
    with pytest.raises(ReadError, match="need one a window"):
        uci_har.prepare(root, out, val="27")
    text(train / "y_train.txt", [7] * 9, "%d")
    with pytest.raises(ReadError, match="label 7 is not from 1 to 6"):
        uci_har.prepare(root, out, val="27")
    text(train / "Inertial Signals" / "body_gyro_z_train.txt", np.zeros((9, 100)))
    with pytest.raises(ReadError, match="has 100 columns, not 128"):
        uci_har.prepare(root, out, val="27")
    (train / "Inertial Signals" / "body_gyro_z_train.txt").write_text("1 2 x\n")
    with pytest.raises(ReadError, match="not numbers between blanks"):
        uci_har.prepare(root, out, val="27")


def hapt_tree(root: Path) -> Path:
    """Three experiments of 20 s: walking for 10 s, sitting down for 1 s, sitting to the end."""
    folder = root / "RawData"
    for experiment, person in ((1, 1), (2, 2), (3, 3)):
        ramp = np.arange(1000)[:, None] / 1000 + np.array([0.0, 0.1, 0.2])
        text(folder / f"acc_exp{experiment:02d}_user{person:02d}.txt", ramp)
        text(folder / f"gyro_exp{experiment:02d}_user{person:02d}.txt", ramp - experiment)
    labels = [
        [e, p, a, b, c] for e, p in ((1, 1), (2, 2), (3, 3)) for a, b, c in ((1, 1, 500), (7, 501, 550), (4, 551, 1000))
    ]
    text(folder / "labels.txt", labels, "%d")
    return root


def test_hapt(tmp_path: Path) -> None:
    root = hapt_tree(tmp_path / "root")
    manifest = read(hapt.prepare(root, tmp_path / "m.csv", val="3"))
    assert splits(manifest) == {"train": {"person-01"}, "val": {"person-03"}, "test": {"person-02"}}
    assert manifest.labels == ["sitting", "walking"]
    assert max(row.fields["motion"]["end"] for row in manifest.rows if row.labels == ("walking",)) <= 10
    first = next(i for i, row in enumerate(manifest.rows) if row.labels == ("sitting",))
    signal = load(manifest, first)  # begins with sample 551, counted from 1
    assert tuple(signal.data.shape) == (6, 128)
    assert signal.data[0, 0].item() == pytest.approx(G * 0.550, rel=1e-4)
    assert signal.data[3, 0].item() == pytest.approx(0.550 - 1, rel=1e-4)
    every = read(hapt.prepare(root, tmp_path / "m.csv", val="3", activities="all"))
    between = [row for row in every.rows if row.labels == ("standing to sitting",)]
    assert len(between) == 3, "shorter than a window: the one around its middle"
    assert between[0].fields["motion"]["start"] == pytest.approx(10.5 - 1.28)


def test_hapt_refusals(tmp_path: Path) -> None:
    root, out = hapt_tree(tmp_path / "root"), tmp_path / "m.csv"
    with pytest.raises(RecipeError, match="activities=some"):
        hapt.prepare(root, out, activities="some")
    with pytest.raises(ReadError, match=r"holds no labels\.txt"):
        hapt.prepare(tmp_path / "absent", out)
    text(root / "RawData" / "gyro_exp01_user01.txt", np.zeros((999, 3)))
    with pytest.raises(ReadError, match="1000 rows, and its gyroscope 999"):
        hapt.prepare(root, out, val="3")
    text(root / "RawData" / "gyro_exp01_user01.txt", np.zeros((1000, 3)))
    with pytest.raises(RecipeError, match=r"val=9: none of these people is in the data \(who is: 1, 2, 3\)"):
        hapt.prepare(root, out, test="2", val="9")
    for row, says in (([4, 1, 1, 1, 500], "row 1: no experiment 4"), ([1, 1, 1, 900, 1001], "samples 900 to 1001")):
        text(root / "RawData" / "labels.txt", [row, [2, 2, 1, 1, 500], [3, 3, 1, 1, 500]], "%d")
        with pytest.raises(ReadError, match=says):
            hapt.prepare(root, out, val="3")


# ---------------------------------------------------------------------------------------------- WISDM


def wisdm_tree(root: Path, step: float = 0.05e9) -> Path:
    """Three people walk for 30 s; the gyroscope has a hole of 2 s, and a clock that is 10 ms off."""
    for person in (1600, 1636, 1641):
        for sensor, offset in (("accel", 0.0), ("gyro", 0.01e9)):
            stamps = 5e13 + offset + step * np.arange(600)
            lines = [
                f"{person},A,{stamp:.0f},{(stamp - 5e13) * 1e-9},{person - 1600},9.8;"
                for k, stamp in enumerate(stamps)
                if not (sensor == "gyro" and 200 <= k < 240)
            ]
            path = root / "wisdm-dataset" / "raw" / "watch" / sensor / f"data_{person}_{sensor}_watch.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([*lines, lines[-1]]) + "\n")  # a doubled line, as there are some
    return root


def test_wisdm(tmp_path: Path) -> None:
    manifest = read(wisdm.prepare(wisdm_tree(tmp_path / "root"), tmp_path / "m.csv"))
    assert splits(manifest) == {"train": {"person-1600"}, "val": {"person-1636"}, "test": {"person-1641"}}
    assert {row.labels for row in manifest.rows} == {("walking",)}
    assert len({row.cluster for row in manifest.rows}) == 6, "the hole cuts each recording in two"
    signal = load(manifest)
    assert signal.rate == 20
    assert tuple(signal.data.shape) == (6, 100)
    # x is the time of each sensor's own sample: on one grid, both tell the same time.
    assert (signal.data[0] - signal.data[3]).abs().max().item() < 1e-3
    assert signal.data[0, 0].item() == pytest.approx(0.01, abs=1e-3)
    accel = read(wisdm.prepare(tmp_path / "root", tmp_path / "a.csv", sensors="accel"))
    assert len({row.cluster for row in accel.rows}) == 3
    assert tuple(load(accel).data.shape) == (3, 100)


def test_wisdm_refusals(tmp_path: Path) -> None:
    root, out = wisdm_tree(tmp_path / "root"), tmp_path / "m.csv"
    for options, says in (({"device": "ring"}, "device=ring"), ({"sensors": "gyro"}, "sensors=gyro")):
        with pytest.raises(RecipeError, match=says):
            wisdm.prepare(root, out, **options)
    with pytest.raises(ReadError, match=r"holds no accel/data_\*\.txt"):
        wisdm.prepare(root, out, device="phone")
    gyro = root / "wisdm-dataset" / "raw" / "watch" / "gyro" / "data_1600_gyro_watch.txt"
    whole = gyro.read_text()
    for content, says in (
        (whole + "1600,A,5", "a line is cut"),
        (whole.replace("1600,A", "1601,A", 1), "is not of person 1600"),
        (whole.replace("A,", "N,"), "activity 'N'"),
        (whole.replace(",0.", ",x.", 1), "not lines of person"),
    ):
        gyro.write_text(content)
        with pytest.raises(ReadError, match=says):
            wisdm.prepare(root, out)
    gyro.unlink()
    with pytest.raises(ReadError, match="sensors=accel"):
        wisdm.prepare(root, out)
    with pytest.raises(ReadError, match="the stamps are not nanoseconds"):
        wisdm.prepare(wisdm_tree(tmp_path / "ms", step=50.0), out)


# ---------------------------------------------------------------------------------------------- PAMAP2


def pamap2_tree(root: Path) -> Path:
    """Three people: 3 s of nothing, 15 s of lying with a short and a long loss, 8 s of climbing."""
    for person in (101, 105, 106):
        table = np.full((2600, pamap2.COLUMNS), 0.0)
        table[:, 0] = np.arange(2600) / 100
        table[:, 1] = np.repeat([0, 1, 12], [300, 1500, 800])
        table[:, 2] = np.nan  # the heart rate comes more slowly
        for at in pamap2.PLACES.values():
            table[:, at + 1 : at + 4] = at + np.arange(2600)[:, None] / 1000
            table[:, at + 4 : at + 7] = 99  # the accelerometer of 6 g
            table[:, at + 7 : at + 10] = -1.0
        table[400:405, 4:7] = np.nan
        table[1000:1100, 4:7] = np.nan
        text(root / "PAMAP2_Dataset" / "Protocol" / f"subject{person}.dat", table, "%.6g")
    return root


def test_pamap2(tmp_path: Path) -> None:
    root = pamap2_tree(tmp_path / "root")
    manifest = read(pamap2.prepare(root, tmp_path / "m.csv", window="2", hop="2"))
    assert splits(manifest) == {"train": {"subject-101"}, "val": {"subject-105"}, "test": {"subject-106"}}
    assert manifest.labels == ["lying", "walking upstairs"], "what is between activities is left out"
    assert len({row.cluster for row in manifest.rows}) == 9, "a long loss cuts, a short one is bridged"
    signal = load(manifest)
    assert tuple(signal.data.shape) == (18, 200)
    assert signal.channels[:2] == ("ankle/acc_x", "ankle/acc_y")
    hand = signal.channels.index("hand/acc_x")
    assert signal.data[hand].numpy() == pytest.approx(3 + (300 + np.arange(200)) / 1000, abs=1e-4)
    one = read(pamap2.prepare(root, tmp_path / "o.csv", place="chest", window="2"))
    assert load(one).channels == ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
    assert load(one).meta["location"] == "chest"
    assert len({row.cluster for row in one.rows}) == 6, "the chest lost nothing"


def test_pamap2_refusals(tmp_path: Path) -> None:
    root, out = pamap2_tree(tmp_path / "root"), tmp_path / "m.csv"
    for options, says in (
        ({"place": "head"}, "place=head"), ({"part": "some"}, "part=some"), ({"test": "6"}, "none of these people"),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match=says):
            pamap2.prepare(root, out, **options)
    with pytest.raises(ReadError, match="holds no Protocol"):
        pamap2.prepare(tmp_path / "absent", out)
    path = root / "PAMAP2_Dataset" / "Protocol" / "subject101.dat"
    table = np.zeros((5, 54))
    table[2, 1] = 8
    text(path, table)
    with pytest.raises(ReadError, match=r"activity 8\.0 is not known"):
        pamap2.prepare(root, out)
    text(path, table[:, :53])
    with pytest.raises(ReadError, match="has 53 columns, not 54"):
        pamap2.prepare(root, out)
    path.rename(path.with_name("person.dat"))
    with pytest.raises(ReadError, match="is not named subjectNNN"):
        pamap2.prepare(root, out)


# ---------------------------------------------------------------------------------------------- seglearn, CMU mocap


def test_seglearn_needs_no_root(tmp_path: Path) -> None:
    from modalign.datasets.registry import prepare

    manifest = read(prepare("seglearn", None, tmp_path / "m.csv", {"margin": "0"}))
    assert len({row.cluster for row in manifest.rows}) == 140
    assert manifest.labels == sorted(shoulder_exercises.LABELS.values())
    assert tuple(load(manifest).data.shape) == (6, 100)
    with pytest.raises(RecipeError, match="window=no"):
        prepare("seglearn", None, tmp_path / "m.csv", {"window": "no"})
    with pytest.raises(ReadError, match="no such file"):
        prepare("seglearn", tmp_path, tmp_path / "m.csv")


def test_cmu_mocap_on_the_real_clips(real_data: Path, tmp_path: Path) -> None:
    table = pd.read_csv(cmu_mocap.prepare(real_data / "mocap_cmu15", tmp_path / "m.csv"), dtype=str)
    assert len(table) == 15
    assert set(table["group"]) == {"subject-001", "subject-002", "subject-003"}
    first = table.set_index("id").loc["01_01"]
    assert first["text"] == "playground - forward jumps, turn around"
    assert (first["label"], first["motion"], first["skeleton"]) == ("playground", "01/01_01.amc.gz", "01/01.asf")
    assert table.groupby("group")["split"].nunique().max() == 1


def test_cmu_mocap_with_the_owners_index(tmp_path: Path) -> None:
    root = tmp_path / "root" / "subjects" / "07"
    root.mkdir(parents=True)
    for name in ("07.asf", "07_01.amc", "07_02.amc"):
        (root / name).touch()
    index = "Subject #7 (walk)\n07_01\twalk\n07_02.amc   slow walk - stop\n99_01 other\n"
    (tmp_path / "root" / "cmu-mocap-index-text.txt").write_text(index)
    table = pd.read_csv(cmu_mocap.prepare(tmp_path / "root", tmp_path / "m.csv", split="none"), dtype=str)
    assert list(table["text"]) == ["walk", "slow walk - stop"]
    assert list(table["split"].fillna("")) == ["", ""]
    (root / "07.asf").unlink()
    with pytest.raises(ReadError, match=r"the skeleton 07\.asf is nowhere"):
        cmu_mocap.prepare(tmp_path / "root", tmp_path / "m.csv")
    (root / "walk.amc").touch()
    (root / "07_01.amc").unlink()
    (root / "07_02.amc").unlink()
    with pytest.raises(ReadError, match="is not named SUBJECT_CLIP"):
        cmu_mocap.prepare(tmp_path / "root", tmp_path / "m.csv")


# ---------------------------------------------------------------------------------------------- what they share


@pytest.mark.parametrize(
    ("span", "expected"),
    [((0, 5, 2, 2), [(0, 2), (2, 4)]), ((1, 2.9, 2, 1), []), ((0, 2, 2, 1), [(0, 2)]), ((0, 0.3, 0.1, 0.1), 3)],
)
def test_windows_are_whole(span: tuple[float, ...], expected: Any) -> None:
    found = windows(*span)  # type: ignore[call-arg]
    assert (len(found) if isinstance(expected, int) else found) == expected


def test_bridge() -> None:
    data = np.array([[np.nan], [0], [np.nan], [2], [np.nan], [np.nan], [5], [np.nan]])
    pieces = bridge(data, 1)
    assert [(first, last, part[:, 0].tolist()) for first, last, part in pieces] == [(1, 4, [0, 1, 2]), (6, 7, [5])]
    assert bridge(data[:1], 1) == []


@pytest.mark.parametrize("bad", ["", "x", "1-", "3-a", "24-19"])
def test_people_that_are_no_numbers(bad: str) -> None:
    with pytest.raises(RecipeError, match="lists people"):
        held_out_people(bad, "1")
    check: Callable[..., Any] = held_out_people
    assert check("2-3", "1,5") == {"test": [2, 3], "val": [1, 5]}
