"""Tables and arrays: CSV, Parquet, NPY, arrays and frames in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modalign.errors import ReadError
from modalign.modalities.ecg.clock import TOLERANCE, is_clock, rate_of
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.leads import UNIT
from modalign.modalities.ecg.recording import Array, Recording
from modalign.modalities.tables import as_array, numbers, open_csv, short


def read_frame(frame: pd.DataFrame, where: str, fields: EcgFields, names: list[str] | None = None) -> Recording:
    """A table whose columns are leads: `II`, or with a unit as `II [mV]`.

    A column of time or row numbers says the rate, or must agree with it (see `clock.py`).

    Raises:
        ReadError: a cell is not a number, a column is no lead and no time, or times contradict the rate or have gaps.
    """
    names = [str(c) for c in frame.columns] if names is None else names
    kept = [i for i, name in enumerate(names) if not is_clock(name)]
    columns = [numbers(frame.iloc[:, i], where, names[i]) for i in kept]
    if not columns or not len(frame):
        raise ReadError(f"{where}: has no rows of numbers; copy or record it again")
    clocks = [(names[i], frame.iloc[:, i]) for i in range(len(names)) if is_clock(names[i])]
    rates = [rate for name, cells in clocks if (rate := rate_of(cells, name, fields.rate, where))]
    if rates and max(rates) / min(rates) > 1 + TOLERANCE:
        raise ReadError(f"{where}: its columns of time say {', '.join(f'{r:g}' for r in rates)} Hz; leave one out")
    parts = [(match[1], match[2]) if (match := UNIT.fullmatch(names[i])) else (names[i], "") for i in kept]
    return Recording(
        where, "table", np.stack(columns), tuple(p[0].strip() for p in parts), tuple(p[1] for p in parts),
        (1.0,) * len(kept), rates[0] if rates else None,
    )  # fmt: skip


def read_array(array: Any, where: str, fields: EcgFields) -> Recording:
    """An array or tensor, (C, T) or (T, C) by the number of leads that the manifest names.

    Raises:
        ReadError: it holds no numbers, its leads are not named, or their number fits neither or both axes.
    """
    array = as_array(array, where)
    if not isinstance(fields.leads, tuple):
        raise ReadError(
            f"{where}: an array's leads have no names; name its leads in order with ecg.leads = 'I, II, III, ...' "
            "('-' skips one)"
        )
    count = len(fields.leads)
    if array.ndim == 1 and count == 1:
        array = array[None]
    if array.ndim != 2 or count not in array.shape:
        raise ReadError(
            f"{where}: the array's shape is {array.shape}, and ecg.leads names {count}; name each lead in order"
        )
    if array.shape == (count, count):
        raise ReadError(f"{where}: the shape {array.shape} may be (C, T) or (T, C); give a recording of another length")
    values = np.asarray(array if array.shape[0] == count else array.T, dtype=np.float64)
    if values.shape[1] == 0:
        raise ReadError(f"{where}: the array is empty; copy or record it again")
    return Recording(where, "array", values, ("",) * count, ("",) * count, (1.0,) * count, named=False)


def read_csv(path: Path, fields: EcgFields) -> Recording:
    """A CSV or TSV table, maybe gzipped; without a header where the manifest names the leads in order."""
    names, frame, headed = open_csv(path)
    if not headed:
        return read_array(_all_numbers(frame, path), str(path), fields)
    return read_frame(frame, str(path), fields, names)


def _all_numbers(frame: pd.DataFrame, path: Path) -> Array:
    try:
        return frame.to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ReadError(f"{path}: a cell is not a number ({short(error)})") from None
