"""Whether a compressed stream is as long as its header says: Ogg by its pages, FLAC and MP3 by their frames.

libsndfile stops at the length that a header promises, and gives fewer samples without a word where it promises less
than there is.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

from modalign.errors import ReadError

OGG_PAGE = 27 + 255 + 255 * 255
"""The longest Ogg page, in bytes."""
FLAC_FRAME = 1 << 17
"""Where a FLAC header does not say how long its longest frame is: bytes at the end in which the last one begins."""
KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Of layer III, by its code: MPEG 1, and 2 and 2.5."""
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}


def cut_short(path: Path, why: str) -> ReadError:
    """The error for a file that ends before it should."""
    return ReadError(f"{path}: the file is cut short ({why}); copy or record it again")


def check_length(path: Path, said: int, found: int, unit: str, slack: int = 0) -> None:
    """Compare what a header promises with what is there.

    Raises:
        ReadError: they differ by more than `slack`.
    """
    if found < said - slack:
        raise cut_short(path, f"its header promises {said:,} {unit}, and {found:,} are there")
    if found > said + slack:
        raise ReadError(
            f"{path}: its header lies about the length ({said:,} {unit}, and {found:,} are there); convert it again"
        )


def check_ogg(file: BinaryIO, path: Path) -> None:
    """Look for the whole last page of an Ogg stream, which says that it is the last, and how long the stream is.

    Raises:
        ReadError: it is not there, or says less than the page before it.
    """
    file.seek(max(0, path.stat().st_size - 2 * OGG_PAGE))
    tail = file.read()
    pages = _ogg_pages(tail)
    flags, length, whole, serial = next(pages, (0, 0, False, 0))
    if not whole or not flags & 4:
        raise cut_short(path, "its last Ogg page is not there")
    before = next((end for _, end, _, other in pages if other == serial and end >= 0), 0)
    if length < before:
        check_length(path, length, before, "samples")


def _ogg_pages(tail: bytes) -> Iterator[tuple[int, int, bool, int]]:
    """From the last page on: its flags, its end in samples, whether it is whole, the stream's number."""
    at = tail.rfind(b"OggS")
    while at >= 0:
        page = tail[at:]
        if len(page) >= 27 and page[4] == 0 and page[5] < 8:
            body = 27 + page[26]
            end, serial = struct.unpack("<qI", page[6:18])
            yield page[5], end, len(page) >= body + sum(page[27:body]) and len(page) >= body, serial
        at = tail.rfind(b"OggS", 0, at)


def check_flac(file: BinaryIO, path: Path) -> None:
    """Compare a FLAC header's number of samples with where the last frame ends.

    Raises:
        ReadError: they differ.
    """
    file.seek(0)
    head = file.read(42)
    if len(head) < 42 or head[4] & 0x7F:  # no stream info: libsndfile refuses it
        return
    block, longest = struct.unpack(">H", head[10:12])[0], int.from_bytes(head[15:18], "big")
    said = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF
    file.seek(max(42, path.stat().st_size - (longest or FLAC_FRAME)))
    found = flac_end(file.read(), block)
    if said and found is not None:  # 0: not said, which the reader refuses
        check_length(path, said, found, "samples")


def flac_end(tail: bytes, block: int) -> int | None:
    """The sample after the last, by the frame that ends with these bytes; None where none does (tags follow it).

    Args:
        tail: the file's last bytes, at least a frame of them.
        block: samples of a frame where all have the same number.
    """
    at = len(tail)
    for _ in range(64):  # two bytes may look like a frame's first by chance; its checksum tells
        at = max(tail.rfind(b"\xff\xf8", 0, at), tail.rfind(b"\xff\xf9", 0, at))
        if at < 0:
            return None
        frame = tail[at:]
        if len(frame) > 16 and _crc16(frame) == 0:
            return _flac_frame_end(frame, block)
    return None


def _flac_frame_end(frame: bytes, block: int) -> int:
    """Its header: sync, block size, rate, channels, bits, and its number as UTF-8 writes one."""
    more = 0 if frame[4] < 0x80 else 7 - (frame[4] ^ 0xFF).bit_length()
    number = frame[4] & (0x7F if more == 0 else 0x3F >> more)
    for byte in frame[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    code, after = frame[2] >> 4, frame[5 + more :]
    if code in (6, 7):
        samples = int.from_bytes(after[: code - 5], "big") + 1
    else:
        samples = 192 if code == 1 else 576 << (code - 2) if code < 6 else 256 << (code - 8)
    return (number if frame[1] & 1 else number * block) + samples


@cache
def _crc16_table() -> tuple[int, ...]:
    table = list(range(256))
    for n in range(256):
        value = n << 8
        for _ in range(8):
            value = (value << 1) ^ (0x8005 if value & 0x8000 else 0)
        table[n] = value & 0xFFFF
    return tuple(table)


def _crc16(data: bytes) -> int:
    value, table = 0, _crc16_table()
    for byte in data:
        value = (value << 8) & 0xFF00 ^ table[value >> 8 ^ byte]
    return value


def check_mp3(file: BinaryIO, path: Path) -> None:
    """Compare an MP3's Xing header, where there is one, with the number of frames.

    Raises:
        ReadError: they differ by more than the one that writers count or do not.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while data[at : at + 3] == b"ID3":
            at += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[at + 6 : at + 10], (21, 14, 7, 0)))
        first = mp3_frame(data[at : at + 4])
        head = data[at : at + first]
        place = max(head.find(b"Xing"), head.find(b"Info"))
        if place < 0 or len(head) < place + 12 or not head[place + 7] & 1:
            return
        said = int.from_bytes(head[place + 8 : place + 12], "big")
        kind, found, at = head[:4], 0, at + first
        while at + 4 <= len(data):
            length = mp3_frame(data[at : at + 4], kind)
            # What follows the sound (tags, pictures) may look like one frame, but hardly like two.
            if length and at + length <= len(data):
                found, at = found + 1, at + length
                continue
            at = data.find(b"\xff", at + 1)
            while at >= 0:
                then = at + mp3_frame(data[at : at + 4], kind)
                if then > at and mp3_frame(data[then : then + 4], kind):
                    break
                at = data.find(b"\xff", at + 1)
            if at < 0:
                break
    check_length(path, said, found, "frames", slack=1)


def mp3_frame(head: bytes, like: bytes = b"") -> int:
    """Bytes of the layer III frame that begins so; 0 where none does, or one of another version or rate than `like`.

    Example:
        >>> mp3_frame(bytes.fromhex("fffb90c4")), mp3_frame(b"TAG ")
        (417, 0)
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, code, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or code in (0, 15) or rate == 3:
        return 0
    if like and (head[1] ^ like[1] | (head[2] ^ like[2]) & 0x0C) & 0xFE:
        return 0
    bits = (144_000 if version == 3 else 72_000) * KILOBITS[version == 3][code]
    return bits // RATES[version][rate] + (head[2] >> 1 & 1)
