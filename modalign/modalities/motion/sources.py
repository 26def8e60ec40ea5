"""A source (file, array, frame) as a `Table`: named columns of numbers. It knows nothing of motion's units or rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from modalign.errors import ReadError, suggest
from modalign.modalities import tables
from modalign.modalities.tables import Array

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
                column = tables.numbers(cells, self.where, self.names[at], rows.start)
        self._refuse_not_finite(column.reshape(-1, 1), [self.names[at]], rows.start)
        return column

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
            return _array_table(tables.as_array(tables.open_npy(source), where), where, columns)
        if kind == ".parquet":
            frame = tables.open_parquet(source)
            return _rename(Table(where, tuple(str(c) for c in frame.columns), frame), positional)
        return _open_csv(source, where, positional)
    if isinstance(source, pd.DataFrame):
        return _rename(Table(where, tuple(str(c) for c in source.columns), source), positional)
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return _array_table(tables.as_array(source, where), where, columns)
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


def _open_csv(path: Path, where: str, positional: tuple[str, ...] | None) -> Table:
    names, frame, headed = tables.open_csv(path)
    if not headed and positional is None:
        raise ReadError(
            f"{where}: the first row holds numbers, so there is no header; name its {len(names)} columns in order with "
            "motion.columns = 'acc_x, acc_y, ...' ('-' skips one)"
        )
    return _rename(Table(where, tuple(names), frame), positional)
