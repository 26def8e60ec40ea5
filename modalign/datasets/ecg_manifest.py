"""What the ECG data sets share: finding records, a seeded split, and a manifest with its sidecar."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from modalign.errors import ReadError, RecipeError, suggest
from modalign.modalities.ecg import Ecg
from modalign.modalities.ecg.wfdb_header import Header, read_header


def choice(option: str, value: Any, choices: Sequence[str]) -> str:
    """An option's value, if it is one of the choices.

    Raises:
        RecipeError: it is not.
    """
    if str(value) not in choices:
        raise RecipeError(f"--option {option}={value}: {suggest(str(value), choices)}")
    return str(value)


def headers(root: Path) -> Iterator[tuple[str, Header]]:
    """(path below `root`, header) of every WFDB record under it, by path; indexes of other records are passed by.

    Raises:
        ReadError: there is none, or one is damaged.
    """
    found = sorted(root.rglob("*.hea"))
    if not found:
        raise ReadError(f"{root}: holds no WFDB header (.hea); give the folder that the data set was unpacked to")
    for path in found:
        yield path.relative_to(root).as_posix(), read_header(path)


def fingerprint(header: Header) -> str:
    """Equal for records with the same signals, as far as headers tell: first values and checksums; else the name."""
    sums = [(s.first, s.checksum) for s in header.signals]
    if not any(checksum for _, checksum in sums):
        return header.path.stem
    said = repr((header.rate, header.samples, sums))
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def hashed_split(unit: str, seed: int) -> str:
    """Train, val or test (70, 10, 20 in a hundred) by a hash, so that it is the same whatever else is there."""
    number = int.from_bytes(hashlib.blake2b(f"{seed}:{unit}".encode(), digest_size=8).digest()) % 100
    return "train" if number < 70 else "val" if number < 80 else "test"


def seed_of(value: Any) -> int:
    """The option `seed`.

    Raises:
        RecipeError: it is no whole number.
    """
    try:
        return int(value)
    except ValueError:
        raise RecipeError(f"--option seed={value}: is a whole number") from None


def write_manifest(
    rows: Sequence[dict[str, Any]], root: Path, out: Path, about: str, defaults: dict[str, Any] | None = None
) -> Path:
    """Write the rows, and a sidecar with the root, what it is, and the sentences that are known for its labels.

    Raises:
        ReadError: there are no rows.
        RecipeError: `out` is no .csv.
    """
    if not rows:
        raise ReadError(f"{root}: no recording of the data set is there; give the folder it was unpacked to")
    if out.suffix.lower() != ".csv":
        raise RecipeError(f"--out {out}: the manifest is written as .csv")
    labels = sorted({label for row in rows for label in str(row["labels"]).split(";") if label})
    said = Ecg.descriptions
    sidecar = {
        "root": Path(os.path.relpath(root.resolve(), out.resolve().parent)).as_posix(),
        "about": about,
        "defaults": defaults or {},
        "descriptions": {label: list(said[label]) for label in labels if label.lower() in said},
    }
    pd.DataFrame(rows).to_csv(out, index=False)
    out.with_name(f"{out.stem}.meta.yaml").write_text(
        yaml.safe_dump(sidecar, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8"
    )
    return out
