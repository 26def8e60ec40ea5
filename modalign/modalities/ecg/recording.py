"""`Recording`: what every format yields, before leads are chosen and units are turned into mV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Recording:
    """Channels as a file holds them.

    Attributes:
        where: how errors name the source.
        kind: "wfdb", "dicom", "table", "array".
        values: (C, T), float64, in `units`; NaN where a sample is marked invalid.
        names: the file's own names of the channels ("" where there is none).
        units: of each channel, as the file writes it; "" where it does not say.
        per_unit: stored numbers per unit, of each channel; 1 where numbers are stored as they are.
        rate: Hz, or None where the file does not say.
        named: whether `names` come from the file; False for arrays, whose names the manifest gives.
        codes: diagnosis codes that the header lists.
        extremes: of the whole record (see `extremes`), where the window of ecg.start and ecg.end is taken already.
    """

    where: str
    kind: str
    values: Array
    names: tuple[str, ...]
    units: tuple[str, ...]
    per_unit: tuple[float, ...]
    rate: float | None = None
    named: bool = True
    codes: tuple[str, ...] = ()
    extremes: Array | None = None


def rows_between(start: float | None, end: float | None, rate: float, total: int) -> tuple[int, int]:
    """The samples of a window in seconds: [first, last).

    Raises:
        ValueError: the window leaves the recording.
    """
    first = round((start or 0.0) * rate)
    last = total if end is None else round(end * rate)
    if first >= total or last > total or first >= last:
        raise ValueError(
            f"the window {start or 0:g} to {'the end' if end is None else f'{end:g} s'} does not lie inside the "
            f"recording of {total / rate:g} s; mend ecg.start and ecg.end"
        )
    return first, last


SPAN = 2.0
"""Seconds: so long that each span has a beat, down to 30 in a minute."""


def extremes(values: Array, rate: float) -> Array:
    """The lowest and the highest value of every span of two seconds: (C, T) -> (C, S, 2); NaN where none is finite.

    What is left over at the end counts to no span, unless it is all there is.
    """
    length = min(max(round(SPAN * rate), 1), values.shape[1])
    cut = values[:, : values.shape[1] // length * length].reshape(len(values), -1, length)
    cut = np.where(np.isfinite(cut), cut, np.nan)
    return np.stack([np.fmin.reduce(cut, axis=2), np.fmax.reduce(cut, axis=2)], axis=2)
