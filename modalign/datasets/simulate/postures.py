"""Sitting, standing, lying, and the ways from one to another.

Nobody is still: the body sways as a pendulum over its ankles, breath moves the trunk, and now and then a limb shifts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from modalign.datasets.simulate.body import ANKLE_HEIGHT, SHANK, THIGH, Movement, Person, forward
from modalign.datasets.simulate.noise import eased, wander

Array = np.ndarray[Any, Any]
SIDES = ("l", "r")
LEG = THIGH + SHANK + ANKLE_HEIGHT + 0.05
"""The pelvis's height while standing, by the body's."""


@dataclass(frozen=True)
class Pose:
    """A posture: angles (degrees), the pelvis's pitch and roll (degrees), and what bears the body.

    Attributes:
        pitch: of the pelvis: -90 lies on the back, 90 on the front.
        roll: to the right: 90 lies on the right side.
        height: of the pelvis, by the body's height.
        feet: whether the feet are on the ground and stay where they are.
        angles: by name.
        sway: degrees over the ankles.
        unrest: of muscles and breath, m/s2 (`Movement.tremor`).
    """

    pitch: float = 0.0
    roll: float = 0.0
    height: float = LEG
    feet: bool = True
    angles: Mapping[str, float] = field(default_factory=dict)
    sway: float = 0.0
    unrest: float = 0.1


def _arms(rng: np.random.Generator, shoulder: tuple[float, float], elbow: tuple[float, float]) -> dict[str, float]:
    angles = {}
    for s in SIDES:
        angles[f"shoulder_{s}"] = rng.uniform(*shoulder)
        angles[f"elbow_{s}"] = rng.uniform(*elbow)
        angles[f"shoulder_abd_{s}"] = rng.uniform(3, 20)
        angles[f"shoulder_rot_{s}"] = rng.uniform(-40, 5)
        angles[f"pronation_{s}"] = rng.uniform(0, 80)
    return angles


def standing(person: Person, rng: np.random.Generator) -> Pose:
    """Upright, maybe with more weight on one leg; arms down, folded, or before the body."""
    angles = _arms(rng, (-8, 12), (5, 25)) if rng.random() < 0.7 else _arms(rng, (10, 40), (60, 115))
    easy = rng.integers(2) if rng.random() < 0.4 else -1
    for k, s in enumerate(SIDES):
        bent = rng.uniform(8, 22) if k == easy else rng.uniform(0, 5)
        angles[f"knee_{s}"] = bent
        angles[f"hip_{s}"] = bent * 0.55 + person.offsets[0] * 0.6 + rng.normal(0, 2)
        angles[f"hip_abd_{s}"] = rng.uniform(0, 6)
        angles[f"hip_rot_{s}"] = rng.uniform(0, 18)
    angles["trunk"] = person.lean * 0.6 + rng.normal(0, 2)
    angles["neck"] = rng.normal(5, 8)
    return Pose(pitch=person.offsets[3] * 0.5, angles=angles, sway=float(rng.uniform(0.3, 0.9)), unrest=0.25)


def sitting(person: Person, rng: np.random.Generator) -> Pose:
    """On a seat that is a little low or high, upright or leant back; feet before the knees or behind them."""
    level = rng.normal(78, 8)
    pitch = rng.uniform(-25, 6)
    angles = _arms(rng, (5, 45), (45, 110))
    for s in SIDES:
        angles[f"hip_{s}"] = level + pitch + rng.normal(0, 3)
        angles[f"knee_{s}"] = float(np.clip(rng.normal(85, 16), 40, 118))
        angles[f"hip_abd_{s}"] = rng.uniform(-3, 18)
        angles[f"hip_rot_{s}"] = rng.uniform(-5, 15)
    if rng.random() < 0.15:  # one leg over the other
        crossed = str(rng.choice(SIDES))
        angles[f"hip_{crossed}"] += 14
        angles[f"hip_abd_{crossed}"] = -14
    angles["trunk"] = -pitch * 0.6 + rng.uniform(0, 22)
    angles["neck"] = rng.uniform(-5, 30)
    return Pose(pitch=pitch, height=0.29, feet=False, angles=angles, sway=0.12, unrest=0.09)


def lying(person: Person, rng: np.random.Generator, side: str = "") -> Pose:
    """On the back, the front or a side ("back", "front", "left", "right"; drawn where it is not said)."""
    side = side or str(rng.choice(["back", "back", "front", "left", "right"]))
    angles = _arms(rng, (-5, 40), (5, 90))
    bent = rng.uniform(0, 55) if side in ("left", "right") or rng.random() < 0.3 else rng.uniform(0, 8)
    for s in SIDES:
        more = bent * rng.uniform(0.6, 1.0)
        angles[f"hip_{s}"] = 0.0 if side == "front" else more
        angles[f"knee_{s}"] = rng.uniform(0, 12) if side == "front" else more * 1.3
        angles[f"hip_abd_{s}"] = rng.uniform(0, 12)
        angles[f"hip_rot_{s}"] = rng.uniform(0, 30)
    # On a side the roll alone lays the body down: it is about the axis that looks forwards, so that after a pitch of 90
    # degrees it would only turn a body that lies on its back about the vertical.
    pitch = {"back": -90.0, "front": 90.0}.get(side, 0.0)
    roll = {"left": -90.0, "right": 90.0}.get(side, 0.0) + rng.normal(0, 8)
    return Pose(
        pitch=pitch + rng.normal(0, 5), roll=roll, height=0.07, feet=False, angles=angles, sway=0.05, unrest=0.09
    )


def _restlessness(rng: np.random.Generator) -> float:
    return float(np.exp(rng.normal(0, 0.7)))


def _living(
    angles: dict[str, Array], pose: Pose, rng: np.random.Generator, count: int, rate: float, restless: float
) -> dict[str, Array]:
    """The angles with breath, slow drift, and now and then a shift of a limb."""
    time = np.arange(count) / rate
    breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.32) * time + rng.uniform(0, 6)) * rng.uniform(0.15, 0.4)
    angles["trunk"] = angles.get("trunk", np.zeros(count)) + breath + 0.4 * restless * wander(rng, count, rate, 0.3)
    angles["neck_twist"] = angles.get("neck_twist", np.zeros(count)) + 6 * restless * wander(rng, count, rate, 0.2)
    for name in list(angles):
        still = 0.8
        if name.startswith(("hip", "knee")):
            # On their feet people turn a little on the hips all the time.
            still = (1.8 if name.startswith("hip_rot") else 0.5) if pose.feet else 0.15
        angles[name] = angles[name] + still * restless * wander(rng, count, rate, 0.35)
    shifts = rng.poisson(0.09 * restless * count / rate)
    for _ in range(min(shifts, 8)):
        s = str(rng.choice(SIDES))
        upon = str(rng.choice([f"hip_{s}", f"knee_{s}", f"shoulder_{s}", f"elbow_{s}", f"pronation_{s}", "trunk"]))
        size = rng.normal(0, 4 if upon.startswith(("hip", "knee", "trunk")) else 14)
        back = rng.random() < 0.7
        begin, length = rng.uniform(0, count / rate), rng.uniform(0.5, 1.6)
        moved = eased(time, begin, length) - (eased(time, begin + length, length) if back else 0.0)
        angles[upon] = angles.get(upon, np.zeros(count)) + size * moved
    return angles


def rest(person: Person, rng: np.random.Generator, pose: Pose, seconds: float, rate: float) -> Movement:
    """Stay in a posture."""
    return pass_through(person, rng, [(pose, seconds)], 1.0, rate)


def pass_through(
    person: Person, rng: np.random.Generator, poses: list[tuple[Pose, float]], length: float, rate: float
) -> Movement:
    """Stay in each posture for its seconds, and take `length` seconds (of the whole) from one to the next.

    A rise from a seat, or a fall to it, begins with a bow of the trunk, which brings the body over the feet.
    """
    total = sum(seconds for _, seconds in poses)
    count = round(total * rate)
    time = np.arange(count) / rate
    first = poses[0][0]
    names = sorted({name for pose, _ in poses for name in pose.angles})
    angles = {name: np.full(count, float(first.angles.get(name, 0.0))) for name in names}
    rest_of = {key: np.full(count, float(getattr(first, key))) for key in ("pitch", "roll", "height", "feet", "sway")}
    bow, at = np.zeros(count), 0.0
    for (before, seconds), (after, _) in pairwise(poses):
        at += seconds
        part = eased(time, at - length / 2, length)
        for name in names:
            angles[name] += part * (after.angles.get(name, 0.0) - before.angles.get(name, 0.0))
        for key, values in rest_of.items():
            values += part * (float(getattr(after, key)) - float(getattr(before, key)))
        if abs(after.height - before.height) > 0.1:
            bow += rng.uniform(22, 42) * np.exp(-(((time - at + 0.1 * length) / (0.3 * length)) ** 2))
    restless = _restlessness(rng)
    angles = _living(angles, first, rng, count, rate, restless)
    sway = [np.radians(rest_of["sway"]) * wander(rng, count, rate, 0.5) for _ in range(2)]
    pitch = np.radians(rest_of["pitch"] + 0.6 * bow) + sway[0]
    roll = np.radians(rest_of["roll"]) + sway[1]
    angles["trunk"] = angles["trunk"] + 0.4 * bow
    for s in SIDES:
        # The pelvis tilts over thighs that stay where the posture has them.
        angles[f"hip_{s}"] = angles[f"hip_{s}"] + 0.6 * bow
        angles[f"ankle_{s}"] = (angles[f"knee_{s}"] - angles[f"hip_{s}"] + np.degrees(pitch)) * rest_of["feet"]
    # Over the ankles, the pelvis moves with the sway; with the feet on the ground it is where the legs put it.
    free = np.stack([sway[0] * LEG, -sway[1] * LEG, rest_of["height"]], axis=1) * person.height
    turning = np.radians(1.2) * restless * first.feet * wander(rng, count, rate, 0.4)
    facing = np.stack([rng.uniform(-np.pi, np.pi) + turning, pitch, roll], axis=1)
    unrest = max(pose.unrest for pose, _ in poses) * restless**0.7
    turned = Movement(rate, free, facing, angles, tremor=unrest)
    return replace(turned, root=_on_feet(person, turned, rest_of["feet"]))


def _on_feet(person: Person, movement: Movement, feet: Array) -> Array:
    """The root, put so that the ankles stay where they are as far as the feet bear."""
    if not feet.any():
        return movement.root
    hanging = forward(person, replace(movement, root=np.zeros_like(movement.root)))
    ankles = hanging.positions[:, [3, 7]].mean(1)
    borne = -ankles + np.array([0.0, 0.0, ANKLE_HEIGHT * person.height])
    borne[:, :2] += movement.root[:, :2] - movement.root[:1, :2]
    # The seat is where the feet leave the pelvis when the legs are bent, so that weights can be mixed.
    return np.asarray(feet[:, None] * borne + (1 - feet[:, None]) * (movement.root - movement.root[:1] + borne[:1]))
