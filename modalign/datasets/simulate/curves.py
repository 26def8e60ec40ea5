"""How legs move in a stride: angles by the phase of the gait cycle, 0 where the foot meets the ground.

The knots are ours, set after the shapes and ranges that gait laboratories report: level walking (Winter 1991; Perry and
Burnfield 2010), stairs (Riener, Rabuffetti, Frigo 2002; Protopapadaki et al. 2007), running (Novacheck 1998). From
memory, and rounded; the walk and the run lie within the ranges of CMU's clips 02_01 to 02_03 (thigh -19 to 32 degrees
at 1.2 m/s, -28 to 36 at 1.6 m/s; -16 to 43 running).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Knots = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Gait:
    """A way of walking.

    Attributes:
        thigh: per cent of the stride -> degrees from the vertical, forwards above 0.
        knee: likewise, flexion.
        ankle: likewise, dorsiflexion.
        duty: the part of the stride that a foot is on the ground.
        contact: per cent -> where the foot bears on the ground: 0 the heel, 1 the ball.
        pace: strides per second of a person of 1.72 m at ordinary pace.
        climb: metres that a stride rises, or falls.
        trunk: degrees of lean beyond the person's own.
        sway: metres to either side.
        swing: factor of the arms' swing; elbow: degrees of flexion at rest.
        jolt: m/s2 that the step passes up the leg, at the ankle.
        bounce: factor of the pelvis's rise and fall, which rigid legs on hard stairs make less of than people do.
    """

    thigh: Knots
    knee: Knots
    ankle: Knots
    duty: float
    contact: Knots
    pace: float
    climb: float = 0.0
    trunk: float = 0.0
    sway: float = 0.018
    swing: float = 1.0
    elbow: float = 18.0
    jolt: float = 20.0
    bounce: float = 1.2


GAITS: dict[str, Gait] = {
    "walking": Gait(
        thigh=((0, 24), (10, 22), (20, 13), (30, 3), (40, -7), (50, -15), (54, -16), (60, -11), (70, 8), (80, 23),
               (87, 28), (93, 27)),
        knee=((0, 6), (7, 14), (14, 19), (22, 17), (32, 10), (40, 7), (46, 9), (52, 18), (60, 40), (66, 56), (72, 63),
              (79, 56), (86, 36), (92, 14), (96, 6)),
        ankle=((0, 0), (7, -5), (14, -1), (30, 6), (42, 10), (50, 7), (56, -6), (62, -17), (70, -9), (80, 0), (90, 2)),
        duty=0.62, contact=((0, 0.0), (10, 0.25), (30, 0.5), (45, 1.0), (62, 1.0)), pace=0.95,
    ),
    "walking upstairs": Gait(
        thigh=((0, 50), (10, 47), (20, 36), (30, 24), (40, 14), (50, 6), (57, 2), (63, 5), (70, 20), (80, 44),
               (88, 56), (93, 57), (97, 54)),
        knee=((0, 62), (10, 60), (20, 47), (30, 32), (40, 20), (50, 11), (57, 11), (63, 26), (70, 64), (78, 88),
              (85, 87), (92, 73)),
        ankle=((0, 10), (10, 14), (20, 11), (35, 6), (48, 5), (56, -8), (64, -16), (72, 2), (82, 10), (92, 9)),
        duty=0.64, contact=((0, 0.75), (20, 0.7), (45, 1.0), (64, 1.0)), pace=0.78, climb=0.33, trunk=9.0, sway=0.025,
        swing=0.55, elbow=30.0, jolt=9.0, bounce=0.9,
    ),
    "walking downstairs": Gait(
        thigh=((0, 12), (10, 16), (20, 15), (30, 12), (40, 11), (50, 15), (58, 23), (66, 32), (74, 35), (82, 29),
               (90, 18), (96, 12)),
        knee=((0, 9), (8, 21), (16, 27), (28, 29), (38, 36), (48, 52), (58, 76), (65, 88), (71, 85), (80, 60),
              (89, 25), (95, 10)),
        ankle=((0, -20), (8, -4), (16, 8), (28, 14), (42, 22), (52, 25), (60, 14), (68, 3), (78, -4), (90, -18)),
        duty=0.61, contact=((0, 1.0), (14, 0.6), (35, 0.7), (50, 1.0), (61, 1.0)), pace=0.92, climb=-0.33, trunk=1.0,
        sway=0.022, swing=0.6, elbow=25.0, jolt=24.0, bounce=1.5,
    ),
    "running": Gait(
        thigh=((0, 32), (8, 28), (16, 17), (24, 4), (32, -10), (38, -16), (43, -15), (52, 3), (62, 25), (72, 40),
               (80, 45), (90, 40)),
        knee=((0, 17), (7, 30), (14, 41), (21, 39), (29, 27), (36, 18), (42, 26), (50, 56), (60, 90), (66, 96),
              (74, 84), (84, 48), (93, 19)),
        ankle=((0, 4), (8, 13), (17, 21), (26, 10), (34, -14), (39, -20), (48, -8), (62, 0), (80, 4)),
        duty=0.34, contact=((0, 0.3), (15, 0.7), (34, 1.0)), pace=1.38, trunk=6.0, sway=0.01, swing=1.6, elbow=85.0,
        jolt=36.0,
    ),
}  # fmt: skip


@lru_cache(maxsize=64)
def _spline(knots: Knots) -> Any:
    from scipy.interpolate import CubicSpline

    places = np.array([place / 100 for place, _ in knots] + [knots[0][0] / 100 + 1])
    values = np.array([value for _, value in knots] + [knots[0][1]])
    return CubicSpline(places, values, bc_type="periodic")


def curve(knots: Knots, phase: Array) -> Array:
    """Degrees at each phase (strides; whole numbers are foot strikes): periodic and smooth.

    Example:
        >>> curve(GAITS["walking"].knee, np.array([0.0, 0.72, 3.0])).round().tolist()
        [6.0, 63.0, 6.0]
    """
    return np.asarray(_spline(knots)(np.mod(phase, 1.0)))


def held(knots: Knots, phase: Array) -> Array:
    """Linear between the knots, and constant after the last."""
    return np.asarray(np.interp(np.mod(phase, 1.0) * 100, [k for k, _ in knots], [v for _, v in knots]))


def ramp(phase: Array, duty: float, overlap: float) -> Array:
    """The part of the body's weight (0 to 1) that a foot bears: rises after its strike, falls before it leaves."""
    at = np.mod(phase, 1.0)
    rise = np.clip(at / overlap, 0, 1)
    fall = np.clip((duty - at) / overlap, 0, 1)
    weight = np.minimum(rise, fall)
    return np.asarray(weight * weight * (3 - 2 * weight))
