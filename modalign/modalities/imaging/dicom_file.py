"""DICOM files: read a dataset and its tags. No patient's value leaves here, in errors or in logs.

Errors quote technical tags only: pydicom's own messages may hold values, so they are not passed on.
"""

from __future__ import annotations

import logging
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modalign.errors import MissingExtraError, ReadError

MOST_INFLATED = 2**31
"""Bytes that a deflated file may grow to."""
CODE = re.compile(r"[A-Z0-9_ ]{0,16}")
"""DICOM's code strings (CS)."""
_DEFLATED = "1.2.840.10008.1.2.1.99"


@contextmanager
def silenced(name: str = "pydicom") -> Iterator[None]:
    """Keep a library's warnings and log records away while it reads: pydicom's quote values, names among them."""
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def read_dataset(path: Path, pixels: bool = True) -> Any:
    """A file's dataset, pixels undecoded, or left out (for headers of a series).

    Raises:
        ReadError: it is no DICOM file, is damaged, or inflates to an absurd size.
        MissingExtraError: pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise MissingExtraError("reading DICOM images", "medical") from error
    try:
        with path.open("rb") as file:
            magic = file.read(132)[128:]
    except OSError as error:
        raise ReadError(f"{path}: cannot be opened ({error.strerror}); check the file") from None
    if magic != b"DICM":
        raise ReadError(
            f"{path}: is no DICOM file (bytes 129 to 132 are not DICM); export it again as a DICOM file with its "
            "preamble and file meta information"
        )
    with silenced():
        try:
            _check_inflated(path, pydicom)
            dataset = pydicom.dcmread(path, stop_before_pixels=not pixels)
            list(dataset)  # values are converted when they are first asked for: damage shows here
        except ReadError:
            raise
        except MemoryError:
            raise ReadError(f"{path}: does not fit into memory; cut it into smaller files") from None
        except Exception as error:  # pydicom fails in many ways on a damaged file
            raise ReadError(
                f"{path}: is a damaged DICOM file ({type(error).__name__}); copy or export it again"
            ) from None
    return dataset


def tag(dataset: Any, name: str, where: str) -> Any:
    """A tag's value, None where it is absent or empty.

    Raises:
        ReadError: it cannot be converted to what the standard says it is, or is a sequence only by its name.
    """
    with silenced():
        try:
            value = dataset.get(name)
            if name.endswith("Sequence") and value:
                value[0].keys()  # other kinds of value have no datasets in them
        except Exception as error:
            raise ReadError(
                f"{where}: the tag {name} cannot be read ({type(error).__name__}); export it again"
            ) from None
    return None if value is None or value == "" else value


def word(dataset: Any, name: str, where: str) -> str:
    """A tag that is a code of the standard's, in capitals, "" where it is absent: errors and `meta` may quote it.

    Raises:
        ReadError: it is free text, which may name a patient, and is not quoted.
    """
    value = str(tag(dataset, name, where) or "").strip().upper()
    if CODE.fullmatch(value):
        return value
    raise ReadError(f"{where}: the tag {name} is no code of capitals, digits and spaces; export it again")


def numbers(dataset: Any, name: str, where: str) -> list[float]:
    """A tag's numbers, [] where it is absent.

    Raises:
        ReadError: a value is no number.
    """
    value = tag(dataset, name, where)
    several = [] if value is None else [value] if isinstance(value, (str, bytes, int, float)) else value
    try:
        return [float(part) for part in several]
    except (TypeError, ValueError):
        raise ReadError(f"{where}: its {name} is no number; mend the header") from None


def whole(dataset: Any, name: str, where: str, least: int = 1) -> int:
    """A tag that is a whole number.

    Raises:
        ReadError: it is absent, or no whole number of at least `least`.
    """
    value = tag(dataset, name, where)
    if value is None:
        raise ReadError(f"{where}: has pixels and no tag {name}; export it again")
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = least - 1
    if number < least:
        raise ReadError(f"{where}: the tag {name} is no whole number from {least}; export it again")
    return number


def _check_inflated(path: Path, pydicom: Any) -> None:
    """Refuse a deflated file that would grow beyond any image, before pydicom inflates all of it at once."""
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != _DEFLATED:
        return
    offset = 132 + 12 + int(meta.get("FileMetaInformationGroupLength", 0))
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(offset)
        chunk = file.read(1 << 20)
        while chunk:
            size += len(inflater.decompress(chunk, 1 << 24))
            if size > MOST_INFLATED:
                raise ReadError(f"{path}: inflates to more than {MOST_INFLATED >> 30} GB, as no image does")
            chunk = inflater.unconsumed_tail or file.read(1 << 20)
