"""`modalign data simulate`: manifests, sensors on skeletons, the plot, and mistakes as one message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modalign.datasets.simulate.motion import simulate_motion
from modalign.modalities import get_modality
from tests.cli.test_cli import invoke

simulate = ("data", "simulate")


def test_motion(tmp_path: Path) -> None:
    arguments = ["--count", 2, "--seed", 4, "--place", "chest", "--activity", "sitting", "--seconds", 2, "--rate", 20]
    code, output = invoke(*simulate, "motion", "--out", tmp_path / "s", *arguments)
    assert code == 0, output
    table = pd.read_csv(tmp_path / "s" / "manifest.csv")
    assert table["label"].tolist() == ["sitting"] * 2
    assert table["motion.location"].tolist() == ["chest"] * 2
    assert np.load(tmp_path / "s" / table["motion"][0], allow_pickle=False).shape == (40, 6)
    assert invoke(*simulate, "motion", "--out", tmp_path / "s", *arguments)[0] == 2
    code, output = invoke(*simulate, "motion", "--out", tmp_path / "t", "--count", 1, "--place", "chst")
    assert (code, "did you mean 'chest'" in output) == (2, True)


def test_skeleton(tmp_path: Path, real_data: Path) -> None:
    root = real_data / "mocap_cmu15" / "02"
    arguments = ["--joint", "left_wrist", "--cutoff", 15, "--out", tmp_path / "w.parquet"]
    code, output = invoke(*simulate, "skeleton", root / "02_01.amc.gz", "--skeleton", root / "02.asf", *arguments)
    assert code == 0, output
    motion = get_modality("motion")
    signal = motion.load(tmp_path / "w.parquet", rate=50, unit="m/s2", gyro_unit="rad/s")
    assert signal.channels[0] == "left_wrist/acc_x"
    assert signal.data.shape == (6, 143)
    assert signal.data[:3].norm(dim=0).mean() == pytest.approx(11, abs=2)


def test_skeleton_of_positions(tmp_path: Path) -> None:
    clip = simulate_motion("walking", 0, seconds=2).clip
    from modalign.modalities.motion.skeleton import HUMANML3D, JOINTS

    order = [JOINTS.index(name) for name in HUMANML3D]
    y_up = clip.positions[:, order][..., [0, 2, 1]] * [1, 1, -1]
    np.save(tmp_path / "p.npy", y_up)
    arguments = ["--frames", 200, "--joint", "chest", "--rate", 100, "--out", tmp_path / "p.parquet"]
    code, output = invoke(*simulate, "skeleton", tmp_path / "p.npy", *arguments)
    assert code == 0, output
    up = pd.read_parquet(tmp_path / "p.parquet")["chest/acc_z"]
    assert up.mean() == pytest.approx(9.6, abs=0.4)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("a.bvh", [], "--scale is missing"),
        ("a.amc", [], "--skeleton is missing"),
        ("a.npy", [], "--frames is missing"),
        ("a.npy", ["--frames", "20"], "not a readable .npy"),
        ("a.fbx", [], "is no .bvh, .amc or .npy"),
    ],
)
def test_skeleton_refuses(name: str, options: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    code, output = invoke(*simulate, "skeleton", tmp_path / name, *options, "--out", tmp_path / "o.parquet")
    assert (code, says in output) == (2, True), output
    code, output = invoke(*simulate, "skeleton", tmp_path / name, "--out", tmp_path / "o.csv")
    assert (code, "is written as .parquet" in output) == (2, True)


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = []
    for row, label in enumerate(["jogging", "juggling"]):
        signal = simulate_motion("running", 9, row=row, seconds=6).signal
        pd.DataFrame(signal.data.numpy().T, columns=list(signal.channels)).to_parquet(tmp_path / f"{row}.parquet")
        rows.append({"id": row, "label": label, "motion": f"{row}.parquet", "motion.rate": 50})
    table = pd.DataFrame(rows).assign(**{"motion.unit": "m/s2", "motion.gyro_unit": "rad/s"})
    table.to_csv(tmp_path / "m.csv", index=False)
    arguments = ["--out", tmp_path / "b.png", "--each", 2, "--split", "all"]
    code, output = invoke(*simulate, "plot", "--real", tmp_path / "m.csv", *arguments)
    assert code == 0, output
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_ecg(tmp_path: Path) -> None:
    arguments = ["--number", 2, "--seed", 4, "--finding", "atrial fibrillation", "--rate", 100, "--noise", 0]
    code, output = invoke(*simulate, "ecg", "--out", tmp_path / "e", *arguments, "--seconds", 8)
    assert code == 0, output
    assert "synthetic" in output
    table = pd.read_csv(tmp_path / "e" / "manifest.csv")
    assert table["labels"].str.startswith("atrial fibrillation").all()
    assert np.load(tmp_path / "e" / table["ecg"][0], allow_pickle=False).shape == (12, 800)
    assert invoke(*simulate, "ecg", "--out", tmp_path / "e", *arguments)[0] == 2
    code, output = invoke(*simulate, "ecg", "--out", tmp_path / "t", "--number", 1, "--finding", "atrial flter")
    assert (code, "did you mean 'atrial flutter'" in output) == (2, True)
