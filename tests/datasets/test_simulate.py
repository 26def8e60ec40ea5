"""The generator of motion: physics, biomechanics within what laboratories report, sentences, manifests, determinism."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from modalign.align.manifest import read_manifest
from modalign.align.recipe_files import load_recipe
from modalign.datasets.simulate.body import Movement, Person, draw_person, forward
from modalign.datasets.simulate.curves import GAITS, curve, ramp
from modalign.datasets.simulate.gait import walk
from modalign.datasets.simulate.gestures import jump
from modalign.datasets.simulate.manifest import simulated_row, write_simulated
from modalign.datasets.simulate.motion import ACTIVITIES, INTERNAL_RATE, simulate_motion
from modalign.datasets.simulate.noise import eased, wander
from modalign.datasets.simulate.plot import plot_beside, spectrum
from modalign.datasets.simulate.sensors import PLACES, draw_mounting, find_place, place_names
from modalign.datasets.simulate.sentences import SENTENCES, describe
from modalign.errors import ReadError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.base import Signal, augment
from modalign.modalities.motion.fields import STANDARD
from modalign.modalities.motion.skeleton.imu import SensorNoise, second_difference
from modalign.modalities.motion.skeleton.joints import JOINTS, PARENTS
from modalign.modalities.motion.stgcn import joint_channels

SILENT = SensorNoise(0, 0, 0, 0, 0)


def gait(activity: str, speed: float = 1.0, seed: int = 0) -> Any:
    return walk(Person(), np.random.default_rng(seed), activity=activity, seconds=10, rate=200, speed=speed)


def test_bones_keep_their_length_and_the_body_stands_upright() -> None:
    person = draw_person(np.random.default_rng(0))
    for movement in (gait("walking"), gait("running")):
        clip = forward(person, movement)
        for joint, parent in enumerate(PARENTS[1:], 1):
            bone = np.linalg.norm(clip.positions[:, joint] - clip.positions[:, parent], axis=1)
            assert np.ptp(bone) < 1e-9
        assert np.allclose(np.linalg.det(clip.rotations), 1)
    still = forward(Person(height=1.8), Movement(50, np.zeros((3, 3)), np.zeros((3, 3)), {}))
    heights = dict(zip(JOINTS, still.positions[0, :, 2]))
    assert heights["head"] > heights["chest"] > heights["pelvis"] > heights["left_wrist"] > heights["left_knee"]
    assert heights["head"] - heights["left_foot"] == pytest.approx(1.8 * 0.93, abs=0.06), "eyes"
    assert still.positions[0, JOINTS.index("left_hip"), 1] > 0 > still.positions[0, JOINTS.index("right_hip"), 1]
    raised = forward(Person(), Movement(50, np.zeros((1, 3)), np.zeros((1, 3)), {"shoulder_l": np.array([90.0])}))
    arm = raised.positions[0, JOINTS.index("left_wrist")] - raised.positions[0, JOINTS.index("left_shoulder")]
    assert arm[0] > 0.4
    assert np.allclose(arm[1:], 0, atol=1e-9), "forwards"


@pytest.mark.parametrize(
    ("activity", "speed", "bounce", "climb"),
    [
        ("walking", (1.1, 1.6), (0.025, 0.09), (-0.02, 0.02)),
        ("walking upstairs", (0.35, 0.7), (0.02, 0.12), (0.2, 0.32)),
        ("walking downstairs", (0.35, 0.8), (0.02, 0.12), (-0.38, -0.22)),
        ("running", (2.2, 3.6), (0.06, 0.16), (-0.02, 0.02)),
    ],
)
def test_pace_bounce_and_climb(activity: str, speed: Any, bounce: Any, climb: Any) -> None:
    root = gait(activity).root[400:-400]
    seconds = len(root) / 200
    assert speed[0] < np.linalg.norm(root[-1, :2] - root[0, :2]) / seconds < speed[1]
    assert climb[0] < (root[-1, 2] - root[0, 2]) / seconds < climb[1]
    rise = root[:, 2] - np.linspace(root[0, 2], root[-1, 2], len(root))
    assert bounce[0] < np.ptp(rise) < bounce[1]


def test_the_foot_on_the_ground_hardly_moves() -> None:
    clip = forward(Person(), gait("walking"))
    ankle = clip.positions[200:-200, JOINTS.index("left_ankle")]
    pace = np.linalg.norm(np.diff(ankle, axis=0), axis=1) * 200
    assert np.quantile(pace, 0.25) < 0.5
    assert np.quantile(pace, 0.95) > 2.5, "and swings at twice the pace of walking"


def test_the_laws_of_falling_hold_in_flight() -> None:
    movement = jump(Person(), np.random.default_rng(0), height=0.3, pause=0.5, seconds=6, rate=1000)
    height = movement.root[:, 2]
    acceleration = second_difference(movement.root, 1000)[:, 2]
    top = np.flatnonzero(height > height[0] + 0.1)
    assert len(top) > 100
    assert np.allclose(acceleration[top], -9.81, atol=1e-3)
    assert height.max() - height[0] == pytest.approx(0.3, rel=0.35)
    running = second_difference(gait("running").root, 200)[400:-400, 2]
    assert np.quantile(running, 0.05) == pytest.approx(-9.81, abs=1.6)
    assert abs(running.mean()) < 0.5, "what a step gives, falling takes"


def test_curves_are_periodic_and_smooth() -> None:
    phase = np.linspace(0, 1, 400)
    for gait_ in GAITS.values():
        for knots in (gait_.thigh, gait_.knee, gait_.ankle):
            values = curve(knots, phase)
            assert values[0] == pytest.approx(values[-1])
            assert np.abs(np.diff(values)).max() < 2.5, "degrees in 1/400 of a stride"
            assert np.allclose(curve(knots, phase + 3), values)
        assert curve(gait_.knee, phase).min() > 0, "a knee does not bend forwards"
        weight = ramp(phase, gait_.duty, 0.1)
        assert weight.max() == 1
        assert np.all(weight[phase > gait_.duty + 0.01][:-1] == 0)


def test_noise_in_time() -> None:
    drawn = wander(np.random.default_rng(0), 200_000, 50.0, 0.5)
    assert drawn.std() == pytest.approx(0.9, abs=0.15)
    power = np.abs(np.fft.rfft(drawn)) ** 2
    frequencies = np.fft.rfftfreq(len(drawn), 1 / 50)
    assert power[frequencies < 0.5].sum() > 0.9 * power.sum()
    assert eased(np.array([0.0, 1.0, 2.0, 3.0]), 1.0, 1.0).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_every_activity_is_plausible(activity: str) -> None:
    made = simulate_motion(activity, 0, row=5, seconds=6)
    data = made.signal.data.double().numpy()
    assert tuple(data.shape) == (6, 300)
    assert made.signal.channels == STANDARD
    assert np.isfinite(data).all()
    norm = np.linalg.norm(data[:3], axis=0)
    assert 8.5 < norm.mean() < 18
    assert norm.max() < 160
    assert np.abs(data[3:]).max() < 35
    assert made.label == activity
    assert made.text


def dominant(place: str, activity: str, row: int) -> float:
    made = simulate_motion(activity, 1, row=row, place=place, seconds=12)
    frequencies, power = spectrum(made.signal, "acc", 50.0)
    band = (frequencies > 1.25) & (frequencies < 3.5)
    return float(frequencies[band][power[band].argmax()])


def test_steps_are_felt_at_the_cadence_of_people() -> None:
    walks = [dominant("lower back", "walking", row) for row in range(8)]
    runs = [dominant("lower back", "running", row) for row in range(8)]
    assert 1.6 < np.median(walks) < 2.3
    assert 2.4 < np.median(runs) < 3.1


def test_postures_have_the_gravity_that_they_should() -> None:
    def mean(activity: str, place: str, row: int) -> Any:
        made = simulate_motion(activity, 2, row=row, place=place, mounting="aligned", noise=SILENT, seconds=4)
        return made.signal.data[:3].mean(1).numpy() / 9.81

    for row in range(6):
        assert mean("standing", "right thigh", row)[2] > 0.9
        assert mean("sitting", "right thigh", row)[0] > 0.75, "the thigh's front looks up"
        assert mean("standing", "chest", row)[2] > 0.85
        assert abs(mean("lying", "chest", row)[2]) < 0.45
        assert mean("lying", "chest", row) @ mean("lying", "chest", row) == pytest.approx(1, abs=0.05)
    still = simulate_motion("lying", 0, place="chest", seconds=4).signal.data[:3].std(1).sum()
    moving = simulate_motion("walking", 0, place="chest", seconds=4).signal.data[:3].std(1).sum()
    assert moving > 10 * still


@pytest.mark.parametrize(
    ("activity", "near", "far"),
    [("forearm rotation", "right wrist", "head"), ("arm raise to the front", "right wrist", "right ankle")],
)
def test_a_gesture_moves_the_limb_that_makes_it(activity: str, near: str, far: str) -> None:
    row = next(row for row in range(20) if simulate_motion(activity, 0, row=row, seconds=2).drawn["sides"] == "r")
    turns = {
        place: simulate_motion(activity, 0, row=row, place=place, noise=SILENT, seconds=6).signal.data[3:].std()
        for place in (near, far, near.replace("right", "left"))
    }
    assert turns[near] > 4 * turns[far]
    assert turns[near] > 4 * turns[near.replace("right", "left")]


def test_the_whole_body_has_a_sensor_on_each_joint() -> None:
    made = simulate_motion("walking", 0, place="body", rate=20, seconds=10)
    assert made.signal.channels == joint_channels(True)
    assert tuple(made.signal.data.shape) == (132, 200)
    motion = get_modality("motion")
    encoder = motion.build_encoder("stgcn", gyro=True, widths=[8], strides=[2]).eval()
    process = motion.build_processing(**encoder.processing_defaults())
    batch = process.collate([process(made.signal)])
    assert encoder(**batch).pooled.shape == (1, 8)
    assert (batch["values"].std(-1) > 0).all()
    names = [f"clip {name}" for name in made.clip.joints]
    assert len(names) == 22
    assert made.clip.rate == INTERNAL_RATE


def test_the_recipe_of_unimts_takes_the_whole_body() -> None:
    recipe = load_recipe("unimts", ["towers.motion.options.widths=[8]", "towers.motion.options.strides=[4]"])
    tower = recipe.towers["motion"]
    motion = get_modality("motion")
    encoder = motion.build_encoder(tower.encoder or "", **tower.options).eval()
    process = motion.build_processing(**{**encoder.processing_defaults(), **tower.processing})
    signal = simulate_motion("standing up", 0, place="body", rate=20, seconds=6).signal
    changed = augment(signal, motion.build_augmentations(tower.augment), torch.Generator().manual_seed(0))
    values = process(changed)["values"]
    assert tuple(values.shape) == (66, 200)
    kept = values.view(22, 3, 200).abs().sum((1, 2)) > 0
    assert 1 <= int(kept.sum()) <= 5
    assert encoder(**process.collate([{"values": values}])).pooled.isfinite().all()


def test_mountings() -> None:
    rng = np.random.default_rng(0)
    for name in place_names():
        place, side = find_place(name)
        for mounting in ("usual", "random", "aligned"):
            axes = draw_mounting(rng, place, side, mounting)
            assert np.allclose(axes @ axes.T, np.eye(3))
            assert np.linalg.det(axes) == pytest.approx(1)
    heads = [draw_mounting(rng, PLACES["pocket"], "right", "usual")[2, 1] for _ in range(200)]
    assert 0.8 < np.mean(np.array(heads) < 0) < 0.99, "the head of a phone in a pocket is mostly down"


@pytest.mark.parametrize("activity", SENTENCES)
def test_sentences_say_what_was_drawn(activity: str) -> None:
    drawn = {"speed": 0.7, "sides": "l", "amplitude": 160.0, "side": "front", "height": 0.4}
    said = {describe(activity, drawn, "left wrist", np.random.default_rng(seed)) for seed in range(60)}
    assert len(said) >= 4
    for text in said:
        assert "{" not in text
        assert "right" not in text.replace("upright", "")
        assert not any(
            word in text for word in ("briskly", "quick", "fast", "both", "face up", "on the back", "halfway")
        )
    if "arm" in activity or activity in ("pulling", "waving"):
        assert all("the left" in text.split(",")[0] for text in said)


def test_a_row_is_a_function_of_the_seed_and_its_number(tmp_path: Path) -> None:
    options: dict[str, Any] = {"activities": ["walking", "sitting"], "places": ["chest", "left wrist"], "seconds": 2.0}
    one = write_simulated(tmp_path / "a", 6, 3, **options)
    write_simulated(tmp_path / "b", 4, 3, **options)
    for row in (3, 0):
        alone = simulated_row(3, row, **options)
        stored = np.load(tmp_path / f"a/signals/{row:07d}.npy", allow_pickle=False)
        assert np.array_equal(stored, alone.signal.data.numpy().T)
        assert np.array_equal(stored, np.load(tmp_path / f"b/signals/{row:07d}.npy", allow_pickle=False))
    assert not np.array_equal(simulated_row(4, 0, **options).signal.data, simulated_row(3, 0, **options).signal.data)
    motion, text = get_modality("motion"), get_modality("text")
    manifest = read_manifest(one, {"motion": motion, "text": text})
    assert [row.labels for row in manifest.rows] == [("walking",), ("sitting",)] * 3
    assert [row.group for row in manifest.rows] == [f"simulated-person-{p}" for p in (0, 0, 1, 1, 2, 2)]
    for row in manifest.rows:
        signal = motion.load(row.sources["motion"], **row.fields["motion"])
        assert signal.meta["location"] in ("chest", "left wrist")
        assert np.array_equal(signal.data, simulated_row(3, int(row.id[-7:]), **options).signal.data)
    table = pd.read_csv(one)
    assert table["speed"].notna().tolist() == [True, False] * 3


def test_the_whole_body_as_a_manifest(tmp_path: Path) -> None:
    path = write_simulated(tmp_path / "body", 2, 0, seconds=2.0, rate=20.0)
    motion = get_modality("motion")
    row = read_manifest(path, {"motion": motion}).rows[1]
    signal = motion.load(row.sources["motion"], **row.fields["motion"])
    assert set(signal.channels) == set(joint_channels(True))
    seen: list[int] = []
    write_simulated(tmp_path / "again", 2, 0, seconds=2.0, rate=20.0, advance=seen.append)
    assert seen == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activities": ["walkng"]}, "no activity 'walkng'.*did you mean 'walking'"),
        ({"places": ["wrist"]}, "no place 'wrist'"),
        ({"places": ["left chest"]}, "no place 'left chest'"),
        ({"places": ["body", "chest"]}, "goes with no other place"),
        ({"mounting": "odd"}, "no mounting 'odd'"),
        ({"seconds": 0.5}, "seconds is between 2"),
        ({"rate": 1000}, "rate is between 5"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        write_simulated(tmp_path, 1, 0, **options)
    with pytest.raises(RecipeError, match="--count"):
        write_simulated(tmp_path, 0, 0)
    (tmp_path / "manifest.csv").touch()
    with pytest.raises(RecipeError, match=r"holds a manifest\.csv already"):
        write_simulated(tmp_path, 1, 0)


def test_the_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    signals = [simulate_motion("walking", 0, row=row, seconds=6).signal for row in range(2)]
    path = plot_beside({"walking": signals}, {"walking": signals[::-1]}, tmp_path / "a" / "beside.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ReadError, match="no activity is in both"):
        plot_beside({"walking": signals}, {"sitting": signals}, path)
    with pytest.raises(ReadError, match="too short"):
        spectrum(Signal(signals[0].data[:, :40], 50.0, STANDARD), "acc", 50.0)
    with pytest.raises(ReadError, match="no gyro_x"):
        spectrum(Signal(signals[0].data[:3], 50.0, STANDARD[:3]), "gyro", 50.0)


@pytest.mark.parametrize(("side", "axis", "sign"), [("back", 0, 1), ("front", 0, -1), ("left", 1, -1), ("right", 1, 1)])
def test_who_lies_on_a_side_lies_on_that_side(side: str, axis: int, sign: int) -> None:
    made = [simulate_motion("lying", 0, row=row, place="chest", mounting="aligned", seconds=2) for row in range(25)]
    mine = [one.signal.data[axis].mean() * sign for one in made if one.drawn["side"] == side]
    assert len(mine) > 1
    assert min(mine) > 7, "the chest's axes look forwards, left and up; what looks up reads 9.81"


def test_a_jump_is_one_that_a_trunk_can_bear() -> None:
    for row in range(4):
        made = simulate_motion("jumping", 0, row=row, place="chest", noise=SILENT)
        size = made.signal.data[:3].norm(dim=0)
        assert size.max() < 100
        assert 9 < size.mean() < 17


@pytest.mark.parametrize("activity", ["standing up", "getting up"])
def test_every_posture_can_be_left(activity: str) -> None:
    for row in range(30):  # one in seven sits with a leg over the other
        assert simulate_motion(activity, 0, row=row, place="chest", seconds=2).signal.data.isfinite().all()
