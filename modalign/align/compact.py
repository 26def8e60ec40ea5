"""Tables of many rows in little memory: cells that stand in many rows are held once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import pandas as pd

CHUNK = 10_000
"""Rows that are made into records at a time."""
MANY = 100_000
"""Rows from which a table's repeated texts are held once; below it costs more than it saves."""

T = TypeVar("T")


class Pool:
    """Gives back the first of equal values, so that the others can be let go.

    Example:
        >>> pool = Pool()
        >>> first, second = pool.one("".join(["a", "b"])), pool.one("".join(["a", "b"]))
        >>> first is second
        True
    """

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def one(self, value: T) -> T:
        """The value, or an equal one that came before; a mapping by its items. What cannot be hashed stays itself."""
        try:
            key = (dict, *value.items()) if isinstance(value, dict) else value
            first: T = self._known.setdefault(key, value)
        except TypeError:  # an array, or a mapping of mappings
            return value
        return first

    def each(self, values: dict[str, T]) -> dict[str, T]:
        """A mapping whose values came from this pool: the first that has these very values."""
        first: dict[str, T] = self._known.setdefault((dict, *((k, id(v)) for k, v in values.items())), values)
        return first


def records_of(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows as mappings, a chunk of them in memory at a time."""
    for start in range(0, len(table), CHUNK):
        yield from table.iloc[start : start + CHUNK].to_dict("records")  # type: ignore[misc]


def give_back() -> None:
    """Return to the system what Arrow keeps for tables to come: as much as a large one that was read took."""
    import pyarrow

    pyarrow.default_memory_pool().release_unused()


def shared_cells(table: pd.DataFrame) -> pd.DataFrame:
    """A large table, its columns of texts that repeat as categories; a small one as it is."""
    if len(table) < MANY:
        return table
    repeated = [c for c in table if isinstance(table[c].iloc[0], str) and table[c].nunique() < len(table) / 2]
    return table.astype(dict.fromkeys(repeated, "category"))
