"""Tables and arrays: CSV, Parquet, NPY, a MATLAB v5 file as CPSC2018 has them, arrays and frames in memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modalign.errors import ReadError
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.recording import Array, Recording
from modalign.modalities.tables import as_array, numbers, open_csv, short

_UNIT = re.compile(r"(.*?)\s*[\[(]\s*(mV|uV|µV|V)\s*[\])]\s*", re.IGNORECASE)
_TIME = re.compile(
    r"(time|times|timestamp|t|seconds|sec|ms|sample|samples|sample_index|index|unnamed: 0|)([ _]*[\[(].*[\])])?"
)


def read_frame(frame: pd.DataFrame, where: str, names: list[str] | None = None) -> Recording:
    """A table whose columns are leads: `II`, or with a unit as `II [mV]`; a column of time or row numbers is left out.

    Raises:
        ReadError: a cell is not a number, or a column is no lead and no time.
    """
    names = [str(c) for c in frame.columns] if names is None else names
    kept = [i for i, name in enumerate(names) if not _TIME.fullmatch(name.strip().lower())]
    columns = [numbers(frame.iloc[:, i], where, names[i]) for i in kept]
    if not columns or not len(frame):
        raise ReadError(f"{where}: has no rows of numbers; copy or record it again")
    parts = [(match[1], match[2]) if (match := _UNIT.fullmatch(names[i])) else (names[i], "") for i in kept]
    return Recording(
        where, "table", np.stack(columns), tuple(p[0].strip() for p in parts), tuple(p[1] for p in parts),
        (1.0,) * len(kept),
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
    return read_frame(frame, str(path), names)


def _all_numbers(frame: pd.DataFrame, path: Path) -> Array:
    try:
        return frame.to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ReadError(f"{path}: a cell is not a number ({short(error)})") from None


def open_matlab(path: Path) -> Array:
    """A MATLAB v5 file with one matrix, or with a struct whose field `data` is one (CPSC2018's `ECG.data`): (C, T)."""
    from scipy.io import loadmat

    try:
        content = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    except Exception as error:  # scipy fails in many ways on a damaged file
        raise ReadError(
            f"{path}: not a readable MATLAB file ({short(error)}), and there is no WFDB header beside it"
        ) from error
    if len(content) != 1:
        raise ReadError(
            f"{path}: holds {len(content)} variables ({', '.join(content)}); save the one matrix of the ECG"
        )
    array = next(iter(content.values()))
    if array.dtype.names and "data" in array.dtype.names and array.size == 1:
        array = array["data"].reshape(-1)[0]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf" or array.ndim != 2:
        raise ReadError(f"{path}: holds no matrix of numbers; save the ECG as one, leads by samples")
    return array
