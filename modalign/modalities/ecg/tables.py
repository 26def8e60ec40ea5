"""Tables and arrays: CSV, Parquet, NPY, a MATLAB v5 file as CPSC2018 has them, arrays and frames in memory."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from modalign.errors import ReadError
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.recording import Array, Recording

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
    columns = []
    for i in kept:
        cells = frame.iloc[:, i]
        numbers = pd.to_numeric(cells, errors="coerce")
        words = np.flatnonzero((numbers.isna() & cells.notna()).to_numpy())
        if len(words) or cells.dtype == bool:
            at = int(words[0]) if len(words) else 0
            raise ReadError(f"{where}: row {at + 1}, column {names[i]!r}: {str(cells.iloc[at])!r} is not a number")
        columns.append(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
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
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = array.float().numpy() if array.dtype in (torch.bfloat16, torch.float16) else array.numpy()
    if array.dtype.kind not in "iuf":
        raise ReadError(f"{where}: the array is of type {array.dtype}, not of numbers; save it as float32")
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


def open_npy(path: Path) -> Array:
    """A plain NumPy file, memory-mapped; pickled objects are never loaded."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is tokenised as Python, and a broken one fails in any way
        mend = (
            "pickled objects are never loaded; save numbers with np.save" if "pickle" in str(error) else _short(error)
        )
        raise ReadError(f"{path}: not a readable NumPy file ({mend})") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ReadError(f"{path}: is an .npz archive; save the one array with np.save")
    return array


def open_parquet(path: Path) -> pd.DataFrame:
    """A Parquet table."""
    import pyarrow.parquet

    try:
        frame: pd.DataFrame = pyarrow.parquet.read_table(path).to_pandas(ignore_metadata=True)
    except Exception as error:  # pyarrow has errors of many classes
        raise ReadError(f"{path}: not a readable Parquet file ({_short(error)}); write it again") from error
    return frame


def open_csv(path: Path, fields: EcgFields) -> Recording:
    """A CSV or TSV table, maybe gzipped; without a header where the manifest names the leads in order."""
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
            first = file.readline(1 << 20).decode("utf-8-sig")
        if "\x00" in first or not first.strip():
            raise ValueError("the first line is empty or binary; it must hold the leads' names")
        mark = max("\t;,", key=first.count)
        cells = [cell.strip() for cell in next(csv.reader([first], delimiter=mark))]
        headless = all(_is_number(cell) for cell in cells)
        # The header is read apart, since pandas renames columns that have the same name.
        frame = pd.read_csv(path, sep=mark, header=None, skiprows=0 if headless else 1, encoding="utf-8-sig")
    except Exception as error:  # pandas, gzip and csv each have errors of their own
        raise ReadError(f"{path}: not a readable CSV file ({_short(error)}); it must be UTF-8 text") from error
    if frame.shape[1] != len(cells):
        raise ReadError(
            f"{path}: the header has {len(cells)} names and the rows {frame.shape[1]} cells; mend the header"
        )
    if headless:
        return read_array(_all_numbers(frame, path), str(path), fields)
    return read_frame(frame, str(path), cells)


def _all_numbers(frame: pd.DataFrame, path: Path) -> Array:
    try:
        return frame.to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ReadError(f"{path}: a cell is not a number ({_short(error)})") from None


def open_matlab(path: Path) -> Array:
    """A MATLAB v5 file with one matrix, or with a struct whose field `data` is one (CPSC2018's `ECG.data`): (C, T)."""
    from scipy.io import loadmat

    try:
        content = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    except Exception as error:  # scipy fails in many ways on a damaged file
        raise ReadError(
            f"{path}: not a readable MATLAB file ({_short(error)}), and there is no WFDB header beside it"
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


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
