"""Devices on a simulated body: where they are, how they are turned, how they shake, and what they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modalign.datasets.simulate.body import Movement, Person
from modalign.datasets.simulate.noise import wander
from modalign.errors import RecipeError, suggest
from modalign.modalities.motion.skeleton.clip import Clip
from modalign.modalities.motion.skeleton.imu import SensorNoise, angular_velocity, second_difference, specific_force
from modalign.modalities.motion.skeleton.joints import JOINTS
from modalign.modalities.motion.skeleton.rotations import about, exp_map, random_rotation
from modalign.modalities.resampling import resample

Array = np.ndarray[Any, Any]
MOUNTINGS = ("usual", "aligned", "random")


@dataclass(frozen=True)
class Place:
    """A place for a device.

    Attributes:
        joint: where the bone begins that it is on, without the side.
        offset: from there along the bone's axes (forwards, outwards, up while standing), by the body's height.
        axes: the device's axes in the bone's, as it is usually worn.
        tilt: degrees by which people wear it otherwise.
        shake: Hz and damping of the tissue or cloth that holds it.
        turn: degrees by which a shaken device turns, to each m/s2.
        loose: the part of a jolt that rattles the device.
        drawn: degrees by which the device is drawn about the bone, to each degree that the hip bends.
        sides: whether there is one on either side.
        said: how a sentence names it.
    """

    joint: str
    offset: tuple[float, float, float]
    axes: Array
    tilt: float
    shake: tuple[float, float]
    turn: float
    loose: float
    drawn: float
    sides: bool
    said: str


def _axes(x: tuple[int, int, int], y: tuple[int, int, int]) -> Array:
    """The device's x and y in the bone's axes (forwards, left, up) -> (3, 3), whose columns are the device's axes."""
    return np.stack([x, y, np.cross(x, y)], axis=1).astype(np.float64)


_HEAD_DOWN = _axes((0, -1, 0), (0, 0, -1))
_HEAD_UP = _axes((0, 1, 0), (0, 0, 1))
_ACROSS = _axes((0, 0, 1), (0, 1, 0))
_ALONG = _axes((0, 0, -1), (1, 0, 0))
PLACES: dict[str, Place] = {
    "pocket": Place("hip", (0.03, 0.025, -0.09), _HEAD_DOWN, 10, (8.0, 0.35), 0.16, 1.0, 0.4, True, "trouser pocket"),
    "thigh": Place("hip", (0.04, 0.0, -0.13), _HEAD_UP, 10, (12.0, 0.35), 0.06, 0.3, 0.05, True, "thigh"),
    "ankle": Place("knee", (0.0, 0.025, -0.21), _ACROSS, 12, (18.0, 0.4), 0.04, 0.3, 0.0, True, "ankle"),
    "wrist": Place("wrist", (0.0, 0.015, 0.02), _ALONG, 15, (16.0, 0.4), 0.06, 0.3, 0.0, True, "wrist"),
    "upper arm": Place("shoulder", (0.0, 0.02, -0.1), _HEAD_UP, 12, (13.0, 0.4), 0.05, 0.3, 0.0, True, "upper arm"),
    "waist": Place("pelvis", (0.06, 0.0, 0.01), _ACROSS, 12, (11.0, 0.4), 0.06, 0.35, 0.0, False, "belt"),
    "lower back": Place(
        "pelvis", (-0.06, 0.0, 0.01), _axes((0, 0, 1), (0, -1, 0)), 8, (12.0, 0.45), 0.03, 0.3, 0.0, False, "lower back"
    ),
    "chest": Place("chest", (0.06, 0.0, 0.03), _HEAD_UP, 10, (12.0, 0.4), 0.04, 0.3, 0.0, False, "chest"),
    "head": Place("head", (0.0, 0.04, 0.02), np.eye(3), 10, (16.0, 0.5), 0.02, 0.2, 0.0, False, "head"),
}  # fmt: skip
"""Places by name; those with sides are `left pocket`, `right pocket`, and so on."""

_PASSED = {"foot": 1.2, "ankle": 1.0, "knee": 0.85, "hip": 0.5, "pelvis": 0.32}
"""How much of a jolt at the ankle a bone has, the trunk and what hangs on it less."""
_RING = {"foot": 24.0, "ankle": 22.0, "knee": 18.0, "hip": 13.0, "pelvis": 10.0}
"""Hz of its ringing."""


def place_names() -> list[str]:
    """All places, with their sides."""
    sided = [f"{side} {name}" for name, place in PLACES.items() if place.sides for side in ("left", "right")]
    return sided + [name for name, place in PLACES.items() if not place.sides]


def find_place(name: str) -> tuple[Place, str]:
    """A place and its side ("left", "right" or "").

    Raises:
        RecipeError: there is none of this name.

    Example:
        >>> find_place("left wrist")[1]
        'left'
    """
    side, _, rest = name.partition(" ")
    if side in ("left", "right") and rest in PLACES and PLACES[rest].sides:
        return PLACES[rest], side
    if name in PLACES and not PLACES[name].sides:
        return PLACES[name], ""
    raise RecipeError(f"no place {name!r} for a device: {suggest(name, place_names())}")


def draw_mounting(rng: np.random.Generator, place: Place, side: str, mounting: str) -> Array:
    """The device's axes in the bone's (3, 3).

    "usual": as it is worn, a little otherwise by each person, and in a pocket with the screen to the leg or the head up
    by some; "aligned": as the bone's own axes; "random": anywhere.
    """
    if mounting == "random":
        return random_rotation(rng)
    if mounting == "aligned":
        return np.eye(3)
    axes = place.axes
    if place.said == "trouser pocket":
        # It lies to the side of the thigh as much as before it, and slanted.
        out = 1.0 if side == "left" else -1.0
        axes = about("z", np.radians(out * rng.normal(26, 18))) @ about("x", np.radians(rng.normal(0, 12))) @ axes
        if rng.random() < 0.2:
            axes = axes @ about("y", np.pi)
        if rng.random() < 0.08:
            axes = axes @ about("z", np.pi)
    tilt = exp_map(np.radians(rng.normal(size=3) * place.tilt / 2)[None])[0]
    return np.asarray(tilt @ axes)


def _resonance(values: Array, rate: float, hertz: float, damping: float) -> Array:
    """What a mass on a damped spring feels when its base is accelerated so (T, k): steady values stay as they are."""
    from scipy.signal import bilinear, lfilter, lfilter_zi

    omega = 2 * np.pi * hertz
    b, a = bilinear([2 * damping * omega, omega**2], [1.0, 2 * damping * omega, omega**2], rate)
    start = lfilter_zi(b, a)[:, None] * values[:1]
    return np.asarray(lfilter(b, a, values, axis=0, zi=start)[0])


def _jolts(movement: Movement, kind: str, side: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """World acceleration (T, 3) of the jolts that a bone feels, and how strong each moment's rattle is (T,), m/s2.

    A jolt is a ring that dies away, upwards and against the way, and shakes what hangs on the bone in all directions.
    """
    count, rate = len(movement), movement.rate
    passed, hertz = _PASSED.get(kind, 0.2), _RING.get(kind, 8.0)
    time = np.arange(round(0.4 * rate)) / rate
    # It rises within a few ms, the faster the nearer to the ground.
    ring = (1 - np.exp(-time * hertz * 4)) * np.exp(-time * hertz / 1.3) * np.sin(2 * np.pi * hertz * time)
    fading = (1 - np.exp(-time / 0.008)) * np.exp(-time / 0.07)
    train, rattle = np.zeros(count + len(ring)), np.zeros(count + len(ring))
    for frame, where, strength in movement.jolts:
        felt = strength * passed * (1.0 if where in ("both", side[:1]) or not side else 0.4)
        train[frame : frame + len(ring)] += felt * ring
        rattle[frame : frame + len(ring)] += felt * float(rng.uniform(0.5, 1.2)) * fading
    yaw = movement.facing[:, 0]
    way = np.stack([-0.5 * np.cos(yaw), -0.5 * np.sin(yaw), np.ones(count)], axis=1)
    return train[:count, None] * way, rattle[:count]


def _tremble(rng: np.random.Generator, count: int, rate: float, *corners: float) -> Array:
    """Noise (T, 3) of variance 1 that falls above each corner (Hz) by one power more of the frequency."""
    from scipy.signal import lfilter

    noise = rng.normal(size=(count + 400, 3))
    for corner in corners:
        keep = np.exp(-2 * np.pi * corner / rate)
        noise = lfilter([1.0], [1.0, -keep], noise, axis=0)
    return np.asarray(noise[400:] / noise[400:].std())


def read_device(
    person: Person,
    movement: Movement,
    clip: Clip,
    where: str,
    rng: np.random.Generator,
    *,
    mounting: str,
    noise: SensorNoise,
    rate: float,
) -> Array:
    """Readings (6, T) of a device at a place, with its shaking, its mounting and its noise, at `rate` Hz."""
    place, side = find_place(where)
    axes = draw_mounting(rng, place, side, mounting)
    joint = f"{side}_{place.joint}" if place.sides else place.joint
    return _read(person, movement, clip, joint, place, axes, rng, noise, rate)


def read_body(
    person: Person,
    movement: Movement,
    clip: Clip,
    rng: np.random.Generator,
    *,
    mounting: str,
    noise: SensorNoise,
    rate: float,
) -> Array:
    """Readings (22 * 6, T) of a sensor on each joint; along the bones unless `mounting` is random."""
    read = []
    for joint in JOINTS:
        kind = joint.split("_")[-1] if joint.startswith(("left", "right")) else joint
        place = Place(kind, (0.0, 0.0, 0.0), np.eye(3), 0, (13.0, 0.4), 0.05, 0.3, 0.0, joint != kind, joint)
        axes = random_rotation(rng) if mounting == "random" else np.eye(3)
        read.append(_read(person, movement, clip, joint, place, axes, rng, noise, rate))
    return np.concatenate(read)


def _read(
    person: Person,
    movement: Movement,
    clip: Clip,
    joint: str,
    place: Place,
    axes: Array,
    rng: np.random.Generator,
    noise: SensorNoise,
    rate: float,
) -> Array:
    side = joint.split("_", maxsplit=1)[0] if place.sides else ""
    j = JOINTS.index(joint)
    out = 1.0 if side == "left" else -1.0
    offset = np.array(place.offset) * [1, out if place.sides else 1, 1] * person.height
    offset = offset + rng.normal(size=3) * 0.008
    hertz = place.shake[0] * float(np.exp(rng.normal(0, 0.25)))
    damping = place.shake[1] * float(np.exp(rng.normal(0, 0.25)))
    turns = clip.rotations[:, j]
    places = clip.positions[:, j] + turns @ offset
    ringing, rattle = _jolts(movement, place.joint, side, rng)
    felt = _resonance(second_difference(places, clip.rate) + ringing, clip.rate, hertz, damping)
    # Cloth and straps rub and slip as the body shakes them: more the more it moves.
    moving = np.abs(felt).mean(1)
    loose = place.loose * float(np.exp(rng.normal(0, 0.25)))
    shaken = loose * (1.3 * rattle + 0.3 * moving)
    felt = felt + shaken[:, None] * _tremble(rng, len(felt), clip.rate, 12.0)
    felt = felt + movement.tremor * _tremble(rng, len(felt), clip.rate, 2.5)
    # What shakes a device turns it too, about an axis that depends on how it hangs.
    levers = rng.normal(size=(3, 3)) * np.radians(place.turn)
    local = np.einsum("tji,tj->ti", turns, felt)
    tilted = _resonance(local @ levers, clip.rate, 0.55 * hertz, 0.3)
    tilted = tilted + np.radians(2.2 * place.turn) * shaken[:, None] * _tremble(rng, len(felt), clip.rate, 4.0, 10.0)
    slow = np.radians(0.8) * wander(rng, len(movement), clip.rate, 0.1, 3)
    slow = slow + np.radians(2.0) * movement.tremor * _tremble(rng, len(felt), clip.rate, 0.8, 1.6)
    # A pocket is drawn about the thigh as the hip bends.
    bent = movement.angles.get(f"hip_{side[:1]}", np.zeros(len(movement)))
    drawn = np.radians(place.drawn * float(rng.normal(1, 1)) * (bent - bent.mean()))
    turns = turns @ about("z", -out * drawn) @ exp_map(np.clip(tilted, -0.25, 0.25) + slow) @ axes
    force = specific_force(felt, turns)
    readings = np.concatenate([force, angular_velocity(turns, clip.rate)], axis=1)
    rows = torch.from_numpy(np.ascontiguousarray(readings.T, dtype=np.float32))
    sampled = resample(rows, clip.rate, rate).double().numpy()
    return noise.apply(sampled.T, rng).T.astype(np.float32)
