"""What the motion data sets share: windows over a span, runs of one label, bridging short gaps, and text matrices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modalign.errors import ReadError, RecipeError

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
Array = NDArray[np.float64]
WINDOW_OPTIONS = {
    "window": "seconds of a window",
    "hop": "seconds between the starts of windows; half a window by default",
}


def windows(begin: float, end: float, window: float, hop: float) -> list[tuple[float, float]]:
    """The windows inside a span, in seconds: whole ones only.

    Example:
        >>> windows(0.0, 5.0, 2.0, 1.0)
        [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (3.0, 5.0)]
    """
    count = int((end - begin - window) / hop + 1e-9) + 1 if end - begin >= window - 1e-9 else 0
    return [(round(begin + k * hop, 6), round(min(begin + k * hop + window, end), 6)) for k in range(count)]


def stretch_rows(
    folder: Path, rate: float, window: float, hop: float, people: Mapping[str, Sequence[int]], who: str
) -> list[dict[str, Any]]:
    """The rows of a manifest for files of one activity each: a row a window, a cluster a file.

    Args:
        folder: holds files (T, C) named `PERSON-LABEL-NUMBER.npy`, with `_` for blanks in the label.
        rate: Hz.
        window: seconds.
        hop: seconds between the starts of windows.
        people: split -> its people, from `held_out_people`.
        who: what the data set calls a person, for the group.
    """
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.npy")):
        person, label, _ = path.stem.split("-")
        length = len(np.load(path, mmap_mode="r", allow_pickle=False)) / rate
        rows += [
            {
                "id": f"{path.stem}-{k:04d}",
                "split": by_people(people, int(person)),
                "group": f"{who}-{person}",
                "cluster": path.stem,
                "label": label.replace("_", " "),
                "motion": path.name,
                "motion.start": begin,
                "motion.end": end,
            }
            for k, (begin, end) in enumerate(windows(0.0, length, window, hop))
        ]
    return rows


def runs(values: Sequence[Any] | NDArray[Any]) -> Iterator[tuple[Any, int, int]]:
    """(value, first, last + 1) of each run of equal neighbours.

    Example:
        >>> list(runs(["a", "a", "b"]))
        [('a', 0, 2), ('b', 2, 3)]
    """
    array = np.asarray(values)
    edges = [0, *(np.flatnonzero(array[1:] != array[:-1]) + 1).tolist(), len(array)]
    for first, last in pairwise(edges):
        if last > first:
            yield array[first].item(), first, last


def bridge(data: Array, most: int) -> list[tuple[int, int, Array]]:
    """Fill gaps of up to `most` rows by linear interpolation, and cut at longer ones: (first, last + 1, data).

    Args:
        data: (T, C); a row with any NaN is a gap.
        most: rows.
    """
    present = ~np.isnan(data).any(axis=1)
    at = np.flatnonzero(present)
    pieces = []
    cuts = np.flatnonzero(np.diff(at) > most + 1) + 1
    for part in np.split(at, cuts):
        if len(part):
            grid = np.arange(part[0], part[-1] + 1)
            filled = np.stack([np.interp(grid, part, data[part, c]) for c in range(data.shape[1])], axis=1)
            pieces.append((int(part[0]), int(part[-1]) + 1, filled))
    return pieces


def read_matrix(path: Path, columns: int | None = None) -> Array:
    """Numbers between blanks: (rows, columns), float64.

    Raises:
        ReadError: the file is absent, or holds something else.
    """
    if not path.is_file():
        raise ReadError(f"{path}: no such file; give the folder that the data set was unpacked to")
    try:
        table = pd.read_csv(path, sep=r"\s+", header=None, dtype=np.float64, na_values=["NaN"])
    except (ValueError, OSError) as error:
        raise ReadError(f"{path}: not numbers between blanks ({str(error)[:120]}); unpack the data set again") from None
    if columns is not None and table.shape[1] != columns:
        raise ReadError(f"{path}: has {table.shape[1]} columns, not {columns}; unpack the data set again")
    return np.asarray(table.to_numpy())


def find_folder(root: Path, name: str, inside: str) -> Path:
    """The folder that holds the file or folder `inside`: the root, or one that is named `name` up to two levels down.

    Raises:
        ReadError: there is none.
    """
    for folder in (root, *sorted(root.glob(name)), *sorted(root.glob(f"*/{name}"))):
        if (folder / inside).exists():
            return folder
    raise ReadError(f"{root}: holds no {inside}; give the folder {name!r} of the data set")


def by_people(people: Mapping[str, Sequence[int]], person: int) -> str:
    """Which split a person is in.

    Example:
        >>> by_people({"test": [3], "val": [2]}, 1)
        'train'
    """
    return next((split for split, members in people.items() if person in members), "train")


def people_of(option: str, value: Any) -> list[int]:
    """An option that lists people: "19-24" or "106,108".

    Raises:
        RecipeError: it is something else.

    Example:
        >>> people_of("test", "19-21,30")
        [19, 20, 21, 30]
    """
    found: list[int] = []
    try:
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            members = range(int(first), int(last if dash else first) + 1)
            if not members:
                raise ValueError
            found += members
    except ValueError:
        raise RecipeError(f"--option {option}={value}: lists people as 19-24 or 106,108") from None
    return found


def held_out_people(test: Any, val: Any) -> dict[str, list[int]]:
    """The options `test` and `val`, which may not share a person.

    Raises:
        RecipeError: they do, or are no lists of people.
    """
    people = {"test": people_of("test", test), "val": people_of("val", val)}
    both = sorted(set(people["test"]) & set(people["val"]))
    if both:
        raise RecipeError(f"--option val={val}: person {both[0]} is in test too; a person is in one split")
    return people


def check_present(people: Mapping[str, Sequence[int]], present: Iterable[int]) -> None:
    """Refuse a split whose people are nowhere in the data, since it would be empty without a word.

    Raises:
        RecipeError: none of them is there.
    """
    there = sorted(set(present))
    for split, members in people.items():
        if not set(members) & set(there):
            raise RecipeError(
                f"--option {split}={','.join(map(str, members))}: none of these people is in the data "
                f"(who is: {', '.join(map(str, there))})"
            )
