"""The sample formats of WFDB: bytes -> integers, and the integer that marks an invalid sample (signal(5))."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from modalign.modalities.ecg.recording import Array

BYTES = {
    "8": 1.0, "16": 2.0, "61": 2.0, "80": 1.0, "160": 2.0, "24": 3.0, "32": 4.0, "212": 1.5, "310": 4 / 3, "311": 4 / 3,
}  # fmt: skip
"""Format -> bytes a sample."""
PACKED = ("212", "310", "311")
"""Formats in which samples share bytes, so that a file may end with a few bytes that hold no sample."""
FLAC = {"508": 8, "516": 16, "524": 24}
"""Formats that are FLAC streams -> bits a sample."""
INVALID = {
    "16": -(1 << 15), "61": -(1 << 15), "160": -(1 << 15), "80": -128, "24": -(1 << 23), "32": -(1 << 31),
    "212": -2048, "310": -512, "311": -512, "508": -128, "516": -(1 << 15), "524": -(1 << 23),
}  # fmt: skip


def _bytes24(raw: Array) -> Array:
    bytes3 = raw.reshape(-1, 3).astype(np.int32)
    value = bytes3[:, 0] | (bytes3[:, 1] << 8) | (bytes3[:, 2] << 16)
    return np.where(value >= 1 << 23, value - (1 << 24), value)


def _groups(raw: Array, size: int) -> Array:
    """Bytes in rows of `size`, zeros after the last: the last samples may stand in fewer bytes."""
    padded = np.zeros(-(-len(raw) // size) * size, dtype=np.int32)
    padded[: len(raw)] = raw
    return padded.reshape(-1, size).T


def _signed(columns: Sequence[Array], bits: int) -> Array:
    flat = np.stack(columns, axis=1).reshape(-1)
    return np.where(flat >= 1 << (bits - 1), flat - (1 << bits), flat)


def _bytes212(raw: Array) -> Array:
    """Two 12-bit samples in three bytes."""
    a, b, c = _groups(raw, 3)
    return _signed([a | ((b & 0x0F) << 8), c | ((b & 0xF0) << 4)], 12)


def _bytes310(raw: Array) -> Array:
    """Three 10-bit samples in two words: bits 1 to 10 of each, and the five highest bits of both."""
    a, b, c, d = _groups(raw, 4)
    one, two = a | (b << 8), c | (d << 8)
    return _signed([(one >> 1) & 0x3FF, (two >> 1) & 0x3FF, (one >> 11) | ((two >> 11) << 5)], 10)


def _bytes311(raw: Array) -> Array:
    """Three 10-bit samples in four bytes, from the lowest bits up."""
    a, b, c, d = _groups(raw, 4)
    word = a | (b << 8) | (c << 16) | ((d & 0x3F) << 24)
    return _signed([word & 0x3FF, (word >> 10) & 0x3FF, (word >> 20) & 0x3FF], 10)


_DECODE: dict[str, Callable[[Array], Array]] = {
    "8": lambda raw: raw.view("i1").astype(np.int32),
    "16": lambda raw: raw.view("<i2").astype(np.int32),
    "61": lambda raw: raw.view(">i2").astype(np.int32),
    "160": lambda raw: raw.view("<u2").astype(np.int32) - (1 << 15),
    "80": lambda raw: raw.astype(np.int32) - 128,
    "24": _bytes24,
    "32": lambda raw: raw.view("<i4"),
    "212": _bytes212,
    "310": _bytes310,
    "311": _bytes311,
}


def decode(raw: Array, kind: str, channels: int) -> Array:
    """Bytes of interleaved samples -> integers (T, C); format 8 holds differences, which are left as they are."""
    flat = _DECODE[kind](np.ascontiguousarray(raw))
    return flat[: len(flat) // channels * channels].reshape(-1, channels)
