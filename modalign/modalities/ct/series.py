"""A folder of DICOM slices -> a volume: sorted by position, and refused by name where it is no even, upright stack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.ct import geometry
from modalign.modalities.ct.fields import CtFields
from modalign.modalities.ct.geometry import Array, Floats, Stack
from modalign.modalities.ct.slices import Member, Slice, hounsfield, member_of, slices_of
from modalign.modalities.ct.volume import Volume, check_size
from modalign.modalities.imaging.dicom import open_dicom
from modalign.modalities.imaging.dicom_file import read_dataset

NO_SLICES = {".txt", ".md", ".json", ".xml", ".csv", ".html", ".pdf", ".yaml", ".yml", ".png", ".jpg"}
"""Suffixes of what lies beside slices and is none. A file of another suffix that is no DICOM is refused."""


def read_series(path: Path, fields: CtFields) -> Volume:
    """Open a folder of slices, one slice, or an enhanced multi-frame file.

    Args:
        path: the folder, or the file.
        fields: `series` chooses one of several; `resample` accepts tilt, gaps and uneven spacing, and puts the slices
            on a regular grid in their true places.

    Raises:
        ReadError: several series, another modality, scouts, slices without or with the same position, of different
            sizes, spacings or directions; and, without `resample`, a tilt, missing slices or uneven spacing.
    """
    members = [member_of(file, read_dataset(file, pixels=False)) for file in files_of(path)]
    chosen = choose(members, fields.series, path)
    slices = [one for member in chosen for one in slices_of(member)]
    _check_alike(slices, path)
    first = slices[0]
    positions = np.stack([one.position for one in slices])
    stack = geometry.measure(positions, first.orientation)
    slices = [slices[i] for i in stack.order]
    positions = positions[list(stack.order)]
    _check_places(slices, stack, path)
    _check_tilt_tag(first, fields, path)
    problem = irregular(stack, slices)
    if problem and not fields.resample:
        raise ReadError(
            f"{path}: {problem}; set ct.resample = true to put its slices on a regular grid in their true places"
        )
    if len(slices) == 1 and first.thickness <= 0:
        raise ReadError(f"{path}: is one slice and says no SliceThickness; give the folder of its series")
    check_size((first.columns, first.rows, len(slices)), str(path))
    data = _pixels(slices, fields.unit)
    info = {
        "slices": len(slices), "thickness": first.thickness or None, "tilt": round(stack.tilt, 2),
        "resampled": bool(problem),
    }  # fmt: skip
    if problem:
        try:
            data, affine = geometry.unshear(data, positions, first.orientation, first.spacing[::-1])
        except ValueError as error:
            raise ReadError(f"{path}: {problem}, and cannot be resampled: {error}; take the odd slices out") from None
        affine = geometry.LPS_TO_RAS @ affine
    else:
        affine = geometry.affine_of(
            positions[0], positions[-1], len(slices), first.orientation, first.spacing, first.thickness
        )
    return Volume(str(path), "dicom", data, affine, fields.unit in (None, "HU"), info)


def files_of(path: Path) -> list[Path]:
    """The files of a folder that must be slices, by name; the file itself where it is one.

    Raises:
        ReadError: the folder has none.
    """
    if path.is_file():
        return [path]
    inside = sorted(p for p in path.iterdir() if not p.name.startswith(".") and p.name.upper() != "DICOMDIR")
    files = [p for p in inside if p.is_file() and p.suffix.lower() not in NO_SLICES]
    if not files:
        below = [p.name for p in inside if p.is_dir()]
        mend = f"give one of its folders ({', '.join(below[:3])})" if below else "give the folder of a DICOM series"
        raise ReadError(f"{path}: has no DICOM slices in it; {mend}")
    return files


def choose(members: Sequence[Member], wanted: str | None, path: Path) -> list[Member]:
    """The files of one series.

    Args:
        members: all files of the folder.
        wanted: a SeriesNumber, or the end of a SeriesInstanceUID.
        path: for errors.

    Raises:
        ReadError: none or several are meant, or the one is no CT.
    """
    series: dict[str, list[Member]] = {}
    for member in members:
        series.setdefault(member.series, []).append(member)
    said = "; ".join(
        f"{m[0].number or '...' + m[0].series[-6:]}: {len(m)} file{'s' * (len(m) > 1)} of {m[0].modality}"
        for m in series.values()
    )
    found = list(series.values())
    if wanted is not None:
        found = [m for m in found if m[0].number == wanted] or [m for m in found if m[0].series.endswith(wanted)]
    if len(found) != 1:
        what = f"has {len(series)} series" if wanted is None else f"ct.series = {wanted!r} names {len(found)} series"
        raise ReadError(
            f"{path}: {what} ({said}); choose one with ct.series, its number or the end of its SeriesInstanceUID"
        )
    others = [m for m in found[0] if m.modality != "CT"]
    if others:
        raise ReadError(f"{others[0].path}: is of the modality {others[0].modality}, not CT; give the CT series")
    return found[0]


def irregular(stack: Stack, slices: Sequence[Slice]) -> str:
    """What keeps a stack from being a regular grid, in words that name slices and mm; "" where nothing does."""
    said = []
    distances = stack.distances
    gaps = geometry.missing(distances)
    odd = geometry.uneven(distances)
    if gaps:
        after = ", ".join(f"{count} after {slices[i].name}" for i, count in gaps[:4])
        said.append(
            f"{sum(n for _, n in gaps)} missing slice{'s' * (sum(n for _, n in gaps) > 1)} ({after}; the others are "
            f"{np.median(distances):.4g} mm apart)"
        )
    elif odd:
        kinds = sorted({round(float(d), 2) for d in distances})
        text = ", ".join(f"{d:g}" for d in kinds[:6]) + (", ..." if len(kinds) > 6 else "")
        said.append(f"uneven spacing of slices ({text} mm along their normal)")
    if stack.tilt > geometry.TILT_DEGREES:
        said.append(f"a gantry tilt: its slices lean {stack.tilt:.1f} degrees off the line of their positions")
    limit = max(geometry.SPACING_MM * 5, 1e-3 * float(distances.sum()))
    if not gaps and not odd and stack.drift > limit:
        said.append(f"slices that lie up to {stack.drift:.2g} mm off one line")
    return "has " + ", and ".join(said) if said else ""


def _check_alike(slices: Sequence[Slice], path: Path) -> None:
    scouts = [one for one in slices if one.scout]
    if scouts:
        mend = "give the series of slices" if len(scouts) == len(slices) else "take the scouts out of the folder"
        raise ReadError(f"{path}: {len(scouts)} of {len(slices)} images are localizers (as {scouts[0].name}); {mend}")
    first = slices[0]
    for one in slices[1:]:
        if one.reference and first.reference and one.reference != first.reference:
            raise ReadError(
                f"{path}: is a mixed series: {first.name} and {one.name} have different FrameOfReferenceUIDs, so that "
                "their positions have nothing to do with each other; keep each scan in a folder of its own"
            )
        pairs: list[tuple[str, Floats, Floats, float]] = [
            ("Rows and Columns", np.array([first.rows, first.columns]), np.array([one.rows, one.columns]), 0.5),
            ("PixelSpacing", first.spacing, one.spacing, 1e-3 * float(first.spacing.max())),
            ("ImageOrientationPatient", first.orientation, one.orientation, 1e-3),
        ]
        for name, a, b, tolerance in pairs:
            if np.abs(a - b).max() > tolerance:
                raise ReadError(
                    f"{path}: is a mixed series: {name} is {_said(a)} in {first.name} and {_said(b)} in {one.name}; "
                    "keep the slices of one kind in a folder of their own"
                )


def _said(values: Floats) -> str:
    return ", ".join(f"{v:g}" for v in values)


def _check_places(slices: Sequence[Slice], stack: Stack, path: Path) -> None:
    for (a, b), distance in zip(pairwise(slices), stack.distances):
        if a.instance == b.instance:
            raise ReadError(f"{path}: {a.name} and {b.name} are the same slice twice; take one out")
        if distance < 0.01:
            raise ReadError(
                f"{path}: {a.name} and {b.name} lie at the same place (several phases or reconstructions in one "
                "series?); keep one of each place"
            )


def _check_tilt_tag(first: Slice, fields: CtFields, path: Path) -> None:
    """A tilt that the header says and the orientation does not show would be lost without a word."""
    upright = math.degrees(math.acos(min(1.0, float(np.abs(geometry.normal_of(first.orientation)).max()))))
    if fields.tilt == "check" and abs(first.tilt) > 0.5 and upright < geometry.TILT_DEGREES:
        raise ReadError(
            f"{path}: GantryDetectorTilt says {first.tilt:g} degrees and ImageOrientationPatient says none; set "
            "ct.tilt = ignore if its slices are known to be upright"
        )


def _pixels(slices: Sequence[Slice], unit: str | None) -> Array:
    """Decode slices in order into (X, Y, n)."""
    unit = None if unit == "HU" else unit
    first = slices[0]
    out = np.empty((first.columns, first.rows, len(slices)), dtype=np.float32)
    image = None
    for k, one in enumerate(slices):
        if image is None or image.where != str(one.path):
            image = open_dicom(one.path)
        out[..., k] = hounsfield(image, one.frame, unit)
    return out
