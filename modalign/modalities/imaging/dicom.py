"""DICOM images: open a file, check what its header says against what it holds, and decode frames as stored.

Reading a file and its tags is in `dicom_file.py`; rescaling, padding and tables are in `dicom_values.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities.imaging.codestream import inspect
from modalign.modalities.imaging.dicom_file import read_dataset, silenced, tag, whole, word

__all__ = ["DicomHeader", "DicomImage", "decode", "open_dicom", "read_dataset", "read_header", "silenced", "tag"]

MOST_PIXELS = 2**27
"""Pixels of one frame at most: twice the largest detectors."""
MOST_VALUES = 2**31
"""Values of all frames at most."""
SAMPLES = {
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3,
    "YBR_PARTIAL_422": 3, "YBR_PARTIAL_420": 3, "YBR_ICT": 3, "YBR_RCT": 3,
}  # fmt: skip
"""Photometric interpretation -> samples a pixel."""


@dataclass(frozen=True)
class DicomHeader:
    """What a header says of its pixels, checked for contradictions.

    Attributes:
        rows: of a frame.
        columns: of a frame.
        frames: how many there are.
        samples: a pixel: 1, or 3 for colour.
        allocated: bits that a value takes.
        stored: bits that a value uses.
        signed: two's complement.
        photometric: MONOCHROME1 (high is dark), MONOCHROME2, RGB ...
        padding: stored values (lowest, highest) that mark pixels outside the image, or None.
        syntax: the transfer syntax's name.
        encapsulated: whether frames are compressed.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str
    padding: tuple[int, int] | None
    syntax: str
    encapsulated: bool

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and highest value that the stored bits can hold."""
        if self.signed:
            return -(1 << (self.stored - 1)), (1 << (self.stored - 1)) - 1
        return 0, (1 << self.stored) - 1


@dataclass(frozen=True)
class DicomImage:
    """An opened file: how errors name it, its checked header, and pydicom's dataset."""

    where: str
    header: DicomHeader
    dataset: Any


def open_dicom(path: Path) -> DicomImage:
    """Open a file and check its header against itself and against the pixels that are there.

    Args:
        path: the file.

    Raises:
        ReadError: no DICOM, no pixels, a header that contradicts itself or the pixels, or an impossible size.
        MissingExtraError: pydicom, or the decoder of the file's transfer syntax, is not installed.

    Example:
        >>> image = open_dicom(Path("scan.dcm"))            # doctest: +SKIP
        >>> decode(image).shape
        (1, 512, 512)
    """
    dataset = read_dataset(path)
    header = read_header(dataset, str(path))
    image = DicomImage(str(path), header, dataset)
    if header.encapsulated:
        _check_decoder(image)
    else:
        _check_length(image)
    return image


def read_header(dataset: Any, where: str) -> DicomHeader:
    """The image's tags, checked for contradictions; no pixel is touched.

    Raises:
        ReadError: a tag is absent, impossible, or contradicts another.
    """
    for name in ("FloatPixelData", "DoubleFloatPixelData"):
        if name in dataset:
            raise ReadError(f"{where}: holds {name}, which is no X-ray's or CT's pixel data; give the original image")
    if tag(dataset, "PixelData", where) is None:
        kind = word(dataset, "Modality", where) or "unknown"
        raise ReadError(
            f"{where}: is a DICOM file without pixels (modality {kind}); give the file that holds the image"
        )
    rows, columns = whole(dataset, "Rows", where), whole(dataset, "Columns", where)
    frames = whole(dataset, "NumberOfFrames", where) if tag(dataset, "NumberOfFrames", where) is not None else 1
    allocated, stored = whole(dataset, "BitsAllocated", where), whole(dataset, "BitsStored", where)
    samples = whole(dataset, "SamplesPerPixel", where)
    representation = whole(dataset, "PixelRepresentation", where, 0)
    photometric = word(dataset, "PhotometricInterpretation", where)
    if photometric not in SAMPLES:
        raise ReadError(
            f"{where}: its PhotometricInterpretation is {photometric or 'absent'!r}, so that black and white are not "
            f"known; known: {', '.join(SAMPLES)}"
        )
    if SAMPLES[photometric] != samples:
        raise ReadError(
            f"{where}: says {photometric}, which has {SAMPLES[photometric]} samples a pixel, and SamplesPerPixel "
            f"{samples}; mend the header"
        )
    if allocated not in (8, 16, 32):
        raise ReadError(f"{where}: BitsAllocated is {allocated}; images of 8, 16 or 32 bits are read, not bit masks")
    high = stored - 1 if tag(dataset, "HighBit", where) is None else whole(dataset, "HighBit", where, 0)
    if stored > allocated or high != stored - 1 or representation > 1:
        raise ReadError(
            f"{where}: BitsStored {stored}, BitsAllocated {allocated}, HighBit {high} and PixelRepresentation "
            f"{representation} contradict each other; mend the header"
        )
    if rows * columns > MOST_PIXELS or rows * columns * frames * samples > MOST_VALUES:
        raise ReadError(f"{where}: says {frames} frames of {rows} x {columns}, which is more than any scanner makes")
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise ReadError(f"{where}: names no transfer syntax, so its bytes have no meaning; export it again")
    if not syntax.is_transfer_syntax:
        raise ReadError(f"{where}: its transfer syntax {syntax} is none of DICOM's; export it again")
    return DicomHeader(
        rows, columns, frames, samples, allocated, stored, representation == 1, photometric,
        _padding(dataset, where, allocated, representation == 1), str(syntax.name), bool(syntax.is_encapsulated),
    )  # fmt: skip


def decode(image: DicomImage, which: Sequence[int] | None = None) -> NDArray[Any]:
    """Frames as they are stored, with colour undone to RGB: (F, rows, columns) or (F, rows, columns, 3).

    Args:
        image: the opened file.
        which: numbers of frames from 0; None: all.

    Raises:
        ReadError: a frame is absent, damaged, of another size than the header says, or holds values that do not fit
            BitsStored.
    """
    from pydicom.pixels import get_decoder

    header, where = image.header, image.where
    wanted = range(header.frames) if which is None else which
    decoder = get_decoder(image.dataset.file_meta.TransferSyntaxUID)
    shape = (header.rows, header.columns, header.samples)[: 3 if header.samples > 1 else 2]
    frames = []
    for index in wanted:
        if header.encapsulated:
            _check_codestream(image, index)
        with silenced():
            try:
                # Bits beyond those stored are ours to look at: pydicom would clear them without a word.
                frame, _ = decoder.as_array(image.dataset, index=index, correct_unused_bits=False)
            except Exception as error:  # each decoder fails in its own ways
                raise ReadError(
                    f"{where}: frame {index} cannot be decoded ({header.syntax}, {type(error).__name__}): it is "
                    "damaged, cut short, or of a kind that the installed decoders do not read; copy the file again, or "
                    "export it uncompressed"
                ) from None
        if frame.shape != shape:
            raise ReadError(f"{where}: frame {index} decodes to {frame.shape}, and the header says {shape}")
        frames.append(_fit_bits(frame, image))
    return np.stack(frames)


def _fit_bits(frame: NDArray[Any], image: DicomImage) -> NDArray[Any]:
    """Refuse values beyond BitsStored; where the header says that unused bits hold an overlay, take them away."""
    low, high = image.header.limits
    least, most, whole = int(frame.min()), int(frame.max()), 1 << image.header.stored
    if least >= low and most <= high:
        return frame
    planes = any(element.tag.group >> 8 == 0x60 and element.tag.elem == 0x0102 for element in image.dataset)
    # Writers may leave the bits above a sign zero, since the standard gives them no meaning.
    unextended = image.header.signed and least >= 0 and most < whole
    if not planes and not unextended:
        raise ReadError(
            f"{image.where}: holds values from {least} to {most}, and BitsStored = {image.header.stored} holds {low} "
            f"to {high}; mend BitsStored"
        )
    kept = frame.astype(np.int64) & (whole - 1)
    if image.header.signed:
        kept = np.where(kept > high, kept - whole, kept)
    return kept.astype(frame.dtype)


def _padding(dataset: Any, where: str, allocated: int, signed: bool) -> tuple[int, int] | None:
    if tag(dataset, "PixelPaddingValue", where) is None:
        return None
    numbers = []
    for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = tag(dataset, name, where)
        if isinstance(value, bytes):
            value = int.from_bytes(value, "little")
        if value is None:
            continue
        try:
            # The tag is US or SS as PixelRepresentation says, and writers mix them up: its bits are those of a pixel.
            number = int(value) % (1 << allocated)
        except (TypeError, ValueError, OverflowError):
            raise ReadError(f"{where}: its {name} is no whole number; mend the header") from None
        numbers.append(number - (1 << allocated) if signed and number >= 1 << (allocated - 1) else number)
    return min(numbers), max(numbers)


def _check_length(image: DicomImage) -> None:
    """Uncompressed pixels are as long as the header says: one byte of padding, or a few zeros, may follow."""
    header, data = image.header, image.dataset.PixelData
    values = header.rows * header.columns * header.frames * header.samples
    if header.photometric == "YBR_FULL_422":
        values = values // 3 * 2
    expected = values * (header.allocated // 8)
    excess = len(data) - expected
    if excess in (0, 1) or (0 < excess <= expected // 16 and not any(data[expected:])):
        return
    raise ReadError(
        f"{image.where}: {'is cut short' if excess < 0 else 'lies'}: the header says {header.frames} frames of "
        f"{header.rows} x {header.columns}, {header.samples} samples of {header.allocated} bits ({expected} bytes), "
        f"and the file holds {len(data)}; copy or export it again"
    )


def _check_decoder(image: DicomImage) -> None:
    from pydicom.pixels import get_decoder

    try:
        decoder = get_decoder(image.dataset.file_meta.TransferSyntaxUID)
    except NotImplementedError:
        raise ReadError(
            f"{image.where}: its transfer syntax {image.header.syntax} cannot be decoded; export it uncompressed"
        ) from None
    if not decoder.is_available:
        raise MissingExtraError(f"{image.where}: decoding the transfer syntax {image.header.syntax}", "medical")


def _check_codestream(image: DicomImage, index: int) -> None:
    """Compare a compressed frame's own size with the header's, before a decoder allocates either."""
    from pydicom.encaps import get_frame

    header, where = image.header, image.where
    with silenced():
        try:
            frame = get_frame(image.dataset.PixelData, index, number_of_frames=header.frames)
        except Exception as error:  # offsets and lengths of a damaged file
            raise ReadError(
                f"{where}: frame {index} of {header.frames} is not there or damaged ({type(error).__name__}); copy or "
                "export the file again"
            ) from None
    said = inspect(frame)
    if said is None:
        return
    if (said.rows, said.columns, said.components) != (header.rows, header.columns, header.samples):
        raise ReadError(
            f"{where}: the header says {header.rows} x {header.columns} with {header.samples} samples, and the "
            f"compressed frame {index} is {said.rows} x {said.columns} with {said.components}; mend the header"
        )
    if said.bits > header.allocated:
        raise ReadError(
            f"{where}: the header allocates {header.allocated} bits, and the compressed frame {index} has {said.bits}; "
            "mend the header"
        )
