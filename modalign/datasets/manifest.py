"""Writing a manifest and its sidecar: one way for every data set, so that each is checked the same and reads back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from modalign.errors import ReadError, RecipeError, suggest


def write_manifest(
    rows: Sequence[Mapping[str, Any]] | pd.DataFrame,
    out: Path,
    root: Path,
    about: str,
    modality: str,
    *,
    defaults: Mapping[str, Any] | None = None,
    descriptions: Mapping[str, Sequence[str]] | None = None,
    official_split: bool = False,
    synthetic: bool = False,
) -> Path:
    """Write rows, and a sidecar with the root, what it is, and the sentences that are known for its labels.

    Args:
        rows: of the manifest; the column `modality` holds paths relative to `root`.
        out: the .csv to write; `NAME.meta.yaml` goes beside it.
        root: what paths are relative to.
        about: one line: what, whose, how it is split.
        modality: the column with the files; its descriptions are taken for the labels.
        defaults: `<modality>.<key>` -> a value that holds for every row.
        descriptions: label -> sentences, in place of the modality's own.
        official_split: the split is the data set's own, and groups cross it.
        synthetic: the recordings were simulated; every report and model card then says so.

    Returns:
        `out`.

    Raises:
        RecipeError: `out` is no .csv.
        ReadError: there are no rows, or a file is not there.

    Example:
        >>> write_manifest([{"id": "a", "label": "walking", "motion": "a.csv"}], out, root, "mine", "motion")
        ... # doctest: +SKIP
    """
    if out.suffix.lower() != ".csv":
        raise RecipeError(f"--out {out}: the manifest is written as .csv")
    table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame([dict(row) for row in rows])
    if not len(table):
        raise ReadError(f"{root}: no recording of the data set is there; give the folder it was unpacked to")
    files = list(dict.fromkeys(str(path) for path in table[modality]))
    lacking = [path for path in files if not (root / path).exists()]
    if lacking:
        raise ReadError(
            f"{root}: {len(lacking)} of {len(files)} files are not there, {lacking[0]} first; unpack the data set again"
        )
    sidecar: dict[str, Any] = {"about": about, "root": relative(root, out.parent)}
    if official_split:
        sidecar["official_split"] = True
    if synthetic:
        sidecar["synthetic"] = True
    if defaults:
        sidecar["defaults"] = dict(defaults)
    known = _descriptions(modality) if descriptions is None else descriptions
    sidecar["descriptions"] = {label: list(known[label]) for label in labels_of(table) if label in known}
    out.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(sidecar, sort_keys=False, allow_unicode=True, width=120)
    _replace(out.with_name(f"{out.stem}.meta.yaml"), text)
    _replace(out, table.to_csv(index=False))
    return out


def relative(root: Path, folder: Path) -> str:
    """`root` as the sidecar names it: relative to the manifest's folder, so that both can be moved together."""
    return Path(os.path.relpath(root.resolve(), folder.resolve())).as_posix()


def labels_of(table: pd.DataFrame) -> list[str]:
    """The labels of a manifest's rows (`label`, or `labels` separated by `;`), sorted."""
    several = [part.strip() for cell in table.get("labels", ()) for part in str(cell).split(";")]
    single = [str(label) for label in table.get("label", ())]
    return sorted({label for label in (*several, *single) if label})


def _descriptions(modality: str) -> Mapping[str, Sequence[str]]:
    from modalign.modalities.registry import get_modality, list_modalities

    # The data set can be listed where the plugin for its modality is not installed.
    return get_modality(modality).descriptions if modality in list_modalities() else {}


def _replace(path: Path, text: str) -> None:
    """Write aside and rename, so that a manifest is there whole or not at all."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.part")
    staged.write_text(text, encoding="utf-8")
    staged.replace(path)


def read_table(path: Path, columns: Sequence[str], **options: Any) -> pd.DataFrame:
    """A data set's own table, every cell as text.

    Args:
        path: the file.
        columns: what it must have.
        options: for `pandas.read_csv`.

    Raises:
        ReadError: it is absent, is no table, or lacks a column.
    """
    if not path.is_file():
        raise ReadError(f"{path}: no such file; give the folder that the data set was unpacked to")
    try:
        table: pd.DataFrame = pd.read_csv(path, dtype=str, keep_default_na=False, **options)
    except (ValueError, OSError) as error:
        raise ReadError(f"{path}: not a readable CSV file ({str(error)[:120]}); get the data set again") from None
    for column in columns:
        if column not in table.columns:
            raise ReadError(f"{path}: has no column {column!r}: {suggest(column, [str(c) for c in table.columns])}")
    return table


def choice(option: str, value: Any, choices: Sequence[str]) -> str:
    """An option's value, if it is one of the choices.

    Raises:
        RecipeError: it is not.
    """
    if str(value) not in choices:
        raise RecipeError(f"--option {option}={value}: {suggest(str(value), choices)}")
    return str(value)


def number(option: str, value: Any) -> float:
    """An option that is a number over 0.

    Raises:
        RecipeError: it is not.
    """
    try:
        parsed = float(value)
    except ValueError:
        parsed = 0.0
    if not 0 < parsed < float("inf"):
        raise RecipeError(f"--option {option}={value}: is a number over 0")
    return parsed


def seed_of(value: Any) -> int:
    """The option `seed`.

    Raises:
        RecipeError: it is no whole number.
    """
    try:
        return int(value)
    except ValueError:
        raise RecipeError(f"--option seed={value}: is a whole number") from None


def percentile(unit: str, seed: int) -> int:
    """0 to 99 by a hash, so that a unit (patient, subject) is where it is, whatever else is there."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{unit}".encode(), digest_size=8).digest()) % 100


def hashed_split(unit: str, seed: int) -> str:
    """Train, val or test (70, 10, 20 in a hundred) by a hash."""
    at = percentile(unit, seed)
    return "train" if at < 70 else "val" if at < 80 else "test"


def held_out(unit: str, seed: int = 0) -> str:
    """Train or val (90, 10 in a hundred) by a hash: the val part of an official train part that has none."""
    return "val" if percentile(unit, seed) < 10 else "train"
