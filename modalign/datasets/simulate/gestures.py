"""What a standing body does: raises and swings of the arms, turning the forearm, pulling, waving, jumping."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from modalign.datasets.simulate.body import ANKLE_HEIGHT, SHANK, THIGH, Movement, Person
from modalign.datasets.simulate.noise import eased, minimum_jerk, wander
from modalign.datasets.simulate.postures import rest, standing

Array = np.ndarray[Any, Any]
G = 9.81


def _strokes(rng: np.random.Generator, count: int, rate: float, pace: float, there: float, still: float) -> Array:
    """From 0 to 1 and back, again and again (T,).

    Args:
        rng: varies time and reach from stroke to stroke.
        count: frames.
        rate: frames per second.
        pace: strokes per second.
        there: the part of a stroke's movement that the way there takes.
        still: the part of a stroke that is a rest at 0.
    """
    out, time = np.zeros(count), np.arange(count) / rate
    at = rng.uniform(0, 0.5) / pace
    while at < count / rate:
        length = float(np.clip(rng.normal(1, 0.06), 0.8, 1.2)) / pace
        moving = length * (1 - still)
        reach = float(np.clip(rng.normal(1, 0.05), 0.8, 1.15))
        out += reach * (eased(time, at, moving * there) - eased(time, at + moving * there, moving * (1 - there)))
        at += length
    return out


def arms(
    person: Person,
    rng: np.random.Generator,
    *,
    activity: str,
    sides: str,
    pace: float,
    amplitude: float,
    seconds: float,
    rate: float,
) -> Movement:
    """A gesture of the arms while standing.

    Args:
        person: who makes it.
        rng: draws the posture and the variation.
        activity: "arm raise to the front", "arm raise to the side", "arm swing", "forearm rotation", "pulling" or
            "waving".
        sides: "l", "r", or "lr".
        pace: strokes per second.
        amplitude: degrees.
        seconds: how long.
        rate: frames per second.
    """
    base = rest(person, rng, standing(person, rng), seconds, rate)
    angles = dict(base.angles)
    count = len(base)
    still = float(rng.uniform(0, 0.25))
    stroke = _strokes(rng, count, rate, pace, float(rng.uniform(0.4, 0.55)), still)
    wave = np.sin(2 * np.pi * np.cumsum(pace * (1 + 0.05 * wander(rng, count, rate, 0.5))) / rate)
    for k, s in enumerate(sides):
        own = 1 + 0.06 * wander(rng, count, rate, 0.4)
        if activity == "arm raise to the front":
            angles[f"shoulder_{s}"] = amplitude * stroke * own
            angles[f"shoulder_abd_{s}"] = rng.uniform(0, 8) + np.zeros(count)
            angles[f"elbow_{s}"] = rng.uniform(3, 20) + 8 * stroke
        elif activity == "arm raise to the side":
            angles[f"shoulder_{s}"] = rng.uniform(-5, 8) + np.zeros(count)
            angles[f"shoulder_abd_{s}"] = 6 + amplitude * stroke * own
            angles[f"elbow_{s}"] = rng.uniform(3, 20) + 6 * stroke
        elif activity == "arm swing":
            angles[f"shoulder_{s}"] = rng.uniform(0, 8) + amplitude / 2 * wave * own * (1 if k == 0 else -1)
            angles[f"elbow_{s}"] = rng.uniform(8, 30) + 6 * np.clip(wave, -0.5, 1)
        elif activity == "forearm rotation":
            angles[f"shoulder_{s}"] = rng.uniform(0, 30) + 1.5 * wave
            angles[f"elbow_{s}"] = rng.uniform(70, 100) + 2 * wave
            angles[f"pronation_{s}"] = 40 + amplitude / 2 * wave * own
        elif activity == "pulling":
            angles[f"shoulder_{s}"] = 75 - 85 * stroke * own * amplitude / 100
            angles[f"elbow_{s}"] = 12 + amplitude * stroke
            angles[f"shoulder_abd_{s}"] = 10 + 15 * stroke
        else:  # waving
            angles[f"shoulder_abd_{s}"] = rng.uniform(60, 95) + np.zeros(count)
            angles[f"shoulder_{s}"] = rng.uniform(0, 25) + np.zeros(count)
            angles[f"shoulder_rot_{s}"] = rng.uniform(60, 90) + amplitude / 2 * wave * own
            angles[f"elbow_{s}"] = rng.uniform(75, 110) + 5 * wave
    # The trunk leans against what the arms do.
    angles["trunk"] = angles["trunk"] - 0.02 * amplitude * (stroke if "swing" not in activity else wave)
    angles["trunk_twist"] = 0.03 * amplitude * wave * (len(sides) == 1)
    return replace(base, angles=angles)


def jump(
    person: Person, rng: np.random.Generator, *, height: float, pause: float, seconds: float, rate: float
) -> Movement:
    """Jumps on the spot: down, a push, flight by the laws of falling, a landing that bends the knees.

    Args:
        person: who jumps.
        rng: varies height and time from jump to jump.
        height: metres that the body rises in flight.
        pause: seconds between a landing and the next jump.
        seconds: how long.
        rate: frames per second.
    """
    from scipy.ndimage import gaussian_filter1d

    count = round(seconds * rate)
    time = np.arange(count) / rate
    drop = np.zeros(count)  # of the hips below standing, above 0; below 0 in flight
    flying = np.zeros(count)
    jolts = []
    at = float(rng.uniform(0.1, 0.6))
    while at < seconds:
        rise = height * float(np.clip(rng.normal(1, 0.08), 0.7, 1.3))
        leave = np.sqrt(2 * G * rise)
        depth = float(rng.uniform(0.16, 0.26)) * person.height / 1.72
        push = 2.2 * depth / leave
        down, land = float(rng.uniform(0.3, 0.45)), 0.35
        fly = 2 * leave / G
        t = time - at
        drop = np.where((t >= 0) & (t < down), depth * minimum_jerk(t / down), drop)
        x = np.clip((t - down) / push, 0, 1)
        # From rest at the depth to the pace of the leap at 0: Hermite's cubic, which pushes upwards all the way.
        up = depth * (2 * x**3 - 3 * x**2 + 1) - leave * push * (x**3 - x**2)
        drop = np.where((t >= down) & (t < down + push), up, drop)
        f = t - down - push
        drop = np.where((f >= 0) & (f < fly), -(leave * f - G / 2 * f**2), drop)
        flying = np.where((f >= 0) & (f < fly), 1.0, flying)
        y = np.clip((f - fly) / land, 0, 1)
        sink = leave * land * y * (1 - y) ** 2
        drop = np.where((f >= fly) & (f < fly + land), sink, drop)
        jolts.append((int((at + down + push + fly) * rate), "both", 22.0 * person.impact * (rise / 0.2) ** 0.5))
        at += down + push + fly + land + pause * float(rng.uniform(0.7, 1.3))
    # A leg is straight when it leaves the ground, where nothing bounds the pace of its knee's angle: muscles smooth it.
    bend, flying = (
        gaussian_filter1d(values, 0.04 * rate, mode="nearest")
        for values in (_bend(np.clip(drop, 0, None) / person.height), flying)
    )
    base = rest(person, rng, standing(person, rng), seconds, rate)
    angles = {name: value for name, value in base.angles.items() if not name.startswith(("hip", "knee", "ankle"))}
    lean = 0.35 * bend
    for s in "lr":
        angles[f"knee_{s}"] = 3 + bend
        angles[f"hip_{s}"] = 1.5 + bend * 0.55 + lean
        angles[f"ankle_{s}"] = 1.5 + bend * 0.45 - 35 * flying
        angles[f"shoulder_{s}"] = angles[f"shoulder_{s}"] - 0.35 * bend + 5 * wander(rng, count, rate, 2.0)
    angles["trunk"] = angles["trunk"] + 0.2 * bend
    stand = (THIGH + SHANK + ANKLE_HEIGHT + 0.05) * person.height
    root = np.stack([base.root[:, 0], base.root[:, 1], stand - drop], axis=1)
    facing = base.facing.copy()
    facing[:, 1] += np.radians(lean)
    return Movement(rate, root, facing, angles, tuple(j for j in jolts if j[0] < count))


def _bend(drop: Array) -> Array:
    """Degrees of knee flexion that bring the hips down by this much (by the body's height)."""
    leg = THIGH + SHANK
    return np.asarray(np.degrees(2 * np.arccos(np.clip(1 - drop / leg, 0.3, 1))))
