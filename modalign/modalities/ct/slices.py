"""One CT slice's header: where it lies, how large it is, and what it belongs to. Pixels are decoded later."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.ct.geometry import AIR, Array, Floats, normal_of
from modalign.modalities.imaging.dicom import DicomImage, decode
from modalign.modalities.imaging.dicom_file import tag, whole, word
from modalign.modalities.imaging.dicom_values import padding_mask, rescale_of


@dataclass(frozen=True)
class Slice:
    """What a header says of a slice (a file, or a frame of an enhanced multi-frame file).

    Attributes:
        path: the file.
        frame: which frame of it.
        series: SeriesInstanceUID.
        number: SeriesNumber as written, "" where there is none.
        modality: as written.
        reference: FrameOfReferenceUID: what positions are counted from; "" where it is not said.
        scout: whether it is a localizer.
        instance: SOPInstanceUID and frame: what makes it the same slice as another file's.
        rows: of the slice.
        columns: of the slice.
        position: of the first voxel's middle, LPS mm (3,).
        orientation: cosines along a row and a column (6,).
        spacing: between rows and between columns, mm (2,).
        thickness: SliceThickness in mm, 0 where it is not said.
        tilt: GantryDetectorTilt in degrees, 0 where it is not said.
    """

    path: Path
    frame: int
    series: str
    number: str
    modality: str
    reference: str
    scout: bool
    instance: tuple[str, int]
    rows: int
    columns: int
    position: Floats
    orientation: Floats
    spacing: Floats
    thickness: float
    tilt: float

    @property
    def name(self) -> str:
        """How an error names it."""
        return self.path.name if self.frame == 0 else f"{self.path.name} (frame {self.frame})"


@dataclass(frozen=True)
class Member:
    """Which series a file belongs to, and its dataset without pixels."""

    path: Path
    series: str
    number: str
    modality: str
    dataset: Any


def member_of(path: Path, dataset: Any) -> Member:
    """The little that tells series apart.

    Raises:
        ReadError: the file names no series.
    """
    uid = tag(dataset, "SeriesInstanceUID", str(path))
    if uid is None:
        raise ReadError(f"{path}: has no SeriesInstanceUID, so what it belongs to is not known; export it again")
    number = tag(dataset, "SeriesNumber", str(path))
    modality = word(dataset, "Modality", str(path)) or "none"
    return Member(path, str(uid), "" if number is None else str(number), modality, dataset)


def slices_of(member: Member) -> list[Slice]:
    """A file's slices: one, or one a frame.

    Raises:
        ReadError: it has no pixels' size, or no position, orientation or spacing, or impossible ones.
    """
    dataset, where = member.dataset, str(member.path)
    rows, columns = whole(dataset, "Rows", where), whole(dataset, "Columns", where)
    frames = whole(dataset, "NumberOfFrames", where) if tag(dataset, "NumberOfFrames", where) is not None else 1
    groups = tag(dataset, "PerFrameFunctionalGroupsSequence", where)
    if groups is not None and len(groups) != frames:
        raise ReadError(f"{where}: says {frames} frames and describes {len(groups)}; export it again")
    if groups is None and frames > 1:
        raise ReadError(
            f"{where}: has {frames} frames and says the position of none; export them as single slices or as an "
            "enhanced CT object"
        )
    made = []
    for frame in range(frames):
        position = _numbers(dataset, groups, frame, "PlanePositionSequence", "ImagePositionPatient", 3, where)
        orientation = _numbers(dataset, groups, frame, "PlaneOrientationSequence", "ImageOrientationPatient", 6, where)
        spacing = _numbers(dataset, groups, frame, "PixelMeasuresSequence", "PixelSpacing", 2, where)
        if spacing.min() < 0.005 or spacing.max() > 100:
            raise ReadError(f"{where}: its PixelSpacing is {spacing.tolist()} mm, which no CT has; mend it")
        try:
            normal_of(orientation)
        except ValueError as error:
            raise ReadError(f"{where}: ImageOrientationPatient: {error}; export it again") from None
        kind = _tag(dataset, groups, frame, "CTImageFrameTypeSequence", "FrameType", where)
        kind = tag(dataset, "ImageType", where) if kind is None else kind
        thickness = _tag(dataset, groups, frame, "PixelMeasuresSequence", "SliceThickness", where)
        made.append(
            Slice(
                member.path, frame, member.series, member.number, member.modality,
                str(tag(dataset, "FrameOfReferenceUID", where) or ""),
                "LOCALIZER" in [str(part).strip().upper() for part in _several(kind)],
                (str(tag(dataset, "SOPInstanceUID", where) or member.path), frame), rows, columns,
                position, orientation, spacing,
                _number(thickness), _number(_tag(dataset, groups, frame, "CTAcquisitionDetailsSequence",
                                                 "GantryDetectorTilt", where)),
            )
        )  # fmt: skip
    return made


def hounsfield(image: DicomImage, frame: int, unit: str | None) -> Array:
    """A frame's HU (columns, rows) float32, padding as air; stored numbers with `unit` "raw".

    Raises:
        ReadError: it is in colour, says no rescale, or rescales to another unit than HU.
    """
    where = image.where
    if image.header.samples != 1 or not image.header.photometric.startswith("MONOCHROME"):
        raise ReadError(f"{where}: is {image.header.photometric}, and a CT slice is MONOCHROME2; give the original")
    stored = decode(image, [frame])[0]
    outside = padding_mask(stored, image.header)
    values = stored.astype(np.float32)
    if unit != "raw":
        rescale = rescale_of(image, frame)
        if unit is None and not rescale.stated:
            raise ReadError(
                f"{where}: says no RescaleSlope and RescaleIntercept, so its numbers have no unit; set ct.unit = raw "
                "with ct.slope and ct.intercept"
            )
        if unit is None and rescale.units not in ("", "HU"):
            raise ReadError(
                f"{where}: its RescaleType is {rescale.units}, not HU (a map made from a CT?); set ct.unit = none to "
                "take its values as they are"
            )
        values = values * np.float32(rescale.slope) + np.float32(rescale.intercept)
        values[outside] = AIR
    elif outside.any() and not outside.all():
        values[outside] = values[~outside].min()
    turned: Array = values.T
    return turned


def _tag(dataset: Any, groups: Any, frame: int, sequence: str, name: str, where: str) -> Any:
    """A tag at the top of the file, in the frame's own group, or in the shared one."""
    found = tag(dataset, name, where)
    if found is not None:
        return found
    shared = tag(dataset, "SharedFunctionalGroupsSequence", where)
    for group in (groups[frame] if groups is not None else None, shared[0] if shared else None):
        items = None if group is None else tag(group, sequence, where)
        found = tag(items[0], name, where) if items else None
        if found is not None:
            return found
    return None


def _numbers(dataset: Any, groups: Any, frame: int, sequence: str, name: str, count: int, where: str) -> Floats:
    value = _tag(dataset, groups, frame, sequence, name, where)
    if value is None:
        raise ReadError(f"{where}: has no {name}, so where the slice lies is not known; export the original series")
    try:
        numbers = np.array([float(part) for part in _several(value)])
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ReadError(f"{where}: its {name} is not {count} numbers; export it again")
    return numbers


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, (str, int, float)) else list(value)


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if math.isfinite(number) else 0.0
