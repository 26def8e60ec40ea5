"""The sample formats of WFDB: bytes -> integers, and the integer that marks an invalid sample (signal(5))."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from modalign.modalities.ecg.recording import Array

BYTES = {"16": 2.0, "61": 2.0, "80": 1.0, "160": 2.0, "24": 3.0, "32": 4.0, "212": 1.5}
"""Format -> bytes a sample. Others (8, 310, 311, and the FLAC ones) are left to the `wfdb` package."""
INVALID = {
    "16": -(1 << 15),
    "61": -(1 << 15),
    "160": -(1 << 15),
    "80": -128,
    "24": -(1 << 23),
    "32": -(1 << 31),
    "212": -2048,
}


def _bytes24(raw: Array) -> Array:
    bytes3 = raw.reshape(-1, 3).astype(np.int32)
    value = bytes3[:, 0] | (bytes3[:, 1] << 8) | (bytes3[:, 2] << 16)
    return np.where(value >= 1 << 23, value - (1 << 24), value)


def _bytes212(raw: Array) -> Array:
    """Two 12-bit samples in three bytes; the last one may stand in two bytes alone."""
    padded = np.zeros(-(-len(raw) // 3) * 3, dtype=np.int32)
    padded[: len(raw)] = raw
    a, b, c = padded.reshape(-1, 3).T
    pairs = np.stack([a | ((b & 0x0F) << 8), c | ((b & 0xF0) << 4)], axis=1).reshape(-1)
    return np.where(pairs > 2047, pairs - 4096, pairs)


_DECODE: dict[str, Callable[[Array], Array]] = {
    "16": lambda raw: raw.view("<i2").astype(np.int32),
    "61": lambda raw: raw.view(">i2").astype(np.int32),
    "160": lambda raw: raw.view("<u2").astype(np.int32) - (1 << 15),
    "80": lambda raw: raw.astype(np.int32) - 128,
    "24": _bytes24,
    "32": lambda raw: raw.view("<i4"),
    "212": _bytes212,
}


def decode(raw: Array, kind: str, channels: int) -> Array:
    """Bytes of interleaved samples -> integers (T, C)."""
    flat = _DECODE[kind](np.ascontiguousarray(raw))
    return flat[: len(flat) // channels * channels].reshape(-1, channels)
