"""Smooth random functions of time: how nothing that a body does is ever the same, nor quite still."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def wander(rng: np.random.Generator, count: int, rate: float, cutoff: float, columns: int | None = None) -> Array:
    """Gaussian noise below `cutoff` (Hz), of variance 1 over all draws: (count,) or (count, columns).

    Made as a cubic spline through independent values two to a period of the cutoff.
    """
    from scipy.interpolate import CubicSpline

    step = 1 / (2 * cutoff)
    nodes = max(int(np.ceil(count / rate / step)) + 4, 4)
    start = rng.uniform(0, step)
    values = rng.normal(size=(nodes, columns or 1))
    drawn = CubicSpline((np.arange(nodes) - 1) * step - start, values)(np.arange(count) / rate)
    return np.asarray(drawn if columns else drawn[:, 0])


def minimum_jerk(part: Array) -> Array:
    """From 0 to 1 as limbs move between two rests (Flash and Hogan 1985); `part` beyond 0 to 1 is held."""
    x = np.clip(part, 0, 1)
    return np.asarray(x**3 * (10 - 15 * x + 6 * x * x))


def eased(time: Array, begin: float, length: float) -> Array:
    """`minimum_jerk` over time (s): begins at `begin` and takes `length`."""
    return minimum_jerk((time - begin) / length)
