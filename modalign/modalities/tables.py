"""Tables and arrays as files hold them: CSV, Parquet, NPY, tensors. What the columns mean is the modality's to say."""

from __future__ import annotations

import csv
import gzip
import zlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import torch

from modalign.errors import ReadError

Array = np.ndarray[Any, Any]


def open_npy(path: Path) -> Array:
    """A plain NumPy file, memory-mapped, so that a window of a long recording costs its own bytes only.

    Raises:
        ReadError: it is damaged, an archive, or holds pickled objects, which are never loaded.
    """
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"PK"):
        raise ReadError(f"{path}: is an .npz archive; save the one array with np.save")
    if magic != b"\x93NUMPY":
        # np.load would take it for a pickle.
        raise ReadError(f"{path}: not a readable NumPy file (it begins with {magic!r}); save it again with np.save")
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is tokenised as Python, and a broken one fails in any way (fuzzed)
        mend = "save numbers, pickled objects are never loaded," if "object" in str(error).lower() else "save it"
        raise ReadError(f"{path}: not a readable NumPy file ({short(error)}); {mend} again with np.save") from error
    return array


def open_parquet(path: Path) -> pd.DataFrame:
    """A Parquet table, without what pandas wrote about itself.

    Raises:
        ReadError: it is damaged.
    """
    import pyarrow.parquet

    try:
        frame: pd.DataFrame = pyarrow.parquet.read_table(path).to_pandas(ignore_metadata=True)
    except Exception as error:  # pyarrow has errors of many classes
        raise ReadError(f"{path}: not a readable Parquet file ({short(error)}); write it again") from error
    return frame


def open_csv(path: Path) -> tuple[list[str], pd.DataFrame, bool]:
    """A CSV or TSV file, maybe gzipped, of any delimiter of comma, semicolon and tab.

    Returns:
        The names in the first row, the rows below it, and whether there is a header at all: where the first row holds
        numbers it is none, it stays among the rows, and the names are positions.

    Raises:
        ReadError: it is damaged, not text, or its rows are of another length than its header.
    """
    first = _first_line(path)
    delimiter = _delimiter(first, path)
    names = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
    headless = bool(names) and all(_is_number(name) for name in names)
    try:
        # The header is read apart, since pandas renames columns that have the same name.
        frame = pd.read_csv(
            path, sep=delimiter, header=None, skiprows=0 if headless else 1, low_memory=False, encoding="utf-8-sig",
            skipinitialspace=True,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        raise ReadError(f"{path}: has a header and no rows; copy or record it again") from None
    except (pd.errors.ParserError, UnicodeError, OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
        _refuse_csv(error, path)
    if frame.shape[1] != len(names):
        raise ReadError(
            f"{path}: the header has {len(names)} names and the rows {frame.shape[1]} cells; mend the header"
        )
    return [str(i) for i in range(len(names))] if headless else names, frame, not headless


def numbers(cells: Any, where: str, name: str, first: int = 0) -> Array:
    """A column's cells as float64; empty ones are NaN.

    Args:
        cells: a pandas Series.
        where: how errors name the source.
        name: of the column.
        first: the position of its first cell in the whole table.

    Raises:
        ReadError: a cell is no number; says which.
    """
    if cells.dtype.kind in "cmM":  # a conversion would drop imaginary parts, and count nanoseconds since 1970
        raise ReadError(f"{where}: column {name!r} is of type {cells.dtype}, not of numbers; save it as float32")
    values = pd.to_numeric(cells, errors="coerce")
    words = np.flatnonzero((values.isna() & cells.notna()).to_numpy())
    if cells.dtype == bool:
        words = np.array([0])
    if len(words):
        cell = str(cells.iloc[words[0]])
        hint = "; write decimal points, not commas" if cell.replace(",", "", 1).lstrip("-").isdigit() else ""
        raise ReadError(f"{where}: row {first + words[0] + 1}, column {name!r}: {cell!r} is not a number{hint}")
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))


def as_array(source: Any, where: str) -> Array:
    """An array or tensor of numbers as a NumPy array on the CPU.

    Raises:
        ReadError: it does not hold numbers.
    """
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu()
        # NumPy has no bfloat16.
        source = source.float().numpy() if source.dtype in (torch.bfloat16, torch.float16) else source.numpy()
    if source.dtype.kind not in "iuf":
        raise ReadError(f"{where}: the array is of type {source.dtype}, not of numbers; save it as float32")
    array: Array = source
    return array


def short(error: Exception) -> str:
    """The first line of a library's error, cut."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _refuse_csv(error: Exception, path: Path) -> NoReturn:
    raise ReadError(
        f"{path}: not a readable CSV file ({short(error)}); it must be UTF-8 text, or that gzipped as .csv.gz"
    ) from error


def _first_line(path: Path) -> str:
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
            line = file.readline(1 << 20).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        _refuse_csv(error, path)
    if "\x00" in line:
        _refuse_csv(ValueError("binary data"), path)
    if not line.strip():
        raise ReadError(f"{path}: the first line is empty; it must hold the names of the columns")
    return line.rstrip("\r\n")


def _delimiter(line: str, path: Path) -> str:
    counts = {mark: line.count(mark) for mark in ("\t", ";", ",")}
    best = max(counts, key=lambda mark: counts[mark])
    ties = [mark for mark in counts if counts[mark] == counts[best]]
    if counts[best] and len(ties) > 1:
        raise ReadError(
            f"{path}: the first line has as many {ties[0]!r} as {ties[1]!r}; use one of them between columns"
        )
    return best if counts[best] else ","


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
