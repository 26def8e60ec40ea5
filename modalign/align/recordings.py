"""Rows that are windows of one file share a recording, whether or not the manifest's `cluster` says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modalign.align.manifest import Row

WINDOW = ("start", "end")
"""The fields that choose a window of a file; all others choose another recording in it (a series, a channel)."""

Key = tuple[str, str, str]


def name_recordings(rows: list[Row]) -> int:
    """Give windows of one file that have no cluster the file's name for one, in place: how many rows were given one.

    Such rows are not independent, and an interval over them would be too narrow; a file in two splits is found, too.
    """
    shared = {key for key, count in Counter(key for row in rows for key in _keys(row)).items() if count > 1}
    taken = {row.cluster for row in rows}
    names: dict[Key, str] = {}
    for row in rows:  # where some windows of a file have a cluster, the others are of it
        for key in _keys(row):
            if key in shared and row.cluster:
                names.setdefault(key, row.cluster)
    changed = 0
    for i, row in enumerate(rows):
        key = next((key for key in _keys(row) if key in shared), None)
        if row.cluster or key is None:
            continue
        if key not in names:
            name = Path(key[1]).name
            same = sum(taken_name == name or taken_name.startswith(f"{name} #") for taken_name in taken)
            names[key] = f"{name} #{same + 1}" if same else name
            taken.add(names[key])
        rows[i] = replace(row, cluster=names[key])
        changed += 1
    return changed


def _keys(row: Row) -> Iterator[Key]:
    """What makes two rows windows of one recording: a tower's file, and all that is said of it but the window."""
    for tower, source in row.sources.items():
        if isinstance(source, Path):
            said = sorted((k, v) for k, v in row.fields.get(tower, {}).items() if k not in WINDOW)
            yield tower, str(source), repr(said)
