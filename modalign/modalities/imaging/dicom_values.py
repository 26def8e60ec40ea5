"""DICOM's stored values -> output values: the modality transform (rescale or table), padding, and tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.errors import ReadError
from modalign.modalities.imaging.dicom import DicomHeader, DicomImage, tag
from modalign.modalities.imaging.dicom_file import numbers, word

Array = NDArray[Any]


@dataclass(frozen=True)
class Rescale:
    """Output = stored * slope + intercept.

    Attributes:
        slope: not 0.
        intercept: what stored 0 is.
        units: RescaleType as it is written ("HU", "US", "OD" ...), "" where the file does not say it.
        stated: whether the file has a rescale at all.
    """

    slope: float = 1.0
    intercept: float = 0.0
    units: str = ""
    stated: bool = False


@dataclass(frozen=True)
class Table:
    """A look-up table: the first stored value it maps, its entries, and the bits of an entry."""

    first: int
    entries: Array
    bits: int

    def __call__(self, values: Array) -> Array:
        """Map values; below the first take the first entry, above the last the last, as the standard says."""
        places = np.clip(np.rint(values).astype(np.int64) - self.first, 0, len(self.entries) - 1)
        mapped: Array = self.entries[places]
        return mapped


def rescale_of(image: DicomImage, frame: int = 0) -> Rescale:
    """The rescale of a frame: at the top, or in the functional groups of an enhanced multi-frame object.

    Raises:
        ReadError: it says a slope without an intercept or the other way round, or a slope of 0 or no number.
    """
    where = image.where
    source = _holder(image.dataset, "RescaleSlope", "PixelValueTransformationSequence", frame, where)
    slope, intercept = tag(source, "RescaleSlope", where), tag(source, "RescaleIntercept", where)
    if slope is None and intercept is None:
        return Rescale()
    if slope is None or intercept is None:
        present, absent = ("RescaleSlope", "RescaleIntercept")[:: 1 if intercept is None else -1]
        raise ReadError(f"{where}: has {present} and no {absent}; mend the header")
    try:
        numbers = float(slope), float(intercept)
    except (TypeError, ValueError):
        numbers = (math.nan, math.nan)
    if not all(map(math.isfinite, numbers)) or numbers[0] == 0:
        raise ReadError(f"{where}: RescaleSlope {numbers[0]} and RescaleIntercept {numbers[1]} mean nothing; mend them")
    return Rescale(*numbers, word(source, "RescaleType", where), True)


def window_holder(image: DicomImage, frame: int = 0) -> Any:
    """The dataset that holds a frame's window: the file, or a functional group of it."""
    return _holder(image.dataset, "WindowCenter", "FrameVOILUTSequence", frame, image.where)


def table_of(item: Any, where: str, signed: bool) -> Table:
    """A modality or VOI table from its sequence item.

    Args:
        item: with LUTDescriptor and LUTData.
        where: how errors name the file.
        signed: whether the values that it maps may be negative, so that the first is a signed number.

    Raises:
        ReadError: the descriptor or the data is absent, or they contradict each other.
    """
    descriptor, data = numbers(item, "LUTDescriptor", where), tag(item, "LUTData", where)
    if len(descriptor) != 3 or not np.isfinite(descriptor).all() or data is None or not len(data):
        raise ReadError(f"{where}: its look-up table has no descriptor or no data; export it again")
    count, first, bits = (int(n) for n in descriptor)
    count = (count & 0xFFFF) or 1 << 16
    if signed and first >= 1 << 15:
        first -= 1 << 16
    if isinstance(data, (bytes, bytearray)):
        entries = np.frombuffer(data, dtype="<u2" if len(data) >= 2 * count else "u1")
    else:
        entries = np.atleast_1d(np.asarray(data, dtype=np.int64))
    if not 8 <= bits <= 16 or len(entries) < count or int(entries[:count].max()) >= 1 << bits:
        raise ReadError(
            f"{where}: its look-up table says {count} entries of {bits} bits, and holds {len(entries)} up to "
            f"{int(entries.max())}; export it again"
        )
    return Table(first, entries[:count].astype(np.float64), bits)


def padding_mask(stored: Array, header: DicomHeader) -> NDArray[np.bool_]:
    """Where stored values are marked as outside the image; all False where the header has no padding value."""
    if header.padding is None:
        return np.zeros(stored.shape, dtype=bool)
    low, high = header.padding
    return (stored >= low) & (stored <= high)


def _holder(dataset: Any, name: str, sequence: str, frame: int, where: str) -> Any:
    """Where a tag stands: the top, the frame's own group, or the shared one."""
    if tag(dataset, name, where) is not None:
        return dataset
    own = tag(dataset, "PerFrameFunctionalGroupsSequence", where)
    shared = tag(dataset, "SharedFunctionalGroupsSequence", where)
    for group in (own[frame] if own and frame < len(own) else None, shared[0] if shared else None):
        items = None if group is None else tag(group, sequence, where)
        if items:
            return items[0]
    return dataset
