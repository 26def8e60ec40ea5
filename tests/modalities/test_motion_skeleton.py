"""Skeleton files and joint positions: what is read, that errors name the line, and CMU's real clips."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modalign.errors import ReadError
from modalign.modalities.motion.skeleton import (
    HUMANML3D,
    JOINTS,
    PARENTS,
    clip_from_positions,
    clip_to_imu,
    read_amc,
    read_asf,
    read_bvh,
)
from modalign.modalities.motion.skeleton.joints import BVH, find_joints
from modalign.modalities.motion.skeleton.rotations import about

BVH_TEXT = """HIERARCHY
ROOT Hips
{
  OFFSET 1 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Spine
  {
    OFFSET 0 10 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 5 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0083333
0 100 0 0 0 0 0 0 0
2 100 0 90 0 0 0 90 0
"""
ASF_TEXT = """# a comment
:units
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
:bonedata
  begin
    id 1
    name upper
    direction 0 -2 0
    length 9
    axis 0 0 90 XYZ
    dof rx
  end
  begin
    name lower
    direction 0 -1 0
    length 4.5
    axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root upper
    upper lower
  end
"""
AMC_TEXT = ":FULLY-SPECIFIED\n:DEGREES\n1\nroot 0 45 0 0 0 0\nupper 0\n2\nroot 0 45 0 0 0 0\nupper 90\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["a.bvh", "a.bvh.gz"])
def test_bvh(name: str, tmp_path: Path) -> None:
    clip = read_bvh(written(tmp_path, name, BVH_TEXT), scale=0.01)
    assert clip.joints == ("Hips", "Spine", "Spine_end")
    assert clip.parents == (-1, 0, 1)
    assert clip.rate == 120
    # y up becomes z up: (x, y, z) -> (x, -z, y)
    assert np.allclose(clip.positions[0], [[0.01, 0, 1], [0.01, 0, 1.1], [0.01, 0, 1.15]])
    # A quarter turn about z lays the spine along -x; then about its own x it points to where z was: backwards in y.
    assert np.allclose(clip.positions[1], [[0.03, 0, 1], [-0.07, 0, 1], [-0.07, -0.05, 1]])
    assert np.allclose(clip.rotations[1, 1] @ [0, 0, 1], [0, -1, 0])
    assert np.allclose(
        read_bvh(written(tmp_path, name, BVH_TEXT), scale=0.01, up="z").positions[0, 1], [0.01, 0.1 + 1, 0]
    )


def test_a_joint_below_the_root_with_its_whole_translation(tmp_path: Path) -> None:
    text = BVH_TEXT.replace("CHANNELS 3 Zrot", "CHANNELS 6 Xposition Yposition Zposition Zrot")
    text = text.replace("0 100 0 0 0 0 0 0 0", "0 100 0 0 0 0 0 10 0 0 0 0").replace(
        "90 0 0 0 90 0", "90 0 0 0 10 0 0 90 0"
    )
    assert np.allclose(
        read_bvh(written(tmp_path, "a.bvh", text), scale=0.01).positions,
        read_bvh(written(tmp_path, "b.bvh", BVH_TEXT), scale=0.01).positions,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("HIERARCHY", "HIERACHY", "line 1: .*begins with HIERARCHY"),
        ("OFFSET 0 10 0", "OFFSET 0 ten 0", "line 8: OFFSET: 'ten' is not a number"),
        ("CHANNELS 3 Z", "CHANNELS 4 Z", "line 9: CHANNELS says 4 names and has 3"),
        ("Zrotation Xrotation Yrotation\n    End", "Zrot Xrotation Yrotation\n    End", "line 9: the channel 'zrot'"),
        ("JOINT Spine", "JOINT Hips", "line 6: a joint's name"),
        ("0 100 0 0 0 0 0 0 0", "0 100 0 0 0 0 0 0", "line 19: frame 1 has 8 numbers and must have 9"),
        ("0 100 0 0 0 0 0 0 0", "0 100 0 0 nan 0 0 0 0", "line 19: .*not finite"),
        ("Frames: 2", "Frames: 3", "line 20: the file ends here, where frame 3 of 3"),
        ("Frames: 2", "Frames: 1", "line 20: more rows than the 1"),
        ("Frame Time: 0.0083333", "Frame Time: 0", "line 18: 2 frames of 0.0 s"),
        ("Frame Time: 0.0083333", "Frame Time: 1e-320", "line 18: 2 frames of"),
        ("MOTION", "MOVE", "line 16: MOTION must follow"),
    ],
)
def test_bvh_errors_name_the_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in BVH_TEXT
    with pytest.raises(ReadError, match=message) as caught:
        read_bvh(written(tmp_path, "walk.bvh", BVH_TEXT.replace(old, new, 1)), scale=0.01)
    assert "walk.bvh" in str(caught.value)


def test_end_sites_in_any_case_and_several_of_a_joint(tmp_path: Path) -> None:
    one = "    End Site\n    {\n      OFFSET 0 5 0\n    }\n"
    text = BVH_TEXT.replace(one, one.replace("End Site", "End site") + one.replace("End Site", "END SITE"))
    assert read_bvh(written(tmp_path, "a.bvh", text), scale=0.01).joints == ("Hips", "Spine", "Spine_end", "Spine_end2")


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02"])
def test_a_file_that_is_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"a\.bvh"):
        read_bvh(path, scale=1)
    with pytest.raises(ReadError, match="no such file"):
        read_bvh(tmp_path / "b.bvh", scale=1)
    (tmp_path / "c.bvh.gz").write_bytes(b"not gzipped")
    with pytest.raises(ReadError, match="not readable"):
        read_bvh(tmp_path / "c.bvh.gz", scale=1)
    with pytest.raises(ReadError, match="scale"):
        read_bvh(path, scale=0)


def test_asf_and_amc(tmp_path: Path) -> None:
    asf, amc = written(tmp_path, "a.asf", ASF_TEXT), written(tmp_path, "a.amc.gz", AMC_TEXT)
    clip = read_amc(amc, asf, rate=60)
    assert clip.joints == ("root", "upper", "lower", "lower_end")
    inch = 0.0254
    assert np.allclose(clip.positions[0], np.array([[0, 0, 100], [0, 0, 100], [0, 0, 80], [0, 0, 70]]) * inch)
    # The bone's axis is turned by 90 degrees about z, so that its x is the world's y (here z): no bend, but a spin.
    assert np.allclose(clip.positions[1], clip.positions[0])
    assert np.allclose(clip.rotations[1, 1], about("z", np.pi / 2))
    bent = read_amc(amc, written(tmp_path, "b.asf", ASF_TEXT.replace("axis 0 0 90", "axis 0 0 0")), rate=60)
    # About x, which is to the left of who looks along z: the leg goes back, to -z, which is +y after the change.
    assert np.allclose(bent.positions[1, 2], np.array([0, 20, 100]) * inch)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("asf", "  length 0.45\n", "", ":units says no length"),
        ("asf", "    direction 0 -2 0", "    direction 0 0 0", "line 12: direction is not 0"),
        ("asf", "axis 0 0 90 XYZ", "axis 0 0 90", "line 14: axis has three angles"),
        ("asf", "dof rx", "dof rx l", "line 15: the degree of freedom 'l'"),
        ("asf", "upper lower", "upper lowr", "line 26: no bone 'lowr': did you mean 'lower'"),
        ("asf", "    upper lower\n", "", "'lower' does not hang"),
        ("asf", "name lower", "name upper", "line 22: the bone 'upper' is there twice"),
        ("asf", "order TX TY TZ RX RY RZ", "order RX RY RZ", "line 6: the root's order"),
        ("amc", "upper 90", "upper 90 1", "line 8: upper has 2 numbers and must have 1"),
        ("amc", "upper 90", "uper 90", "line 8: the skeleton has no moving bone 'uper'"),
        ("amc", "upper 0\n", "", "line 5: frame 1 ends before this line without the bone 'upper'"),
        ("amc", "upper 0\n", "upper 0\nupper 1\n", "line 6: 'upper' is there twice in frame 1"),
        ("amc", ":DEGREES", ":RADIANS", "line 2: says :RADIANS"),
        ("asf", "angle deg", "angle rad", "line 2: says :DEGREES, and the skeleton says radians"),
        ("amc", "\n2\n", "\n3\n", "line 6: frame 3 follows frame 1"),
        ("amc", "\n2\n", "\n1\n", "line 6: frame 1 follows frame 1"),
    ],
)
def test_acclaim_errors_name_the_line(file: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    texts = {"asf": ASF_TEXT, "amc": AMC_TEXT}
    assert old in texts[file]
    texts[file] = texts[file].replace(old, new, 1)
    with pytest.raises(ReadError, match=message) as caught:
        read_amc(written(tmp_path, "clip.amc", texts["amc"]), written(tmp_path, "clip.asf", texts["asf"]))
    assert ("clip.amc" if "says :DEG" in message else f"clip.{file}") in str(caught.value)


MIXAMO = [
    "mixamorig:Hips", *(f"mixamorig:{s}{j}" for s in ("Left", "Right") for j in (
        "UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand")),
    "mixamorig:Spine", "mixamorig:Spine1", "mixamorig:Spine2", "mixamorig:Neck", "mixamorig:Head",
]  # fmt: skip
BIOVISION = [
    "Hips", *(f"{s}{j}" for s in ("Left", "Right") for j in (
        "Hip", "Knee", "Ankle", "Ankle_end", "Collar", "Shoulder", "Elbow", "Wrist")),
    "Chest", "Chest2", "Chest3", "Neck", "Head",
]  # fmt: skip

CMU_BVH = [
    "Hips", *(f"{s}{j}" for s in ("Left", "Right") for j in (
        "UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand")),
    "LHipJoint", "RHipJoint", "LowerBack", "Spine", "Spine1", "Neck", "Neck1", "Head",
]  # fmt: skip
DAZ = [
    "hip", "abdomen", "chest", "neck", "head", *(f"{s}{j}" for s in ("l", "r") for j in (
        "Buttock", "Thigh", "Shin", "Foot", "Foot_end", "Collar", "Shldr", "ForeArm", "Hand")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (
            MIXAMO,
            {
                "left_shoulder": "mixamorig:LeftArm",
                "left_collar": "mixamorig:LeftShoulder",
                "chest": "mixamorig:Spine2",
            },
        ),
        (
            BIOVISION,
            {
                "left_shoulder": "LeftShoulder",
                "left_collar": "LeftCollar",
                "right_foot": "RightAnkle_end",
                "lower_spine": "Chest",
                "middle_spine": "Chest2",
                "chest": "Chest3",
            },
        ),
        (CMU_BVH, {"lower_spine": "LowerBack", "middle_spine": "Spine", "chest": "Spine1", "left_hip": "LeftUpLeg"}),
        (DAZ, {"lower_spine": "abdomen", "chest": "chest", "left_hip": "lThigh", "right_shoulder": "rShldr"}),
        (list(JOINTS), {joint: joint for joint in JOINTS}),
    ],
)
def test_joints_are_found_by_the_names_in_use(names: list[str], wanted: dict[str, str]) -> None:
    found = find_joints(names, "x.bvh")
    assert len(found) == 22
    for joint, name in wanted.items():
        assert names[found[JOINTS.index(joint)][0]] == name
    with pytest.raises(ReadError, match=r"x\.bvh: has no joint that is the head .*looked for head"):
        find_joints([name for name in names if not name.lower().endswith("head")], "x.bvh")


def test_the_joints() -> None:
    assert len(JOINTS) == len(PARENTS) == 22 == len(set(HUMANML3D))
    assert set(BVH) == set(JOINTS) == set(HUMANML3D)
    assert (JOINTS[11], JOINTS[17], JOINTS[21], JOINTS[5]) == ("chest", "left_wrist", "right_wrist", "right_hip")
    assert [PARENTS[j] for j in (1, 5, 9, 12, 14, 18)] == [0, 0, 0, 11, 11, 11]


def test_positions_alone() -> None:
    rng = np.random.default_rng(0)
    bones = rng.normal(size=(22, 3))
    places = np.zeros((30, 22, 3))
    turn = about("z", np.linspace(0, 2, 30)) @ about("x", np.linspace(0, 1, 30))
    for j in range(1, 22):
        places[:, j] = places[:, PARENTS[j]] + turn @ bones[j]
    clip = clip_from_positions(places, 20)
    assert np.allclose(clip.rotations @ clip.rotations.swapaxes(-1, -2), np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(clip.rotations), 1)
    # A body that turns as one turns each of its bones so (the pelvis exactly, being found from three bones).
    steps = clip.rotations[1:, 0] @ clip.rotations[:-1, 0].swapaxes(-1, -2)
    assert np.allclose(steps, turn[1:] @ turn[:-1].swapaxes(-1, -2), atol=1e-9)
    order = [JOINTS.index(name) for name in HUMANML3D]
    y_up = places[:, order] @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).T
    again = clip_from_positions(y_up, 20, order=HUMANML3D, up="y")
    assert np.allclose(again.positions, clip.positions)
    for wrong, message in (
        (places[:, :21], r"\(T, 22, 3\)"),
        (places * np.nan, "not finite"),
        (places * 0, "one place"),
    ):
        with pytest.raises(ReadError, match=message):
            clip_from_positions(wrong, 20)
    with pytest.raises(ReadError, match="order"):
        clip_from_positions(places, 20, order=JOINTS[:-1])


def test_all_fifteen_real_clips(real_data: Path) -> None:
    root = real_data / "mocap_cmu15"
    table = pd.read_csv(root / "manifest.csv")
    skeletons = {name: read_asf(root / name) for name in set(table["skeleton"])}
    for row in table.itertuples():
        clip = read_amc(root / str(row.path), skeletons[str(row.skeleton)], rate=float(str(row.rate)))
        assert len(clip.positions) == row.frames
        body = clip.body()
        head = body.positions[:, JOINTS.index("head"), 2].max()
        assert 1.2 < head < 4.0, "metres, upwards (the playground's clips climb)"
        bones = np.linalg.norm(body.positions[:, 2] - body.positions[:, 1], axis=1)
        assert np.allclose(bones, bones[0])
        assert 0.35 < bones[0] < 0.5, "a thigh"


@pytest.mark.parametrize(("trial", "cadence"), [("02_01", 1.76), ("02_02", 1.99), ("02_03", 2.64)])
def test_real_steps_are_felt(trial: str, cadence: float, real_data: Path) -> None:
    root = real_data / "mocap_cmu15/02"
    clip = read_amc(root / f"{trial}.amc.gz", root / "02.asf").body()
    signal = clip_to_imu(clip, rate=60, cutoff=15)
    readings = signal.data.reshape(22, 6, -1).double().numpy()
    force = np.linalg.norm(readings[:, :3], axis=1)
    if cadence < 2.5:  # walking; who runs feels more on average
        assert force[0].mean() == pytest.approx(9.81, abs=0.7)
    up = force[0] - force[0].mean()
    spectrum = np.abs(np.fft.rfft(up * np.hanning(len(up)), 1024))
    frequencies = np.fft.rfftfreq(1024, 1 / 60)
    band = (frequencies > 1.3) & (frequencies < 3)
    assert frequencies[band][spectrum[band].argmax()] == pytest.approx(cadence, abs=0.1), "steps a second"
    assert np.abs(readings[6, 3:]).max() > np.abs(readings[11, 3:]).max() * 2, "knees turn more than the chest"


@pytest.mark.parametrize("rate", [0.0, -20.0, float("nan"), float("inf")])
def test_a_rate_that_is_none(rate: float, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="the rate, frames per second, is above 0"):
        clip_from_positions(np.random.default_rng(0).normal(size=(30, 22, 3)), rate)
    with pytest.raises(ReadError, match=r"a\.amc: the rate, frames per second, is above 0"):
        read_amc(written(tmp_path, "a.amc", AMC_TEXT), written(tmp_path, "a.asf", ASF_TEXT), rate=rate)
