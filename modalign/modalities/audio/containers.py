"""What a file's own bytes say before it is decoded: its kind, and whether it is whole.

libsndfile decodes what is left of a cut WAV or Ogg file without a word, so headers are checked here and in `streams`.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from modalign.errors import ReadError
from modalign.modalities.audio.streams import check_flac, check_mp3, check_ogg, cut_short

SUFFIXES = {".wav": "WAV", ".flac": "FLAC", ".ogg": "Ogg", ".oga": "Ogg", ".opus": "Ogg", ".mp3": "MP3"}
UNKNOWN = 0xFFFFFFFF
"""The length that a WAV says when it was written to a pipe; in RF64 the `ds64` chunk has the true one."""
MOST_PADDING = 1 << 16
"""Zero bytes after the last chunk that may be there to fill a block of a disk."""


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
        CHECKS[kind](file, path)
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
    """Compare a WAV header (RIFF, the big-endian RIFX, the 64-bit RF64) with itself and with the file's size.

    Raises:
        ReadError: names what is wrong.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    order = ">" if file.read(4) == b"RIFX" else "<"
    whole, samples = struct.unpack(f"{order}I", file.read(4))[0], UNKNOWN
    if whole != UNKNOWN and whole + 8 > size:
        raise cut_short(path, f"its header promises {whole + 8:,} bytes and it has {size:,}")
    at, align = 12, 0
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"ds64":
            samples = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
        elif name == b"fmt ":
            align = _check_format(file.read(min(length, 16)), order, path)
        elif name == b"data":
            length = samples if length == UNKNOWN else length
            if length == UNKNOWN:
                return
            if at + 8 + length > size:
                raise cut_short(
                    path, f"its header promises {length:,} bytes of samples and {size - at - 8:,} are there"
                )
            if length == 0:
                raise ReadError(f"{path}: has a header and no samples; record or export it again")
            if align and length % align:
                raise ReadError(
                    f"{path}: {length:,} bytes of samples are not whole frames of {align} bytes, so its header lies "
                    "about channels or bits; export it again"
                )
        elif not all(32 <= byte < 127 for byte in name):
            file.seek(at)
            if size - at <= MOST_PADDING and not file.read().strip(b"\0"):
                return
            raise ReadError(
                f"{path}: its header says that the samples end at byte {at:,}, but {size - at:,} bytes follow that are "
                "no chunk; its header lies about the length; export it again"
            )
        at += 8 + length + length % 2


def _check_format(fmt: bytes, order: str, path: Path) -> int:
    """Check a WAV format chunk; return the bytes of a frame, or 0 where the coding has no fixed ones."""
    if len(fmt) < 16:
        raise ReadError(f"{path}: its format chunk is {len(fmt)} bytes long, not 16; export it again")
    code, channels, rate, speed, align, bits = struct.unpack(f"{order}HHIIHH", fmt)
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


CHECKS = {"WAV": check_wav, "FLAC": check_flac, "Ogg": check_ogg, "MP3": check_mp3}
