"""What the ECG data sets share: finding WFDB records, and telling equal signals by their headers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from modalign.errors import ReadError
from modalign.modalities.ecg.wfdb_header import Header, read_header


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
