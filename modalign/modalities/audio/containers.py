"""What a file's own bytes say before it is decoded: its kind, and whether it is whole.

libsndfile decodes what is left of a cut WAV or Ogg file without a word, so their headers are checked here.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from modalign.errors import ReadError

SUFFIXES = {".wav": "WAV", ".flac": "FLAC", ".ogg": "Ogg", ".oga": "Ogg", ".mp3": "MP3"}
OGG_PAGE = 27 + 255 + 255 * 255
"""The longest Ogg page, in bytes."""


def check_container(path: Path) -> str:
    """The kind of an audio file: "WAV", "FLAC", "Ogg" or "MP3".

    Raises:
        ReadError: not a kind that can be read, another kind than its name says, cut short, or a header that contradicts
            itself or the file's size.
    """
    if path.is_dir():
        raise ReadError(f"{path}: is a folder; give one file ({', '.join(SUFFIXES)})")
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ReadError(
            f"{path}: files of the kind {path.suffix!r} cannot be read; convert it to one of {', '.join(SUFFIXES)}"
        )
    with path.open("rb") as file:
        head = file.read(16)
        actual = sniff(head)
        if actual is None:
            raise ReadError(f"{path}: does not begin as a {kind} file does; copy or convert it again")
        if actual != kind:
            raise ReadError(f"{path}: is a {actual} file by its content and {kind} by its name; rename it")
        if kind == "WAV":
            check_wav(file, path)
        elif kind == "Ogg":
            check_ogg(file, path)
    return kind


def sniff(head: bytes) -> str | None:
    """The kind of file that begins with these bytes, or None.

    Example:
        >>> sniff(b"fLaC\\x00\\x00\\x00\\x22"), sniff(b"GIF89a")
        ('FLAC', None)
    """
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return "WAV"
    if head[:4] == b"fLaC":
        return "FLAC"
    if head[:4] == b"OggS":
        return "Ogg"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06):
        return "MP3"
    return None


def check_wav(file: BinaryIO, path: Path) -> None:
    """Compare a RIFF WAV header with itself and with the file's size.

    Raises:
        ReadError: names what is wrong.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    magic, riff = struct.unpack("<4sI", file.read(8))
    if magic != b"RIFF":  # the rare big-endian and 64-bit kinds are left to libsndfile
        return
    if riff + 8 > size:
        _refuse(path, f"its header promises {riff + 8:,} bytes and it has {size:,}")
    at, align = 12, 0
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"fmt ":
            align = _check_format(file.read(min(length, 16)), path)
        elif name == b"data":
            if at + 8 + length > size:
                _refuse(path, f"its header promises {length:,} bytes of samples and {size - at - 8:,} are there")
            if length == 0:
                raise ReadError(f"{path}: has a header and no samples; record or export it again")
            if align and length % align:
                raise ReadError(
                    f"{path}: {length:,} bytes of samples are not whole frames of {align} bytes, so its header lies "
                    "about channels or bits; export it again"
                )
        elif not all(32 <= byte < 127 for byte in name):
            raise ReadError(
                f"{path}: its header says that the samples end at byte {at:,}, but {size - at:,} bytes follow that are "
                "no chunk; its header lies about the length; export it again"
            )
        at += 8 + length + length % 2


def _check_format(fmt: bytes, path: Path) -> int:
    """Check a WAV format chunk; return the bytes of a frame, or 0 where the coding has no fixed ones."""
    if len(fmt) < 16:
        raise ReadError(f"{path}: its format chunk is {len(fmt)} bytes long, not 16; export it again")
    code, channels, rate, speed, align, bits = struct.unpack("<HHIIHH", fmt)
    if channels == 0 or rate == 0:
        raise ReadError(f"{path}: its header says {channels} channels at {rate} Hz; export it again")
    if code not in (1, 3, 0xFFFE):
        return 0
    if align != channels * ((bits + 7) // 8) or speed != rate * align:
        raise ReadError(
            f"{path}: its header contradicts itself ({channels} channels of {bits} bits at {rate} Hz, but {align} "
            f"bytes a frame and {speed} bytes a second); export it again"
        )
    return int(align)


def check_ogg(file: BinaryIO, path: Path) -> None:
    """Look for the whole last page of an Ogg stream, which says that it is the last.

    Raises:
        ReadError: it is not there.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - OGG_PAGE))
    tail = file.read()
    at = tail.rfind(b"OggS")
    while at >= 0:
        page = tail[at:]
        if len(page) >= 27 and page[4] == 0 and page[5] < 8:
            count = page[26]
            whole = len(page) >= 27 + count and len(page) >= 27 + count + sum(page[27 : 27 + count])
            if whole and page[5] & 4:
                return
            break
        at = tail.rfind(b"OggS", 0, at)
    _refuse(path, "its last Ogg page is not there")


def _refuse(path: Path, why: str) -> None:
    raise ReadError(f"{path}: the file is cut short ({why}); copy or record it again")
