"""One matrix of a MATLAB file, v4 or v5 (v6, v7), read here: scipy's reader crashes Python on some damaged files.

Format: MathWorks, "MAT-File Format". A v5 file is a tree of elements, each a tag (type, bytes) and its data; every
length is checked against what holds it before it is used. Objects, cells and sparse matrices are refused.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.ecg.recording import Array

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_V4 = ("f8", "f4", "i4", "i2", "u2", "u1")
_MATRIX, _COMPRESSED, _STRUCT, _NUMERIC = 14, 15, 2, range(6, 16)
_LARGEST = 1 << 32
"""Bytes that a compressed variable may unfold to."""


class _Damaged(ValueError):
    pass


def open_matlab(path: Path) -> Array:
    """The one matrix of a file, or the field `data` of its one struct (CPSC2018's `ECG.data`): (C, T).

    Raises:
        ReadError: the file is damaged, or holds something else.
    """
    raw = path.read_bytes()
    try:
        found = _variables5(raw) if raw[126:128] in (b"IM", b"MI") else _variables4(raw)
    except (_Damaged, zlib.error, UnicodeDecodeError) as error:
        raise ReadError(
            f"{path}: not a readable MATLAB file ({error}), and there is no WFDB header beside it"
        ) from error
    if len(found) != 1:
        raise ReadError(f"{path}: holds {len(found)} variables ({', '.join(found)}); save the one matrix of the ECG")
    array = next(iter(found.values()))
    if array is None or array.ndim != 2:
        raise ReadError(f"{path}: holds no matrix of numbers; save the ECG as one, leads by samples")
    return array


@dataclass
class _Reader:
    """Elements one after another in `raw`, each at a multiple of 8 bytes."""

    raw: bytes
    order: str
    at: int = 0

    def more(self) -> bool:
        return self.at < len(self.raw)

    def element(self) -> tuple[int, bytes]:
        if self.at + 8 > len(self.raw):
            raise _Damaged("it is cut short")
        kind, size = np.frombuffer(self.raw, f"{self.order}u4", 2, self.at).tolist()
        begin = self.at + 8
        if kind >> 16:  # the small format: size and type in one word, data in the next
            kind, size, begin = kind & 0xFFFF, kind >> 16, self.at + 4
            if size > 4:
                raise _Damaged("a small element is too large")
        if begin + size > len(self.raw):
            raise _Damaged("it is cut short")
        end = begin + size
        # Compressed elements alone are not filled up to 8 bytes.
        self.at = end if kind == _COMPRESSED else -(-end // 8) * 8
        return kind, self.raw[begin:end]

    def numbers(self) -> Array:
        kind, data = self.element()
        if kind not in _TYPES or len(data) % np.dtype(_TYPES[kind]).itemsize:
            raise _Damaged("its numbers are of no known type")
        return np.frombuffer(data, self.order + _TYPES[kind])

    def text(self) -> str:
        return self.element()[1].rstrip(b"\0").decode("ascii")


def _variables5(raw: bytes) -> dict[str, Array | None]:
    order = "<" if raw[126:128] == b"IM" else ">"
    top = _Reader(raw, order, 128)
    found: dict[str, Array | None] = {}
    while top.more():
        kind, data = top.element()
        if kind == _COMPRESSED:
            unfolding = zlib.decompressobj()
            kind, data = _Reader(unfolding.decompress(data, _LARGEST), order).element()
        if kind != _MATRIX:
            raise _Damaged(f"an element of type {kind} stands where a variable should be")
        name, value = _matrix(data, order)
        found[name] = value
    return found


def _matrix(data: bytes, order: str, nested: bool = False) -> tuple[str, Array | None]:
    """Name and numbers; None for what is no real matrix of numbers."""
    reader = _Reader(data, order)
    flags = reader.numbers()
    shape = [int(n) for n in reader.numbers()]
    name = reader.text()
    if not len(flags) or len(shape) < 2 or min(shape) < 0:
        raise _Damaged("a variable has no shape")
    kind, is_complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & 0x800)
    if kind == _STRUCT and not nested and math.prod(shape) == 1:
        return name, _data_field(reader, order)
    if kind not in _NUMERIC or is_complex:
        return name, None
    values = reader.numbers()
    if len(values) != math.prod(shape):
        raise _Damaged(f"{name or 'a field'} says {' x '.join(map(str, shape))} and holds {len(values)} numbers")
    return name, values.reshape(shape, order="F")


def _data_field(reader: _Reader, order: str) -> Array | None:
    widths = reader.numbers()
    kind, joined = reader.element()
    width = int(widths[0]) if len(widths) == 1 else 0
    if width < 1 or len(joined) % width:
        raise _Damaged("the names of a struct's fields are damaged")
    for at in range(0, len(joined), width):
        kind, data = reader.element()
        if kind != _MATRIX:
            raise _Damaged("a struct's field is no variable")
        if joined[at : at + width].split(b"\0")[0] == b"data":
            return _matrix(data, order, nested=True)[1]
    return None


def _variables4(raw: bytes) -> dict[str, Array | None]:
    """Five integers (type, rows, columns, imaginary, name's length), name, numbers column by column; and again."""
    at = 0
    found: dict[str, Array | None] = {}
    while at < len(raw) or not found:
        if at + 20 > len(raw):
            raise _Damaged("it is cut short, or of another kind")
        order = "<" if int.from_bytes(raw[at : at + 4], "little") < 10_000 else ">"
        kind, rows, columns, imaginary, length = np.frombuffer(raw, f"{order}i4", 5, at).tolist()
        machine, precision, content = kind // 1000, kind // 10 % 10, kind % 10
        plain = machine in (0, 1) and kind // 100 % 10 == 0 and precision < len(_V4) and content in (0, 1)
        if not plain or min(rows, columns) < 0 or imaginary not in (0, 1) or not 1 <= length <= 256:
            raise _Damaged("its first numbers are no MATLAB header; a file of version 7.3 must be saved as -v7")
        dtype = np.dtype(order + _V4[precision])
        begin = at + 20 + length
        size = rows * columns * dtype.itemsize * (1 + imaginary)
        if begin + size > len(raw):
            raise _Damaged("it is cut short")
        name = raw[at + 20 : begin].split(b"\0")[0].decode("ascii")
        values = np.frombuffer(raw, dtype, rows * columns, begin).reshape(rows, columns, order="F")
        found[name] = None if imaginary or content else values
        at = begin + size
    return found
