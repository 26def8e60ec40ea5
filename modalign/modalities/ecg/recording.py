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
        cut: whether the window of ecg.start and ecg.end is taken already.
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
    cut: bool = False


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


def finite_or_nan(values: Array) -> Array:
    """Infinite values as NaN, since neither is a voltage."""
    return np.where(np.isfinite(values), values, np.nan)
