"""Columns of time and of row numbers: what rate they say, and whether they are regular.

Apart from motion's: an ECG's stamps are often rounded (360 Hz in whole ms), and irregular ones are never interpolated.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from modalign.errors import ReadError
from modalign.modalities.ecg.recording import Array
from modalign.modalities.tables import numbers

TOLERANCE = 0.02
"""How far the stated rate and that of the stamps may be apart; stamps are rounded."""
LONGEST = 1.5
"""A step longer than this many mean steps is a gap; rounding up to half a step makes none."""

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_WORDS = {"seconds": "s", "second": "s", "sec": "s", "s": "s", "msec": "ms", "milliseconds": "ms", "ms": "ms",
          "us": "us", "µs": "us", "ns": "ns"}  # fmt: skip
_COUNTS = ("sample", "samples", "sample_index", "index", "unnamed: 0", "")
_NAME = re.compile(r"(time|times|timestamp|t|seconds|sec|ms|sample|samples|sample_index|index|unnamed: 0|)(.*)")
_UNIT = re.compile(r"(?:[ _]*[\[(](.*)[\])]|[ _]+(s|sec|seconds|ms|msec|us|ns))?")


def _parts(name: str) -> tuple[str, str] | None:
    match = _NAME.fullmatch(name.strip().lower())
    unit = match and _UNIT.fullmatch(match[2])
    return (match[1], (unit[1] or unit[2] or "").strip()) if match and unit else None


def is_clock(name: str) -> bool:
    """Whether a column is time or a row number, and no lead.

    Example:
        >>> [is_clock(n) for n in ("time", "Time [s]", "sample", "time_ms", "II")]
        [True, True, True, True, False]
    """
    return _parts(name) is not None


def rate_of(cells: pd.Series, name: str, stated: float | None, where: str) -> float | None:
    """The rate (Hz) that a column says; None where it counts rows, its unit is not said, or it agrees with `stated`.

    Raises:
        ReadError: it does not rise evenly, or contradicts the stated rate.
    """
    stamps, unit = _stamps(cells, name, where)
    if len(stamps) < 2:
        return None
    steps = np.diff(stamps)
    mean = float(stamps[-1] - stamps[0]) / len(steps)
    bad = np.flatnonzero(~(steps > 0))
    if not len(bad):
        bad = np.flatnonzero(steps > LONGEST * mean)
    if len(bad):
        i = int(bad[0])
        what = "leaves a gap" if steps[i] > 0 else "repeats or goes back"
        raise ReadError(
            f"{where}: column {name!r} {what} at row {i + 2} ({stamps[i]:g} to {stamps[i + 1]:g}; {len(bad)} such "
            "rows); give a part without it, or leave the column out if it is wrong"
        )
    if unit == "count":
        return None
    if stated is None:
        return round(1 / (mean * _SECONDS[unit]), 4) if unit else None
    # A clock whose unit is not said may count seconds, parts of them, or rows.
    possible = [1 / (mean * size) for size in ([_SECONDS[unit]] if unit else _SECONDS.values())]
    counts_rows = not unit and abs(mean - 1) < 1e-9
    if not counts_rows and min(abs(rate / stated - 1) for rate in possible) > TOLERANCE:
        raise ReadError(
            f"{where}: column {name!r} says {possible[0]:.6g} Hz{'' if unit else ' (in seconds)'} and ecg.rate says "
            f"{stated:g}; mend one, or leave the column out"
        )
    return None


def _stamps(cells: pd.Series, name: str, where: str) -> tuple[Array, str]:
    """Stamps from the first, and their unit: "s" and so on, "count", or "" where it is not said."""
    parts = _parts(name)
    word, said = parts if parts is not None else ("", "")
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        exact = cells.to_numpy(dtype="datetime64[ns]")
        return (exact - exact[0]) / np.timedelta64(1, "s"), "s"
    if not pd.api.types.is_numeric_dtype(cells.dtype):
        dates = pd.to_datetime(cells, errors="coerce", format="ISO8601")
        if dates.notna().all():
            return _stamps(dates, name, where)
    stamps = numbers(cells, where, name)
    if word in _COUNTS and not said:
        return stamps, "count"
    return stamps - stamps[0], _WORDS.get(said, _WORDS.get(word, ""))
