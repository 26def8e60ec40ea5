"""Time: what the rate is, whether stamps are regular, and which samples a window holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from modalign.errors import ReadError

Array = np.ndarray[Any, Any]

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
RATE_TOLERANCE = 0.02
"""How far the stated rate and that of the stamps may be apart."""
STEP_TOLERANCE = 1.5
"""A step longer than this many median steps is a gap."""
JITTER_TOLERANCE = 0.05
"""Standard deviation of the steps, relative to their mean, above which stamps are irregular."""
MAX_GAP = 0.5
"""Seconds; a longer gap is not bridged by interpolation."""


@dataclass(frozen=True)
class Window:
    """Which rows to read, at which rate (Hz), and, where stamps are irregular, where to interpolate to."""

    rows: slice
    rate: float
    source_rate: float
    stamps: Array | None = None
    grid: Array | None = None

    def resample(self, block: Array) -> Array:
        """Rows (n, C) -> the window's samples (N, C): as they are, or linearly interpolated on the grid."""
        if self.grid is None or self.stamps is None:
            return block
        return np.stack([np.interp(self.grid, self.stamps, column) for column in block.T], axis=1)


def seconds(stamps: Array, unit: str | None, where: str) -> Array:
    """Stamps of any unit -> seconds from the first (float64), strictly rising.

    Raises:
        ReadError: the unit is missing, or a stamp repeats or goes back; says the row (the first data row is 1).
    """
    if stamps.dtype.kind == "M":
        elapsed = (stamps - stamps[0]) / np.timedelta64(1, "ns") * 1e-9
    elif unit is None:
        raise ReadError(f"{where}: motion.time_unit is missing; say s, ms, us or ns")
    else:
        # The first is subtracted before the conversion: nanoseconds since 1970 do not fit a float's 53 bits.
        exact = stamps.astype(np.int64 if stamps.dtype.kind in "iu" else np.float64)
        elapsed = (exact - exact[0]).astype(np.float64) * SECONDS[unit]
    bad = np.flatnonzero(~(np.diff(elapsed) > 0))
    if len(bad):
        i = int(bad[0]) + 1
        how = "repeats" if elapsed[i] == elapsed[i - 1] else "goes back in"
        raise ReadError(
            f"{where}: row {i + 1} {how} time ({stamps[i]} after {stamps[i - 1]}; {len(bad)} such rows); "
            "sort the rows and drop repeats"
        )
    return np.asarray(elapsed)


def measured_rate(elapsed: Array) -> float:
    """Samples per second: one over the mean step, gaps left out, since a median is wrong where stamps are rounded.

    Example:
        >>> measured_rate(np.array([0.0, 0.02, 0.04, 0.5, 0.52]))
        50.0
    """
    steps = np.diff(elapsed)
    regular = steps[steps <= STEP_TOLERANCE * np.median(steps)]
    return round(1 / float(regular.mean()), 6)


def window_by_rate(rows: int, rate: float, start: float | None, end: float | None, where: str) -> Window:
    """The window of a recording that is regular by statement.

    Raises:
        ReadError: the window is empty or outside the recording.
    """
    length = rows / rate
    begin, count = _bounds(start, end, length, rate, where)
    first = min(_near(begin * rate), rows - count)
    return Window(slice(first, first + count), rate, rate)


def window_by_stamps(
    elapsed: Array,
    rate: float | None,
    *,
    start: float | None,
    end: float | None,
    irregular: Literal["refuse", "resample"],
    where: str,
) -> Window:
    """The window of a recording with stamps; only the stamps inside it must be regular.

    Raises:
        ReadError: the window is empty or outside, the stamps contradict the rate, are irregular, or have a long gap.
    """
    if len(elapsed) < 2:
        raise ReadError(f"{where}: {len(elapsed)} rows say no rate; a recording has two at least")
    measured = measured_rate(elapsed)
    if rate is not None and abs(rate / measured - 1) > RATE_TOLERANCE:
        raise ReadError(
            f"{where}: motion.rate says {rate:g} Hz and the time column {measured:g} Hz; mend motion.rate or "
            "motion.time_unit, or leave motion.rate out"
        )
    rate = rate or measured
    step = 1 / rate
    begin, count = _bounds(start, end, float(elapsed[-1]) + step, rate, where)
    first = int(np.searchsorted(elapsed, begin - step / 2))
    last = len(elapsed) if end is None else int(np.searchsorted(elapsed, begin + (count - 0.5) * step))
    problem = _irregularity(elapsed[first:last])
    if not problem and last - first > 1:
        # Regular, so that the count of rows decides: equal spans give equal windows whatever the rounding of stamps.
        if end is None:
            count = len(elapsed) - first
        first = max(min(first, len(elapsed) - count), 0)
        count = min(count, len(elapsed) - first)
        return Window(slice(first, first + count), rate, measured)
    if irregular == "refuse" and problem:
        raise ReadError(
            f"{where}: the time stamps are irregular: {problem}; set motion.irregular = resample to interpolate"
        )
    grid = begin + np.arange(count) * step
    rows = slice(max(first - 1, 0), min(last + 1, len(elapsed)))
    stamps = elapsed[rows]
    gaps = np.diff(stamps)
    if len(gaps) and gaps.max() > MAX_GAP:
        i = int(gaps.argmax())
        raise ReadError(
            f"{where}: no samples for {gaps[i]:.3g} s after {stamps[i]:.3f} s, and gaps over {MAX_GAP} s are not "
            "filled; read a part without it by motion.start and motion.end"
        )
    # A window that was asked for keeps its length; a whole recording ends with its last stamp.
    beyond = 1e-9 if end is None else step / 2
    return Window(rows, rate, measured, stamps, grid[grid <= stamps[-1] + beyond])


def _irregularity(elapsed: Array) -> str:
    """What is irregular in these stamps, with figures, or nothing."""
    steps = np.diff(elapsed)
    if not len(steps):
        return ""
    median, longest = float(np.median(steps)), float(steps.max())
    if longest > STEP_TOLERANCE * median:
        at = float(elapsed[int(steps.argmax())])
        return f"a step of {longest * 1e3:.4g} ms after {at:.3f} s, where the median is {median * 1e3:.4g} ms"
    jitter = float(steps.std() / steps.mean())
    return (
        f"the steps vary by {jitter:.1%} (standard deviation), over {JITTER_TOLERANCE:.0%}"
        if jitter > JITTER_TOLERANCE
        else ""
    )


def _bounds(start: float | None, end: float | None, length: float, rate: float, where: str) -> tuple[float, int]:
    """Beginning (s) and count of samples; equal spans give equal counts, whatever the beginning."""
    begin, stop = start or 0.0, length if end is None else end
    slack = 0.5 / rate
    if begin >= stop:
        what = "motion.end" if end is not None else "the recording's length"
        raise ReadError(
            f"{where}: motion.start ({begin:g} s) is not before {what} ({stop:g} s); it lasts {length:.3f} s"
        )
    if begin >= length or stop > length + slack:
        raise ReadError(
            f"{where}: {begin:g} to {stop:g} s is outside the recording, which lasts {length:.3f} s; mend the window"
        )
    count = min(_near((stop - begin) * rate), math.ceil(round(length * rate, 6)))
    if count < 1:
        raise ReadError(f"{where}: {begin:g} to {stop:g} s holds no sample at {rate:g} Hz; make the window longer")
    return begin, count


def _near(x: float) -> int:
    return round(round(x, 6))
