"""Pairs of two manifests' rows: the same patient, and the nearest time within a window."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from modalign.align.manifest import SPLITS, Manifest, Sidecar, read_manifest, read_sidecar
from modalign.datasets.manifest import write_manifest
from modalign.errors import ManifestError, RecipeError, suggest
from modalign.modalities.registry import get_modality, list_modalities
from modalign.tasks.plain import plain_table

UNITS = {"w": "weeks", "d": "days", "h": "hours", "min": "minutes", "s": "seconds"}
PATIENT = "patient"
"""What `--by` may say for the manifest's own word, `group`."""
TEXT = "text"


@dataclass(frozen=True)
class Paired:
    """What was paired.

    Attributes:
        path: of the manifest that was written.
        table: its rows.
        alone: why rows of the first manifest have no partner -> how many.
        shared: rows of the second that are in several pairs.
        moved: pairs whose second row had another split; the first one's stands.
    """

    path: Path
    table: pd.DataFrame
    alone: dict[str, int]
    shared: int
    moved: int


def parse_window(text: str) -> timedelta:
    """ "60d", "12h", "90 min" -> a time.

    Raises:
        RecipeError: it is none.

    Example:
        >>> parse_window("1.5h")
        datetime.timedelta(seconds=5400)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(w|d|h|min|s)", text.strip())
    if match is None:
        raise RecipeError(f"--within {text!r}: write a number and a unit ({', '.join(UNITS)}), as 60d")
    return timedelta(**{UNITS[match[2]]: float(match[1])})


def nearest(times: Sequence[datetime], others: Sequence[datetime], within: timedelta) -> list[int | None]:
    """For each of `times`, which of `others` is nearest and within the window, its end included; None: none is.

    Of two that are as near the earlier one is taken, and of equal ones the first.

    Example:
        >>> day = [datetime(2020, 1, n) for n in (1, 5, 9)]
        >>> nearest(day, [datetime(2020, 1, 4), datetime(2020, 1, 7)], timedelta(days=2))
        [None, 0, 1]
    """
    found: list[int | None] = []
    for time in times:
        best = min(range(len(others)), key=lambda i: (abs(others[i] - time), others[i], i), default=None)
        found.append(best if best is not None and abs(others[best] - time) <= within else None)
    return found


@dataclass(frozen=True)
class _Side:
    """A manifest, by what pairing needs of it."""

    manifest: Manifest
    sidecar: Sidecar
    root: Path
    modalities: tuple[str, ...]
    people: list[str]
    times: list[datetime | None]

    @property
    def name(self) -> str:
        return "_".join(self.modalities)


def pair_manifests(
    first: Path,
    second: Path,
    out: Path,
    *,
    within: timedelta,
    time: str,
    time_b: str | None = None,
    by: str = "group",
    join: bool = False,
    allow_outside: bool = False,
) -> Paired:
    """Write a row for each row of the first manifest that has a partner in the second.

    A row has the first's id, split, group, cluster and further columns, the labels of both, both modalities with their
    fields, `text_<modality>` for each text (a recipe's tower of this name says `modality: text`), `id_<modality>`,
    `time_<modality>` and `apart_days`. A row of the second may be in several pairs.

    Args:
        first: a manifest, with splits; they are kept.
        second: another, of other modalities.
        out: the .csv to write.
        within: how far apart times may be.
        time: the column of times, ISO 8601 ("2020-05-01", "20200501", "2020-05-01 13:45").
        time_b: the second's, where it has another name.
        by: the column that says who it is; "patient" stands for `group` where no column is called so.
        join: add the column `text`: both texts as one, each after "The report from Xray is: " (MoRE's prefixes; MoRE
            encodes them as a sentence pair of its tokenizer, which a manifest cannot say).
        allow_outside: admit paths that leave the manifests' folders.

    Raises:
        ManifestError: a manifest cannot be read or says no time or person, both have one modality, a person's pairs
            are in two splits, or nothing pairs.
    """
    a = _side(first, by, time, allow_outside)
    b = _side(second, by, time_b or time, allow_outside)
    twice = sorted(set(a.modalities) & set(b.modalities))
    if twice:
        raise ManifestError(f"{first} and {second} both have a column {twice[0]!r}; pair manifests of two modalities")
    pairs, alone = _pairs(a, b, within)
    if not pairs:
        raise ManifestError(
            f"{first} and {second}: no rows pair within {within} ({_said(alone)}); give a longer --within, or check "
            f"that {by!r} names the same people in both"
        )
    _check_splits(a, pairs)
    root = Path(os.path.commonpath([a.root, b.root]))
    left, right = (_columns(side, root) for side in (a, b))
    spare = [c for c in right if c not in left and c not in ("split", "cluster", "label", "labels")]
    table = left.iloc[[i for i, _ in pairs]].reset_index(drop=True)
    partner = right.iloc[[j for _, j in pairs]].reset_index(drop=True)
    table["group"] = [a.people[i] for i, _ in pairs]
    table = table.drop(columns=["label", "labels"], errors="ignore")
    labels = [dict.fromkeys((*a.manifest.rows[i].labels, *b.manifest.rows[j].labels)) for i, j in pairs]
    if any(labels):
        table["labels"] = [";".join(one) for one in labels]
    table = pd.concat([table, partner[spare]], axis=1)
    table[f"id_{b.name}"] = [b.manifest.rows[j].id for _, j in pairs]
    for side, place in ((a, 0), (b, 1)):
        chosen = [side.times[pair[place]] for pair in pairs]
        table[f"time_{side.name}"] = [one.isoformat() if one else "" for one in chosen]
    table["apart_days"] = [round(_apart(a.times[i], b.times[j]) / timedelta(days=1), 4) for i, j in pairs]
    if join:
        names = [side.name for side in (a, b)]
        columns = [table.get(f"{TEXT}_{name}", [""] * len(table)) for name in names]
        table[TEXT] = [joined(list(zip(names, texts))) for texts in zip(*columns)]
    about = f"Rows of {first.name} and {second.name} of the same {by} within {within}"
    about = "; ".join([about, *(side.sidecar.about for side in (a, b) if side.sidecar.about)])
    written = write_manifest(
        table, out, root, about, a.modalities[0], defaults={**_defaults(b), **_defaults(a)},
        descriptions={**b.sidecar.descriptions, **a.sidecar.descriptions},
        synthetic=a.sidecar.synthetic or b.sidecar.synthetic,
    )  # fmt: skip
    used = [j for _, j in pairs]
    moved = sum(
        bool(b.manifest.rows[j].split) and a.manifest.rows[i].split != b.manifest.rows[j].split for i, j in pairs
    )
    return Paired(written, table, alone, sum(used.count(j) > 1 for j in set(used)), moved)


def joined(texts: Sequence[tuple[str, str]]) -> str:
    """Texts of several modalities as one, each after its prefix; empty ones are left out.

    Example:
        >>> joined([("xray", "No effusion."), ("ecg", "Sinus rhythm.")])
        'The report from Xray is: No effusion. The report from ECG is: Sinus rhythm.'
    """
    said = [(name.upper() if len(name) <= 3 else name.capitalize(), text.strip()) for name, text in texts]
    return " ".join(f"The report from {name} is: {text}" for name, text in said if text)


def _side(path: Path, by: str, time: str, allow_outside: bool) -> _Side:
    known = {name: get_modality(name) for name in list_modalities()}
    manifest = read_manifest(path, known, allow_outside=allow_outside)
    columns = [str(c) for c in manifest.table.columns]
    modalities = tuple(name for name in columns if name in known and known[name].is_path)
    if not modalities:
        raise ManifestError(f"{path}: has no column of recordings; {suggest(columns[0], known)}")
    key = "group" if by == PATIENT and PATIENT not in columns else by
    for option, column in (("--by", key), ("--time", time)):
        if column not in columns:
            raise ManifestError(f"{path}: has no column {column!r} ({option}); {suggest(column, columns)}")
    people = [row.group for row in manifest.rows] if key == "group" else _cells(manifest, key)
    sidecar = read_sidecar(path)
    root = (path.parent / sidecar.root).resolve()
    return _Side(manifest, sidecar, root, modalities, people, _times(manifest, time))


def _cells(manifest: Manifest, column: str) -> list[str]:
    return [str(cell).strip() for cell in plain_table(manifest)[column]]


def _times(manifest: Manifest, column: str) -> list[datetime | None]:
    times: list[datetime | None] = []
    for row, cell in zip(manifest.rows, _cells(manifest, column)):
        try:
            times.append(datetime.fromisoformat(cell) if cell else None)
        except ValueError:
            raise ManifestError(
                f"{manifest.path}: {column} {cell!r} of {row.id!r} is no time of ISO 8601; write 2020-05-01 or "
                "2020-05-01T13:45, so that day and month cannot be taken for each other"
            ) from None
    if len({one.tzinfo is None for one in times if one}) > 1:
        raise ManifestError(f"{manifest.path}: some times in {column} have a time zone, others none; write all alike")
    return times


def _apart(one: datetime | None, other: datetime | None) -> timedelta:
    assert one is not None
    assert other is not None
    return abs(one - other)


def _pairs(a: _Side, b: _Side, within: timedelta) -> tuple[list[tuple[int, int]], dict[str, int]]:
    """(row of a, row of b), in a's order, and why other rows of a have no partner."""
    zones = {one.tzinfo is None for side in (a, b) for one in side.times if one}
    if len(zones) > 1:
        raise ManifestError(
            f"{a.manifest.path} and {b.manifest.path}: times of one have a time zone and those of the other have none; "
            "write both alike"
        )
    theirs: dict[str, list[int]] = {}
    for j, (person, time) in enumerate(zip(b.people, b.times)):
        if person and time and any(name in b.manifest.rows[j].sources for name in b.modalities):
            theirs.setdefault(person, []).append(j)
    alone = dict.fromkeys(("without person or time", "of people whom the other does not have", "too far apart"), 0)
    pairs = []
    for i, (person, time) in enumerate(zip(a.people, a.times)):
        here = theirs.get(person, [])
        if not person or time is None or not any(name in a.manifest.rows[i].sources for name in a.modalities):
            alone["without person or time"] += 1
        elif not here:
            alone["of people whom the other does not have"] += 1
        else:
            found = nearest([time], [t for j in here if (t := b.times[j])], within)[0]
            if found is None:
                alone["too far apart"] += 1
            else:
                pairs.append((i, here[found]))
    return pairs, alone


def _check_splits(a: _Side, pairs: Sequence[tuple[int, int]]) -> None:
    splits: dict[str, str] = {}
    for i, _ in pairs:
        split = a.manifest.rows[i].split
        if split and splits.setdefault(a.people[i], split) != split:
            raise ManifestError(
                f"{a.manifest.path}: {a.people[i]!r} would have pairs in {splits[a.people[i]]} and {split}, so the "
                f"test would not be of unseen people; give each person one of {', '.join(SPLITS)} there"
            )


def _columns(side: _Side, root: Path) -> pd.DataFrame:
    """The table with paths relative to `root`, and its text named by its modality."""
    table = plain_table(side.manifest)
    for name in side.modalities:
        sources = [row.sources.get(name) for row in side.manifest.rows]
        table[name] = ["" if s is None else Path(os.path.relpath(s, root)).as_posix() for s in sources]
    return table.rename(columns=lambda column: _renamed(str(column), side.name))


def _renamed(column: str, name: str) -> str:
    """`text` and `text.<key>` -> `text_<modality>` and `text_<modality>.<key>`."""
    head, dot, key = column.partition(".")
    return f"{TEXT}_{name}{dot}{key}" if head == TEXT else column


def _defaults(side: _Side) -> dict[str, Any]:
    return {_renamed(column, side.name): value for column, value in side.sidecar.defaults.items()}


def _said(alone: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in alone.items() if count)
