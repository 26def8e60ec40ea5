"""DICOM X-ray images: rescale or modality table, then VOI table or window, then MONOCHROME1 turned.

The order is the standard's (PS3.3 C.11, PS3.4 N.2). What a window shows as black is 0, and as white 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.imaging.dicom import DicomImage, decode, open_dicom, tag
from modalign.modalities.imaging.dicom_file import numbers, word
from modalign.modalities.imaging.dicom_values import (
    Array,
    padding_mask,
    rescale_of,
    table_of,
    window_holder,
)
from modalign.modalities.xray.fields import XrayFields, view_name
from modalign.modalities.xray.reader import Picture

XRAY = frozenset({"CR", "DX", "DR", "RG", "RF", "XA", "MG", "PX", "IO", "RTIMAGE", "OT"})
"""Values of the tag Modality that are X-ray projections, or do not say what they are."""
SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
"""Photometric interpretation -> the PresentationLUTShape that agrees with it."""


def read_dicom(path: Path, fields: XrayFields) -> Picture:
    """Read one frame of a DICOM file.

    Raises:
        ReadError: no X-ray, damaged, or ambiguous (several frames or windows, colours, a header that contradicts
            itself).
        MissingExtraError: a decoder is not installed.
    """
    image = open_dicom(path)
    where = image.where
    kind = word(image.dataset, "Modality", where) or "OT"
    if kind not in XRAY:
        raise ReadError(f"{where}: is of the DICOM modality {kind}, no X-ray projection ({', '.join(sorted(XRAY))})")
    for name, value in (("range", fields.range), ("bits", fields.bits)):
        if value is not None:
            raise ReadError(f"{where}: a DICOM header says its range; leave xray.{name} out (xray.window chooses)")
    frame = _frame(image, fields)
    stored = decode(image, [frame])[0]
    meta = _meta(image, kind)
    if image.header.photometric == "PALETTE COLOR":
        raise ReadError(f"{where}: is coloured by a palette, so its numbers are no brightness; export it as grey")
    if image.header.samples > 1:
        darkest, brightest = image.header.limits
        lossy = image.header.encapsulated or image.header.photometric != "RGB"
        return Picture((stored.astype(np.float64) - darkest) / (brightest - darkest), meta={**meta, "lossy": lossy})
    outside = padding_mask(stored, image.header)
    values, low, high = to_output(image, stored, frame)
    shown = to_display(image, values, (low, high), frame, fields.window)
    inside = ~outside
    if inside.any() and np.ptp(values[inside]) > 0 and np.ptp(shown[inside]) == 0:
        raise ReadError(
            f"{where}: its window shows nothing of the image, whose values are {values[inside].min():g} to "
            f"{values[inside].max():g}; set xray.window = full, or to another of its windows"
        )
    return Picture(shown, _negative(image, fields), outside if outside.any() else None, meta)


def to_output(image: DicomImage, stored: Array, frame: int = 0) -> tuple[Array, float, float]:
    """Stored values -> the modality's output values, and the lowest and highest that could be.

    Raises:
        ReadError: a table and a rescale, or a wrong one of either.
    """
    header, where = image.header, image.where
    rescale = rescale_of(image, frame)
    tables = tag(image.dataset, "ModalityLUTSequence", where)
    if tables:
        if rescale.stated:
            raise ReadError(f"{where}: has both a modality table and a rescale, which exclude each other; remove one")
        table = table_of(tables[0], where, header.signed)
        return table(stored), 0.0, float((1 << table.bits) - 1)
    ends = sorted(limit * rescale.slope + rescale.intercept for limit in header.limits)
    return stored.astype(np.float64) * rescale.slope + rescale.intercept, ends[0], ends[1]


def to_display(
    image: DicomImage, values: Array, limits: tuple[float, float], frame: int = 0, choice: str | None = None
) -> Array:
    """Output values -> [0, 1] through a VOI table, a window, or the full range.

    Args:
        image: the file.
        values: output values.
        limits: the lowest and highest that could be.
        frame: whose window it is.
        choice: "full", "lut", "lutN", "N"; None: the file's only table, else its only window, else the full range.

    Raises:
        ReadError: there are several and none is chosen, the chosen one is not there, or it is impossible.
    """
    where = image.where
    source = window_holder(image, frame)
    tables = list(tag(image.dataset, "VOILUTSequence", where) or [])
    windows = windows_of(source, where)
    if choice == "full" or (choice is None and not tables and not windows):
        return (values - limits[0]) / (limits[1] - limits[0])
    if choice is None:
        number = 0 if len(tables) == 1 or (not tables and len(set(windows)) == 1) else None
        if number is None:
            raise ReadError(f"{where}: has {_list(tables, windows)}; choose one with xray.window")
        choice = "lut" if tables else "0"
    if choice.startswith("lut"):
        number = int(choice[3:] or 0)
        if number >= len(tables) or (choice == "lut" and len(tables) > 1):
            raise ReadError(f"{where}: xray.window is {choice}, and the file has {_list(tables, windows)}")
        table = table_of(tables[number], where, limits[0] < 0)
        return table(values) / float((1 << table.bits) - 1)
    if int(choice) >= len(windows):
        raise ReadError(f"{where}: xray.window is {choice}, and the file has {_list(tables, windows)}")
    function = word(source, "VOILUTFunction", where) or "LINEAR"
    try:
        return apply_window(values, *windows[int(choice)], function)
    except ValueError as error:
        raise ReadError(f"{where}: {error}; set xray.window = full, or to another of its windows") from None


def windows_of(source: Any, where: str) -> list[tuple[float, float]]:
    """(centre, width) of each window that a header has.

    Raises:
        ReadError: there are more centres than widths or the other way round, or they are no numbers.
    """
    centres, widths = (numbers(source, name, where) for name in ("WindowCenter", "WindowWidth"))
    if len(centres) != len(widths):
        raise ReadError(f"{where}: has {len(centres)} window centres and {len(widths)} widths; mend the header")
    return list(zip(centres, widths))


def apply_window(values: Array, centre: float, width: float, function: str = "LINEAR") -> Array:
    """Output values -> [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Example:
        >>> apply_window(np.array([0.0, 127.5, 255.0]), 128, 256).tolist()
        [0.0, 0.5, 1.0]

    Raises:
        ValueError: the width is too small, or the function is not known.
    """
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(f"its VOILUTFunction {function!r} is not known")
    if not (np.isfinite(centre) and np.isfinite(width)) or width < (1 if function == "LINEAR" else 1e-12):
        raise ValueError(f"its window of centre {centre:g} and width {width:g} is impossible ({function})")
    if function == "SIGMOID":
        sigmoid: Array = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
        return sigmoid
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    shown: Array = np.clip((values - centre) / width + 0.5, 0.0, 1.0)
    return shown


def _frame(image: DicomImage, fields: XrayFields) -> int:
    frames = image.header.frames
    if frames > 1 and fields.frame is None:
        raise ReadError(f"{image.where}: has {frames} frames; say which with xray.frame, from 0")
    if (fields.frame or 0) >= frames:
        raise ReadError(f"{image.where}: xray.frame is {fields.frame}, and the file has {frames} frames, from 0")
    return fields.frame or 0


def _negative(image: DicomImage, fields: XrayFields) -> bool:
    """Whether high values are dark; a header that says both is refused."""
    said = image.header.photometric
    shape = word(image.dataset, "PresentationLUTShape", image.where)
    if fields.photometric is None and shape and shape != SHAPES[said]:
        raise ReadError(
            f"{image.where}: says {said} and PresentationLUTShape {shape}, which contradict each other; say which is "
            "right with xray.photometric = MONOCHROME1 (high is dark) or MONOCHROME2"
        )
    return said == "MONOCHROME1"


def _meta(image: DicomImage, kind: str) -> dict[str, Any]:
    """Technical tags alone."""
    where, dataset = image.where, image.dataset
    laterality = str(tag(dataset, "ImageLaterality", where) or tag(dataset, "Laterality", where) or "").strip().upper()
    spacing = None
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        said = numbers(dataset, name, where)
        # Some writers put zeros where they do not know.
        if spacing is None and len(said) == 2 and np.isfinite(said).all() and min(said) > 0:
            spacing = said[0], said[1]
    orientation = tag(dataset, "PatientOrientation", where)
    toward = "\\".join(map(str, orientation)) if isinstance(orientation, Iterable) else ""
    return {
        "format": "dicom",
        "modality": kind,
        "view": _view(dataset, where),
        "laterality": laterality if laterality in ("L", "R", "B") else None,
        "orientation": toward if re.fullmatch(r"[AFHLPR]{1,3}(\\[AFHLPR]{1,3})?", toward) else None,
        "spacing": spacing,
        "photometric": image.header.photometric,
        "bits": image.header.stored,
    }


def _view(dataset: Any, where: str) -> str | None:
    said = str(tag(dataset, "ViewPosition", where) or "").strip()
    codes = None if said else tag(dataset, "ViewCodeSequence", where)
    if codes:
        said = str(tag(codes[0], "CodeMeaning", where) or "").strip()
    view = view_name(said)
    return view if re.fullmatch(r"[A-Z0-9 ]{1,64}", view) else None  # other text may name a patient


def _list(tables: list[Any], windows: list[tuple[float, float]]) -> str:
    parts = [f"{'lut' if len(tables) == 1 else f'lut{i}'}: a table" for i in range(len(tables))]
    parts += [f"{i}: centre {centre:g} width {width:g}" for i, (centre, width) in enumerate(windows)]
    return f"{len(tables)} tables and {len(windows)} windows ({'; '.join(parts) or 'none'})"
