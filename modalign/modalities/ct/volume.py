"""What every format is opened as: voxels with an affine, before units and orientation are settled."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from modalign.errors import ReadError
from modalign.modalities.ct.geometry import Array, Floats

MOST_VOXELS = 1 << 30
"""A volume of 1024^3 takes 4 GiB as float32; what says more is taken for a lie."""
MOST_ALONG = 16_384
DEFLATE = 1032
"""Deflate shrinks to 1/1032 at best."""
SPARE = 512
"""Bytes that may follow the voxels, since some programs fill up a block."""


@dataclass(frozen=True)
class Volume:
    """An opened source.

    Attributes:
        where: how errors name it.
        kind: "dicom", "nifti", "nrrd" or "array".
        data: (X, Y, Z) as stored (NIfTI: scaled by its header; DICOM: HU).
        affine: (4, 4) to RAS mm; None where the source says none.
        hu: whether the source itself says that its numbers are HU.
        info: technical facts for `Signal.meta`; never a patient's.
    """

    where: str
    kind: str
    data: Array
    affine: Floats | None = None
    hu: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)


def check_size(shape: Sequence[int], where: str) -> None:
    """Refuse sizes that no CT has, before memory is taken for them.

    Raises:
        ReadError: a size of 0 or less, or absurdly many voxels.
    """
    if any(n < 1 for n in shape) or max(shape) > MOST_ALONG or math.prod(shape) > MOST_VOXELS:
        raise ReadError(
            f"{where}: says a size of {' x '.join(map(str, shape))} voxels, which no CT has; its header is damaged, "
            "export it again"
        )


def check_three(shape: Sequence[int], where: str) -> None:
    """Refuse what is not three-dimensional.

    Raises:
        ReadError: says the shape.
    """
    if len(shape) != 3:
        mend = "give each volume of it as a file of its own" if len(shape) > 3 else "give the whole volume"
        raise ReadError(f"{where}: has {len(shape)} axes ({' x '.join(map(str, shape))}), and a CT has three; {mend}")


def check_packed(file: IO[bytes], size: int, needed: int, where: str) -> None:
    """Unpack a gzip stream once, keeping nothing, up to the checksum at its end, which readers of voxels never reach.

    Args:
        file: at the start of the stream.
        size: bytes of the stream.
        needed: bytes that it should hold.
        where: for errors.

    Raises:
        ReadError: it is damaged, or holds less or more.
    """
    if needed > size * DEFLATE:
        raise ReadError(
            f"{where}: its header says {needed:,} bytes, more than {size:,} packed bytes can hold; the header lies, or "
            "the file is cut short"
        )
    held = 0
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while held <= needed + SPARE and (chunk := unpacked.read(1 << 20)):
                held += len(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise ReadError(f"{where}: is damaged or cut short ({short(error)}); copy it again") from error
    if not needed <= held <= needed + SPARE:
        raise ReadError(
            f"{where}: its header says {needed:,} bytes, and it holds {'more' if held > needed else f'{held:,}'}; the "
            "header lies, export it again"
        )


def short(error: BaseException) -> str:
    """The first line of a library's error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
