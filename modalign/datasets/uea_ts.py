"""The UEA and UCR archives' `.ts` format: a NAME_TRAIN.ts and a NAME_TEST.ts, a case a line.

Source: Bagnall et al. 2018, arXiv:1811.00075; timeseriesclassification.com. A header of `@key value` lines, then
`@data`; dimensions are separated by `:`, values by `,`, and the class label comes last. The format says neither rate
nor unit nor what its dimensions are, so the user does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.datasets.manifest import number, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.datasets.unpacked import unpack_once
from modalign.errors import ReadError, RecipeError, suggest

VAL_EVERY = 5
"""Every fifth case of a class of the official train part is val."""
SAID = ("columns", "leads", "unit", "gyro_unit", "convention", "location")
"""Options that go to the manifest as `<modality>.<option>`."""


@dataclass(frozen=True)
class Case:
    """One case: data (T, D), and its class label or nothing."""

    data: NDArray[np.float64]
    label: str


def read_ts(path: Path) -> list[Case]:
    """Read a .ts file.

    Raises:
        ReadError: it has time stamps or a numeric target, or a line is not what the header says; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{path}: cannot be read as text ({error}); download it again") from None
    header: dict[str, str] = {}
    cases: list[Case] = []
    begun = False
    for at, line in enumerate(lines, 1):
        text = line.strip()
        where = f"{path}: line {at}"
        if not text or text.startswith(("#", "%")):
            continue
        if begun:
            cases.append(_case(text, header, where))
        elif text.lower() == "@data":
            _check(header, path)
            begun = True
        elif text.startswith("@") and len(text) > 1:
            key, *values = text[1:].split()
            header[key.lower()] = " ".join(values)
        else:
            raise ReadError(f"{where}: {text[:60]!r} stands before @data and is no @key; it is no .ts file")
    if not cases:
        raise ReadError(f"{path}: holds no case after @data; download it again")
    widths = {case.data.shape[1] for case in cases}
    if len(widths) > 1:
        raise ReadError(f"{path}: cases have {sorted(widths)} dimensions, and must all have the same")
    return cases


def _check(header: dict[str, str], path: Path) -> None:
    if header.get("timestamps", "false").lower() == "true":
        raise ReadError(f"{path}: @timeStamps true: cases with time stamps are not read; save them at a regular rate")
    if "targetlabel" in header and header["targetlabel"].lower() == "true":
        raise ReadError(f"{path}: @targetLabel true: it is for regression, and has numbers in place of classes")
    if not header.get("classlabel"):
        raise ReadError(f"{path}: has no @classLabel line before @data, so it is unknown whether lines end in a class")


def _case(text: str, header: dict[str, str], where: str) -> Case:
    classes = header["classlabel"].split()
    parts = text.split(":")
    label = ""
    if classes[0].lower() == "true":
        label = parts.pop().strip()
        if label not in classes[1:]:
            raise ReadError(f"{where}: class {label[:40]!r} is not in @classLabel ({' '.join(classes[1:])[:80]})")
    try:
        dimensions = [[np.nan if v.strip() == "?" else float(v) for v in part.split(",")] for part in parts]
    except ValueError as error:
        raise ReadError(f"{where}: {error}; values are numbers separated by commas, dimensions by ':'") from None
    lengths = {len(values) for values in dimensions}
    if len(lengths) != 1:
        raise ReadError(f"{where}: its dimensions have {sorted(lengths)} values, and must have the same")
    data = np.array(dimensions, dtype=np.float64).T
    if np.isnan(data).any():
        raise ReadError(f"{where}: {int(np.isnan(data).sum())} values are missing ('?'); fill them first")
    if not np.isfinite(data).all():
        raise ReadError(f"{where}: a value is not finite; mend it first")
    stated = header.get("dimensions") or header.get("dimension")
    if stated and stated.isdigit() and int(stated) != data.shape[1]:
        raise ReadError(f"{where}: has {data.shape[1]} dimensions, and the header says {stated}")
    return Case(data, label)


def prepare(root: Path, out: Path, *, rate: Any = "", name: str = "", modality: str = "motion", **said: str) -> Path:
    """Write a .npy for each case, and the manifest; see the registered options.

    Raises:
        ReadError: there are no such files, or one is damaged.
        RecipeError: the rate is missing, several sets are there and none is named, or what is said does not fit.
    """
    from modalign.modalities.registry import get_modality

    if not str(rate):
        raise RecipeError("uea-ts: the format says no rate; pass --option rate=HZ, from the data set's own page")
    values = {"rate": number("rate", rate), **said}
    try:
        get_modality(modality).parse_fields(values)
    except ReadError as error:
        raise RecipeError(f"uea-ts: {error}") from None
    stem, paths = _parts(root, name)
    cases = {part: read_ts(path) for part, path in paths.items()}
    rows = []
    counts: dict[str, int] = {}
    for part, members in cases.items():
        for k, case in enumerate(members):
            split = part
            if part == "train":
                counts[case.label] = counts.get(case.label, 0) + 1
                split = "val" if counts[case.label] % VAL_EVERY == 0 else "train"
            item = f"{part}-{k:05d}"
            row = {"id": item, "split": split, "cluster": item, "label": case.label, modality: f"{item}.npy"}
            rows.append(row)

    def write(target: Path) -> None:
        for part, members in cases.items():
            for k, case in enumerate(members):
                np.save(target / f"{part}-{k:05d}.npy", case.data.astype(np.float32))

    files = unpack_once(out, paths.values(), {}, write)
    defaults = {f"{modality}.{key}": value for key, value in values.items()}
    about = f"{stem} (UEA and UCR archive), official train and test, every {VAL_EVERY}th train case of a class is val"
    return write_manifest(rows, out, files, f"{about}; people are not known", modality, defaults=defaults)


def _parts(root: Path, name: str) -> tuple[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(root.rglob("*.ts")):
        stem, _, part = path.stem.rpartition("_")
        if part.lower() in ("train", "test"):
            found.setdefault(stem, {})[part.lower()] = path
    if name and name not in found:
        raise RecipeError(f"--option name={name}: {suggest(name, found)}")
    if not found:
        raise ReadError(f"{root}: holds no NAME_TRAIN.ts or NAME_TEST.ts; give the folder of one data set")
    if len(found) > 1 and not name:
        raise RecipeError(
            f"{root}: holds several data sets; pass --option name=... (known: {', '.join(sorted(found))})"
        )
    stem = name or next(iter(found))
    return stem, found[stem]


register_dataset(
    PublicDataset(
        name="uea-ts",
        about="Any data set of the UEA and UCR time series archives, in their .ts format (Bagnall et al. 2018)",
        prepare=prepare,
        url="https://www.timeseriesclassification.com",
        options={
            "rate": "samples a second (needed: the format does not say)",
            "name": "which data set, where the folder holds several",
            "modality": "motion (default), or another that reads .npy",
            **{key: f"said of every case as MODALITY.{key}" for key in SAID},
        },
    )
)
