"""Walking, running and stairs.

Legs follow the angles of `curves`; the pelvis goes where a foot that rolls over the ground without slipping takes it,
so that bounce, pace and climb come from the legs. While running nothing bears the body between steps: there the pelvis
falls, and each step's push is half a sine of force.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modalign.datasets.simulate.body import (
    ANKLE_HEIGHT,
    BALL,
    HEEL,
    SHANK,
    THIGH,
    Movement,
    Person,
)
from modalign.datasets.simulate.curves import GAITS, Gait, curve, held, ramp
from modalign.datasets.simulate.noise import wander

Array = np.ndarray[Any, Any]
G = 9.81


def walk(
    person: Person, rng: np.random.Generator, *, activity: str, seconds: float, rate: float, speed: float
) -> Movement:
    """A movement of one of `GAITS`.

    Args:
        person: who walks.
        rng: draws the phase, the variation from stride to stride, and the path.
        activity: a key of `GAITS`.
        seconds: how long.
        rate: frames per second.
        speed: factor of the person's ordinary pace, about 0.8 to 1.2; cadence and length of step share it.
    """
    gait = GAITS[activity]
    count = round(seconds * rate)
    phase, pace = _phase(person, rng, gait, speed, count, rate)
    size = person.vigour * speed**0.5
    legs = {side: _leg(person, rng, gait, phase + shift, size, side) for side, shift in (("l", 0.0), ("r", 0.5))}
    tilt = np.radians(person.offsets[3] * 0.5 + 0.4 * gait.trunk + 1.2 * np.cos(4 * np.pi * (phase + 0.1)))
    root, yaw = _path(person, rng, gait, phase, pace, legs, rate)
    roll = np.radians(3.0 * size * np.sin(2 * np.pi * (phase - 0.03)))
    twist = 4.0 * size * np.cos(2 * np.pi * (phase - 0.02))
    # The left hip is before the right when the left foot lands, so the pelvis is turned to the right (below 0).
    facing = np.stack([yaw - np.radians(twist), tilt, roll], axis=1)
    angles = _upper_body(person, rng, gait, phase, size, np.degrees(tilt), twist, rate)
    for side, leg in legs.items():
        angles[f"hip_{side}"] = leg["thigh"] + np.degrees(tilt)
        angles[f"hip_abd_{side}"] = leg["spread"]
        angles[f"hip_rot_{side}"] = leg["turn"]
        angles[f"knee_{side}"], angles[f"ankle_{side}"] = leg["knee"], leg["ankle"]
    jolts = _jolts(person, rng, gait, phase, speed)
    return Movement(rate, root, facing, angles, jolts)


def _phase(
    person: Person, rng: np.random.Generator, gait: Gait, speed: float, count: int, rate: float
) -> tuple[Array, float]:
    """Phase of the left leg (strides) and the mean strides per second. Tall people step more slowly."""
    pace = gait.pace * person.tempo * (1.72 / person.height) ** 0.5 * speed**0.55
    drift = 1 + person.variability * wander(rng, count, rate, pace) + 0.02 * wander(rng, count, rate, 0.15)
    return rng.uniform(0, 1) + np.cumsum(pace * drift) / rate, pace


def _leg(
    person: Person, rng: np.random.Generator, gait: Gait, phase: Array, size: float, side: str
) -> dict[str, Array]:
    more = 1 + (person.asymmetry if side == "l" else -person.asymmetry)
    slow = 1 + 0.04 * wander(rng, len(phase), 1.0, 0.002)
    leg = {}
    for k, (name, knots) in enumerate((("thigh", gait.thigh), ("knee", gait.knee), ("ankle", gait.ankle))):
        angle = curve(knots, phase)
        middle = float(np.mean([value for _, value in knots]))
        own = sum(
            a * np.cos(2 * np.pi * n * phase) + b * np.sin(2 * np.pi * n * phase)
            for n, (a, b) in enumerate(person.harmonics[k], 1)
        )
        gain = person.gains[k] * more * slow * (size if name == "thigh" else 0.5 + 0.5 * size)
        leg[name] = middle + (angle - middle) * gain + own + person.offsets[k]
    # A knee does not bend forwards.
    leg["knee"] = np.logaddexp(0, (leg["knee"] - 1) / 2) * 2 + 1
    swing = np.exp(-(((np.mod(phase, 1) - 0.75) / 0.13) ** 2))
    leg["spread"] = 2.0 * person.knock + 3.0 * swing * person.knock - 2.0
    leg["turn"] = 6.0 - 6.0 * np.cos(2 * np.pi * (phase - 0.62)) + 3.0 * np.cos(4 * np.pi * (phase - 0.1))
    return leg


def _contact(person: Person, gait: Gait, leg: dict[str, Array], phase: Array) -> tuple[Array, Array]:
    """Where heel and ball of the foot are from the hip: (T,) forwards and (T,) up, at the point that bears."""
    thigh, knee, ankle = (np.radians(leg[name]) for name in ("thigh", "knee", "ankle"))
    shank, foot = thigh - knee, thigh - knee + ankle
    x = THIGH * np.sin(thigh) + SHANK * np.sin(shank)
    z = -THIGH * np.cos(thigh) - SHANK * np.cos(shank)
    sin, cos = np.sin(foot), np.cos(foot)
    ends = [(x + along * cos + ANKLE_HEIGHT * sin, z + along * sin - ANKLE_HEIGHT * cos) for along in (-HEEL, BALL)]
    bears = held(gait.contact, phase)
    # The point's place on the foot changes as the foot rolls; its velocity is that of the foot's material there.
    steps = [np.gradient(end) for pair in ends for end in pair]
    forwards = steps[0] + bears * (steps[2] - steps[0])
    upwards = steps[1] + bears * (steps[3] - steps[1])
    return forwards * person.height, upwards * person.height


def _path(
    person: Person,
    rng: np.random.Generator,
    gait: Gait,
    phase: Array,
    pace: float,
    legs: dict[str, dict[str, Array]],
    rate: float,
) -> tuple[Array, Array]:
    """The pelvis's place (T, 3) and heading (T,)."""
    from scipy.signal import butter, sosfiltfilt

    count = len(phase)
    # While the feet overlap on the ground, weight goes from one to the other.
    overlap = max(gait.duty - 0.5, 0.06)
    ahead, up, weight = np.zeros(count), np.zeros(count), np.full(count, 1e-3)
    for side, shift in (("l", 0.0), ("r", 0.5)):
        bears = ramp(phase + shift, gait.duty, overlap)
        forwards, upwards = _contact(person, gait, legs[side], phase + shift)
        ahead -= bears * forwards
        up -= bears * upwards
        weight += bears
    running = gait.duty < 0.5
    low = butter(2, min(8.0, 0.4 * rate), fs=rate, output="sos")
    if running:
        # Between steps the pace is kept: the mean while a foot is down.
        mean = ahead.sum() / weight.sum()
        ahead = mean + 0.3 * (ahead / weight - mean) * np.clip(weight, 0, 1)
        height = _bounce(gait, phase, pace)
    else:
        ahead, up = ahead / weight, up / weight
        # The trunk's mass evens out most of what rigid legs would make of its pace within a step.
        ahead = ahead.mean() + 0.45 * (ahead - ahead.mean())
        stride = max(round(rate / pace), 3)
        trend = np.convolve(np.pad(up, stride, mode="edge"), np.ones(stride) / stride, "same")[stride:-stride]
        rise = gait.climb * pace * min(person.vigour, 1.1) / rate
        height = gait.bounce * np.cumsum(sosfiltfilt(low, up - trend)) + rise * np.arange(count)
    ahead = sosfiltfilt(low, ahead)
    yaw = rng.uniform(-np.pi, np.pi) + np.cumsum(np.radians(8.0) * wander(rng, count, rate, 0.15)) / rate
    side_step = gait.sway * person.knock * np.sin(2 * np.pi * (phase - 0.07))
    x = np.cumsum(ahead * np.cos(yaw)) - side_step * np.sin(yaw)
    y = np.cumsum(ahead * np.sin(yaw)) + side_step * np.cos(yaw)
    hip = (THIGH + SHANK + ANKLE_HEIGHT + 0.05) * person.height
    return np.stack([x, y, hip + height], axis=1), yaw


def _bounce(gait: Gait, phase: Array, pace: float) -> Array:
    """Height while running (T,): each step pushes with half a sine of force, whose mean bears the weight."""
    # Twice integrated without drift: by the series of one step, in the phase's own time.
    one = np.linspace(0, 1, 256, endpoint=False)
    push = np.where(one < 2 * gait.duty, np.sin(np.pi * np.clip(one / (2 * gait.duty), 0, 1)), 0.0)
    series = np.fft.rfft(push * G * np.pi / 2 / (2 * gait.duty)) / 256
    height = np.zeros(len(phase))
    for n in range(1, 12):
        omega = 2 * np.pi * n * 2 * pace
        height += -2 * (series[n] * np.exp(2j * np.pi * n * np.mod(2 * phase, 1.0))).real / omega**2
    return height


def _upper_body(
    person: Person,
    rng: np.random.Generator,
    gait: Gait,
    phase: Array,
    size: float,
    tilt: Array,
    twist: Array,
    rate: float,
) -> dict[str, Array]:
    count = len(phase)
    step = 2 * np.pi * (2 * phase)
    lean = person.lean + gait.trunk + person.offsets[3] * 0.5
    angles = {
        "trunk": lean - tilt + 1.5 * np.cos(step - 0.4) + 0.8 * wander(rng, count, rate, 0.4),
        "trunk_twist": 2.2 * twist + 1.0 * wander(rng, count, rate, 0.3),
        "trunk_side": -2.5 * size * np.sin(2 * np.pi * (phase - 0.03)),
        "neck": -0.6 * lean + 3.0 * wander(rng, count, rate, 0.3),
        "neck_twist": -twist + 6.0 * wander(rng, count, rate, 0.25),
    }
    for side, shift, k in (("l", 0.0, -1), ("r", 0.5, 1)):
        # The arm goes back as the leg of its side goes forwards.
        swing = -np.cos(2 * np.pi * (phase + shift + 0.03)) + 0.12 * np.cos(4 * np.pi * (phase + shift))
        most = person.arm_swing * gait.swing * size * person.gains[3] * (1 + 0.1 * k * rng.normal())
        slow = 1 + 0.12 * wander(rng, count, rate, 0.3)
        angles[f"shoulder_{side}"] = person.offsets[4] * 0.5 + 4.0 + most * slow * swing
        angles[f"shoulder_abd_{side}"] = 8.0 + 2.0 * wander(rng, count, rate, 0.3)
        angles[f"shoulder_rot_{side}"] = -10.0 + 4.0 * wander(rng, count, rate, 0.3)
        bend = gait.elbow + person.offsets[5] * 0.5 + 0.5 * most * np.clip(swing, -0.3, 1)
        angles[f"elbow_{side}"] = np.clip(bend, 3, 140)
        angles[f"pronation_{side}"] = 30.0 + 6.0 * swing + 4.0 * wander(rng, count, rate, 0.3)
    return angles


def _jolts(
    person: Person, rng: np.random.Generator, gait: Gait, phase: Array, speed: float
) -> tuple[tuple[int, str, float], ...]:
    found = []
    for side, shift in (("l", 0.0), ("r", 0.5)):
        for frame in np.flatnonzero(np.diff(np.floor(phase + shift)) > 0):
            strength = gait.jolt * person.impact * speed * float(np.exp(rng.normal(0, 0.25)))
            found.append((int(frame), side, strength))
    return tuple(sorted(found))
