"""What a compressed frame says of itself, read from its first marker segments, before anything is decoded.

A header of a few bytes decides how much a decoder allocates, so it is compared with the DICOM header first.
Sources: ITU-T T.81 (JPEG), T.87 (JPEG-LS), T.800 (JPEG 2000).
"""

from __future__ import annotations

from typing import NamedTuple

_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""SOF markers of JPEG, and of JPEG-LS; C4, C8 and CC are other segments."""
_ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length."""


class Codestream(NamedTuple):
    """Rows, columns, components, and bits a sample."""

    rows: int
    columns: int
    components: int
    bits: int


def inspect(frame: bytes) -> Codestream | None:
    """Read a JPEG, JPEG-LS or JPEG 2000 codestream's size; None where it is neither, or ends before saying it.

    Example:
        >>> inspect(bytes.fromhex("ffd8ffc0000b080010002001011100"))
        Codestream(rows=16, columns=32, components=1, bits=8)
    """
    if frame[:4] == b"\xff\x4f\xff\x51":
        return _jpeg2000(frame, 4)
    if frame[4:8] == b"jP  " or frame[:4] == b"\x00\x00\x00\x0c":  # wrapped in a JP2 file, against the standard
        start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
        return _jpeg2000(frame, start + 4) if start >= 0 else None
    return _jpeg(frame) if frame[:2] == b"\xff\xd8" else None


def _jpeg2000(frame: bytes, at: int) -> Codestream | None:
    if len(frame) < at + 39:
        return None
    right, bottom, left, top = (int.from_bytes(frame[at + k : at + k + 4], "big") for k in (4, 8, 12, 16))
    components = int.from_bytes(frame[at + 36 : at + 38], "big")
    return Codestream(bottom - top, right - left, components, (frame[at + 38] & 0x7F) + 1)


def _jpeg(frame: bytes) -> Codestream | None:
    at = 2
    while at + 4 <= len(frame):
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAME_HEADERS:
            if len(frame) < at + 10:
                return None
            rows, columns = (int.from_bytes(frame[at + k : at + k + 2], "big") for k in (5, 7))
            return Codestream(rows, columns, frame[at + 9], frame[at + 4])
        if marker in (0xD9, 0xDA):
            return None
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None
