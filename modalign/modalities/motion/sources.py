"""A source (file, array, frame) as a `Table`: named columns of numbers. It knows nothing of motion's units or rates."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import torch

from modalign.errors import ReadError, suggest

Array = np.ndarray[Any, Any]
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".npy")


@dataclass(frozen=True)
class Table:
    """Columns of numbers by name. `data` is an array (rows, columns), maybe memory-mapped, or a DataFrame."""

    where: str
    names: tuple[str, ...]
    data: Any

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.data)

    def index(self, name: str) -> int:
        """The position of a column.

        Raises:
            ReadError: there is none of this name, or several.
        """
        if name not in self.names:
            raise ReadError(f"{self.where}: no column {name!r}: {suggest(name, [n for n in self.names if n])}")
        if self.names.count(name) > 1:
            raise ReadError(
                f"{self.where}: {self.names.count(name)} columns are named {name!r}; give them different names"
            )
        return self.names.index(name)

    def raw(self, name: str) -> Array:
        """A whole column as it is stored (integers stay integers).

        Raises:
            ReadError: a cell is not a finite number.
        """
        return self._column(self.index(name), slice(0, self.rows))

    def block(self, names: Sequence[str], rows: slice) -> Array:
        """Some rows of some columns: (rows, columns), float64.

        Raises:
            ReadError: a cell is not a finite number; says the row and the column.
        """
        at = [self.index(name) for name in names]
        if isinstance(self.data, np.ndarray):
            block = np.asarray(self.data[rows])[:, at].astype(np.float64)
            self._refuse_not_finite(block, names, rows.start)
            return block
        return np.stack([self._column(i, rows) for i in at], axis=1).astype(np.float64)

    def _column(self, at: int, rows: slice) -> Array:
        if isinstance(self.data, np.ndarray):
            column = np.asarray(self.data[rows, at])
        else:
            cells = self.data.iloc[rows, at]
            if pd.api.types.is_datetime64_any_dtype(cells.dtype):
                return np.asarray(cells.to_numpy(dtype="datetime64[ns]"))
            column = cells.to_numpy()
            if column.dtype.kind not in "iuf":
                column = self._numbers(cells, self.names[at], rows.start)
        self._refuse_not_finite(column.reshape(-1, 1), [self.names[at]], rows.start)
        return column

    def _numbers(self, cells: Any, name: str, first: int) -> Array:
        numbers = pd.to_numeric(cells, errors="coerce")
        words = np.flatnonzero((numbers.isna() & cells.notna()).to_numpy())
        if cells.dtype == bool:
            words = np.array([0])
        if len(words):
            cell = str(cells.iloc[words[0]])
            hint = "; write decimal points, not commas" if cell.replace(",", "", 1).lstrip("-").isdigit() else ""
            raise ReadError(
                f"{self.where}: row {first + words[0] + 1}, column {name!r}: {cell!r} is not a number{hint}"
            )
        return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan))

    def _refuse_not_finite(self, block: Array, names: Sequence[str], first: int) -> None:
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0]
            raise ReadError(
                f"{self.where}: row {first + row + 1}, column {names[column]!r} is empty, NaN or infinite; "
                "fill or cut it"
            )


def open_table(source: Any, where: str, columns: Any) -> Table:
    """Open a path, an array or a DataFrame.

    Args:
        source: Path, numpy array or torch tensor (T, C), or DataFrame.
        where: how errors name it.
        columns: the field `columns`; a tuple of names in column order is applied here, since arrays need it.

    Raises:
        ReadError: it cannot be opened, or the names do not fit it.
    """
    positional = columns if isinstance(columns, tuple) else None
    if isinstance(source, Path):
        kind = _suffix(source, where)
        if kind == ".npy":
            return _array_table(_open_npy(source, where), where, columns)
        if kind == ".parquet":
            frame = _open_parquet(source, where)
            return _rename(Table(where, tuple(str(c) for c in frame.columns), frame), positional)
        return _open_csv(source, where, positional)
    if isinstance(source, pd.DataFrame):
        return _rename(Table(where, tuple(str(c) for c in source.columns), source), positional)
    if isinstance(source, torch.Tensor):
        source = (
            (source.detach().float() if source.dtype in (torch.bfloat16, torch.float16) else source.detach())
            .cpu()
            .numpy()
        )
    if isinstance(source, np.ndarray):
        return _array_table(source, where, columns)
    raise ReadError(
        f"{where}: give a path, a numpy or torch array (T, C), or a pandas DataFrame, not {type(source).__name__}"
    )


def _suffix(path: Path, where: str) -> str:
    if path.is_dir():
        raise ReadError(f"{where}: is a folder; give one file ({', '.join(SUFFIXES)})")
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix.removesuffix(".gz")
    raise ReadError(
        f"{where}: files of the kind {path.suffix!r} cannot be read; convert it to one of {', '.join(SUFFIXES)}"
    )


def _rename(table: Table, names: tuple[str, ...] | None) -> Table:
    """Apply names in column order, unless they contradict the table's own."""
    if names is None:
        return table
    if len(names) != len(table.names):
        raise ReadError(
            f"{table.where}: motion.columns names {len(names)} columns and the file has {len(table.names)} "
            f"({', '.join(table.names)}); name each in order, '-' for one to skip, or write channel=column"
        )
    for given, own in zip(names, table.names):
        if given != own and given in table.names:
            raise ReadError(
                f"{table.where}: motion.columns puts {given!r} where the file has {own!r}, and the file has a column "
                f"of that name elsewhere; write {given}={given} and so on to go by name"
            )
    return Table(table.where, names, table.data)


def _array_table(array: Array, where: str, columns: Any) -> Table:
    if array.dtype.kind not in "iuf":
        raise ReadError(f"{where}: the array is of type {array.dtype}, not of numbers; save it as float32")
    if array.ndim != 2:
        raise ReadError(f"{where}: the array's shape is {array.shape}; motion is (T, C), a row a moment; reshape it")
    if not isinstance(columns, tuple):
        raise ReadError(
            f"{where}: an array's columns have no names; name its {array.shape[1]} columns in order with "
            "motion.columns = 'acc_x, acc_y, acc_z, ...' ('-' skips one)"
        )
    count = len(columns)
    if array.shape == (count, count):
        raise ReadError(f"{where}: the shape {array.shape} may be (T, C) or (C, T); give a recording of another length")
    if array.shape[1] != count and array.shape[0] == count:
        array = array.T
    if array.shape[1] != count:
        raise ReadError(
            f"{where}: motion.columns names {count} columns, and the array's shape is {array.shape}; "
            "name each column in order, '-' for one to skip"
        )
    return Table(where, columns, array)


def _open_npy(path: Path, where: str) -> Array:
    try:
        # Memory-mapped, so that a window of a long recording costs its own bytes only.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is tokenised as Python, and a broken one fails in any way (fuzzed)
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise ReadError(
                f"{where}: not a plain NumPy file (pickled objects are never loaded); "
                "save numbers: np.save(path, array)"
            ) from error
        raise ReadError(f"{where}: not a readable NumPy file ({_short(error)}); save it again with np.save") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ReadError(f"{where}: is an .npz archive; save the one array with np.save")
    return array


def _open_parquet(path: Path, where: str) -> pd.DataFrame:
    import pyarrow
    import pyarrow.parquet

    try:
        frame: pd.DataFrame = pyarrow.parquet.read_table(path).to_pandas(ignore_metadata=True)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ReadError(f"{where}: not a readable Parquet file ({_short(error)}); write it again") from error
    return frame


def _open_csv(path: Path, where: str, positional: tuple[str, ...] | None) -> Table:
    first = _first_line(path, where)
    delimiter = _delimiter(first, where)
    cells = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
    headless = bool(cells) and all(_is_number(cell) for cell in cells)
    if headless and positional is None:
        raise ReadError(
            f"{where}: the first row holds numbers, so there is no header; name its {len(cells)} columns in order with "
            "motion.columns = 'acc_x, acc_y, ...' ('-' skips one)"
        )
    names = tuple(str(i) for i in range(len(cells))) if headless else tuple(cells)
    try:
        # The header is read apart, since pandas renames columns that have the same name.
        frame = pd.read_csv(
            path, sep=delimiter, header=None, skiprows=0 if headless else 1, low_memory=False, encoding="utf-8-sig",
            skipinitialspace=True,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        raise ReadError(f"{where}: has a header and no rows; copy or record it again") from None
    except (pd.errors.ParserError, UnicodeError, OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
        _refuse_csv(error, where)
    if frame.shape[1] != len(names):
        raise ReadError(
            f"{where}: the header has {len(names)} names and the rows {frame.shape[1]} cells; mend the header"
        )
    return _rename(Table(where, names, frame), positional)


def _refuse_csv(error: Exception, where: str) -> NoReturn:
    raise ReadError(
        f"{where}: not a readable CSV file ({_short(error)}); it must be UTF-8 text, or that gzipped as .csv.gz"
    ) from error


def _first_line(path: Path, where: str) -> str:
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
            line = file.readline(1 << 20).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        _refuse_csv(error, where)
    if "\x00" in line:
        _refuse_csv(ValueError("binary data"), where)
    if not line.strip():
        raise ReadError(f"{where}: the first line is empty; it must hold the names of the columns")
    return line.rstrip("\r\n")


def _delimiter(line: str, where: str) -> str:
    counts = {mark: line.count(mark) for mark in ("\t", ";", ",")}
    best = max(counts, key=lambda mark: counts[mark])
    ties = [mark for mark in counts if counts[mark] == counts[best]]
    if counts[best] and len(ties) > 1:
        raise ReadError(
            f"{where}: the first line has as many {ties[0]!r} as {ties[1]!r}; use one of them between columns"
        )
    return best if counts[best] else ","


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
