"""Units and conventions: whatever the source has -> specific force in m/s2 and rotation in rad/s. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from modalign.errors import ReadError

Array = np.ndarray[Any, Any]

STANDARD_GRAVITY = 9.80665
"""m/s2 in one g, by definition."""
MAX_ROTATION = 60.0
"""rad/s; consumer gyroscopes end at 2000 deg/s, which is 35 rad/s."""
_CORE_MOTION = re.compile(r"gravity|useracc")


def looks_ios(names: Iterable[str]) -> list[str]:
    """Those column names that are Core Motion's names of accelerations (of either sign convention elsewhere).

    Example:
        >>> looks_ios(["userAcceleration.x", "motionGravityX(G)", "accX", "rotationRate.x"])
        ['userAcceleration.x', 'motionGravityX(G)']
    """
    return [name for name in names if _CORE_MOTION.search(re.sub(r"[^a-z]", "", name.lower()))]


def looks_linear(names: Iterable[str]) -> list[str]:
    """Those column names that say linear acceleration, which on Android is without gravity.

    Example:
        >>> looks_linear(["linear_acceleration_x", "TYPE_LINEAR_ACCELERATION.y", "acc_x"])
        ['linear_acceleration_x', 'TYPE_LINEAR_ACCELERATION.y']
    """
    return [name for name in names if "linearacc" in re.sub(r"[^a-z]", "", name.lower())]


def specific_force(acceleration: Array, gravity: Array | None, unit: str, convention: str) -> Array:
    """Acceleration (n, k) in `unit` -> specific force in m/s2.

    Core Motion's gravity points down and its total is gravity + userAcceleration, so that specific force, which
    points up at rest, is the opposite of the total (checked on MotionSense: |mean| 9.81 while standing). Android's
    gravity points up already.
    """
    total = acceleration if gravity is None else acceleration + gravity
    factor = STANDARD_GRAVITY if unit == "g" else 1.0
    return total * (-factor if convention == "ios" else factor)


def rotation(values: Array, unit: str) -> Array:
    """Rotation rates (n, k) in `unit` -> rad/s."""
    return values * (math.pi / 180) if unit == "deg/s" else values


def check_force(force: Array, unit: str, where: str) -> None:
    """Refuse a specific force (n, 3; m/s2, at least a second of it) whose size says that the unit is another.

    A body that moves about averages near 1 g whatever it does, so that a factor of ten is a wrong unit.

    Raises:
        ReadError: names the unit that the figures speak for.
    """
    median = float(np.median(np.sqrt(np.square(force).sum(1))))
    ratio = median / STANDARD_GRAVITY
    stated = median / (STANDARD_GRAVITY if unit == "g" else 1.0)
    if unit == "g" and 5 < ratio <= 15:
        raise ReadError(
            f"{where}: motion.unit says g, but the median acceleration is {stated:.3g}, as of a body at rest in m/s2; "
            "set motion.unit = m/s2"
        )
    if unit == "m/s2" and 0.07 < ratio < 0.15:
        raise ReadError(
            f"{where}: motion.unit says m/s2, but the median acceleration is {stated:.3g}, as of a body at rest in g; "
            "set motion.unit = g (or, where gravity was taken out, give the columns that have it)"
        )
    if ratio > 10:
        raise ReadError(
            f"{where}: the median acceleration is {stated:.4g} {unit}, which no body bears for long; "
            "convert the raw counts or mg to g or m/s2 first"
        )


def check_rotation(rates: Array, unit: str, where: str) -> None:
    """Refuse rotation rates (n, k; rad/s) faster than any gyroscope measures.

    Raises:
        ReadError: names the unit that the figures speak for.
    """
    size = np.abs(rates)
    # The maximum is ten times cheaper than the quantile, and settles nearly every window.
    if size.max() <= MAX_ROTATION or (high := float(np.quantile(size, 0.99))) <= MAX_ROTATION:
        return
    if unit == "rad/s":
        raise ReadError(
            f"{where}: motion.gyro_unit says rad/s, but 1 % of the rates are above {high:.4g}, faster than gyroscopes "
            "measure; set motion.gyro_unit = deg/s"
        )
    raise ReadError(
        f"{where}: 1 % of the rotation rates are above {math.degrees(high):.5g} deg/s, faster than gyroscopes measure; "
        "convert the raw counts to deg/s or rad/s first"
    )
