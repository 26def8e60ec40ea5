"""Rows that are windows of one file share a recording, whether or not the manifest's `cluster` says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modalign.align.manifest import Row


def name_recordings(rows: list[Row]) -> int:
    """Give rows that share a file and have no cluster the file's name for one, in place: how many were given one.

    Windows, channels and captions of one recording are not independent: an interval over them would be too narrow,
    and a file in two splits would be trained on and tested on.
    """
    counts = Counter(file for row in rows for file in _files(row))
    names: dict[str, str] = {}
    for row in rows:  # where some rows of a file have a cluster, the others are of it
        if row.cluster:
            for file in _files(row):
                names.setdefault(file, row.cluster)
    taken = {row.cluster for row in rows}
    changed = 0
    for i, row in enumerate(rows):
        shared = [file for file in _files(row) if counts[file] > 1]
        if row.cluster or not shared:
            continue
        file = shared[0]
        if file not in names:
            names[file] = _free(Path(file).name, taken)
            taken.add(names[file])
        rows[i] = replace(row, cluster=names[file])
        changed += 1
    return changed


def _files(row: Row) -> list[str]:
    return [str(source) for source in row.sources.values() if isinstance(source, Path)]


def _free(name: str, taken: set[str]) -> str:
    """The name, numbered where another file or recording has it."""
    number = 1
    while (numbered := name if number == 1 else f"{name} #{number}") in taken:
        number += 1
    return numbered
