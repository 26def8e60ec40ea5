"""Subgroups of rows by columns of the manifest: sex, age, site, device; numbers in bins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from modalign.align.manifest import Manifest
from modalign.errors import ManifestError, suggest
from modalign.tasks.figures import UNKNOWN

FEW_VALUES = 6
"""A column of numbers with no more distinct ones is taken as names (0 and 1 for sex, numbers of sites)."""


def subgroups_of(manifest: Manifest, by: Sequence[str]) -> dict[str, list[str]]:
    """Column -> the subgroup of each row.

    Args:
        manifest: the rows, with the table that they came from.
        by: columns; `age` takes quarters of the rows where a column holds many numbers, `age=40,60` bins of one's own.

    Example:
        >>> subgroups_of(manifest, ["sex", "age=40,60"])["age"][:2]   # doctest: +SKIP
        ['under 40', '60 or more']

    Raises:
        ManifestError: there is no such column, it is empty, or edges that are no rising numbers.
    """
    return {name: _column(manifest, name, edges) for name, edges in map(_parse, by)}


def split_by(said: str) -> list[str]:
    """`sex,age=40,60,site` -> its parts: a number after a comma belongs to the edges before it.

    Example:
        >>> split_by("sex,age=40,60,site")
        ['sex', 'age=40,60', 'site']
    """
    parts: list[str] = []
    for piece in said.split(","):
        if parts and "=" in parts[-1] and _number(piece) is not None:
            parts[-1] += f",{piece.strip()}"
        elif piece.strip():
            parts.append(piece.strip())
    return parts


def _parse(said: str) -> tuple[str, list[float]]:
    name, equals, listed = said.partition("=")
    edges = [_number(piece) for piece in listed.split(",")] if equals else []
    known = [edge for edge in edges if edge is not None]
    if len(known) < len(edges) or sorted(set(known)) != known:
        raise ManifestError(f"--by {said!r}: edges are rising numbers with commas between them, such as age=40,60")
    return name.strip(), known


def _column(manifest: Manifest, name: str, edges: Sequence[float]) -> list[str]:
    if name not in manifest.table:
        columns = [str(c) for c in manifest.table]
        raise ManifestError(f"{manifest.path}: --by: has no column {name!r}; {suggest(name, columns)}")
    cells = ["" if _missing(value) else str(value).strip() for value in manifest.table[name]]
    given = [c for c in cells if c]
    if not given:
        raise ManifestError(f"{manifest.path}: --by: the column {name!r} is empty in all {len(cells):,} rows")
    numbers = [_number(c) for c in given]
    numeric = all(n is not None for n in numbers)
    if edges and not numeric:
        wrong = next(c for c, n in zip(given, numbers) if n is None)
        raise ManifestError(f"{manifest.path}: --by: {name!r} has edges, and {wrong!r} is no number")
    if not numeric or (not edges and len(set(numbers)) <= FEW_VALUES):
        return [_name(c) if c else UNKNOWN for c in cells]
    values = np.array([n for n in numbers if n is not None])
    bounds = list(edges) or sorted({float(f"{q:.3g}") for q in np.quantile(values, [0.25, 0.5, 0.75])})
    return [_bin(float(c), bounds) if c else UNKNOWN for c in cells]


def _bin(value: float, bounds: Sequence[float]) -> str:
    place = int(np.searchsorted(bounds, value, side="right"))
    if place == 0:
        return f"under {bounds[0]:g}"
    return f"{bounds[-1]:g} or more" if place == len(bounds) else f"{bounds[place - 1]:g} to {bounds[place]:g}"


def _name(cell: str) -> str:
    number = _number(cell)  # a column of whole numbers with gaps comes as floats
    return cell if number is None or not number.is_integer() else str(int(number))


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _missing(value: object) -> bool:
    return value is None or str(value).strip().lower() in ("", "nan", "<na>", "nat")
