"""WFDB records: a header (.hea) with .dat files, or with MATLAB v4 .mat files as the CinC challenges have them."""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.recording import SPAN, Array, Recording, extremes, rows_between
from modalign.modalities.ecg.wfdb_header import Header, read_header
from modalign.modalities.ecg.wfdb_samples import BYTES, FLAC, INVALID, PACKED, decode

BLOCK = 1 << 20
"""About how many frames of a long record are checked at a time."""


def find_header(path: Path) -> Path | None:
    """The header that a path stands for: itself, the one beside a .dat or .mat, or of a record without suffix."""
    if path.suffix.lower() == ".hea":
        return path
    for candidate in (path.with_suffix(".hea"), path.with_name(path.name + ".hea")):
        if candidate.is_file():
            return candidate
    return None


def read_wfdb(path: Path, fields: EcgFields) -> Recording:
    """Read a record, or a window of it; the whole record is checked either way (once a process).

    Channels with several samples a frame have the rate times so many; where their numbers differ, each is averaged
    over the frame. Samples that a skew leaves open at the end are NaN.

    Raises:
        ReadError: header and signals do not fit each other; names the file and the mend.
        MissingExtraError: FLAC needs the `soundfile` package.
    """
    header = read_header(path)
    if header.parts:
        from modalign.modalities.ecg.wfdb_segments import read_segments

        return read_segments(header, fields)
    for signal in header.signals:
        if signal.format not in (*BYTES, *FLAC):
            raise ReadError(f"{path}: the sample format {signal.format} is none that WFDB has; mend the header")
    each = _per_frame(header)
    rate = header.rate * each if header.rate else fields.rate
    if rate is None:
        raise ReadError(f"{path}: the header says no rate; set ecg.rate (Hz)")
    frames = _frames(header)
    try:
        first, last = rows_between(fields.start, fields.end, rate, frames * each)
    except ValueError as error:
        raise ReadError(f"{path}: {error}") from None
    whole = (first, last) == (0, frames * each) or not all(_seekable(s) for s in header.signals)
    low, high = (0, frames) if whole else (first // each, -(-last // each))
    digital = _digital(header, low, high)
    verify = fields.checksum == "verify"
    if whole and verify:
        _verify(header, [int(d.astype(np.int64).sum()) for d in digital], [int(d[0]) for d in digital])
    values = _physical(header, digital)
    seen = extremes(values, rate) if whole else _survey(path, _stamp(header), verify, rate)
    return Recording(
        str(path),
        "wfdb",
        values[:, first - low * each : last - low * each],
        tuple(s.name for s in header.signals),
        tuple(s.unit for s in header.signals),
        tuple(s.gain or 1.0 for s in header.signals),
        header.rate and rate,
        codes=header.codes,
        extremes=seen,
    )


def _per_frame(header: Header) -> int:
    counts = {signal.per_frame for signal in header.signals}
    return counts.pop() if len(counts) == 1 else 1


def _seekable(signal: Any) -> bool:
    return signal.format not in (*PACKED, *FLAC, "8") and not signal.skew


def _by_file(header: Header) -> dict[str, list[int]]:
    files: dict[str, list[int]] = {}
    for row, signal in enumerate(header.signals):
        files.setdefault(signal.file, []).append(row)
    for file, rows in files.items():
        if len({(header.signals[r].format, header.signals[r].offset) for r in rows}) > 1:
            raise ReadError(f"{header.path}: the channels of {file} have different formats or offsets; mend the header")
        if not header.path.with_name(file).is_file():
            raise ReadError(f"{header.path}: its signal file {file} is not beside it; copy it there")
    return files


def _width(header: Header, rows: list[int]) -> int:
    """Samples in a frame of a file."""
    return sum(header.signals[r].per_frame for r in rows)


def _frames(header: Header) -> int:
    """How many frames there are; what the header says and what the files hold must agree."""
    counts, said = [], header.samples
    for file, rows in _by_file(header).items():
        signal = header.signals[rows[0]]
        if signal.offset == 24 and file.lower().endswith(".mat"):
            _check_matlab(header, file, len(rows))
        if signal.format in FLAC:
            counts.append(len(_flac(header, file, rows)))
            held, spare = float(counts[-1]), 0.0
        else:
            frame = BYTES[signal.format] * _width(header, rows)
            held = (header.path.with_name(file).stat().st_size - signal.offset) / frame
            spare = 3 / frame if signal.format in PACKED else 0.0
            counts.append(math.floor(held + 1e-9))
        if said is not None and counts[-1] < said:
            raise ReadError(
                f"{header.path}: {file} is cut short, or the header lies: {len(rows)} channels of {said} samples are "
                f"said, and the file holds {max(held, 0):.0f} samples each; copy the file again, or mend the header"
            )
        if said is not None and held - spare >= said + 1:
            raise ReadError(
                f"{header.path}: {file} holds {held:.0f} samples for each of {len(rows)} channels, and the header says "
                f"{said}; mend its length or its number of channels"
            )
        if said is None and abs(held - round(held)) > 1e-9 and signal.format not in PACKED:
            raise ReadError(f"{header.path}: {file} holds no whole number of samples for {len(rows)} channels")
    total = said or min(counts)
    if total < 1:
        raise ReadError(f"{header.path}: has no samples; copy or record it again")
    return total


def _check_matlab(header: Header, file: str, channels: int) -> None:
    """A MATLAB v4 matrix: five integers (type, rows, columns, imaginary, name's length), then the name."""
    with header.path.with_name(file).open("rb") as opened:
        raw = opened.read(24)
    if len(raw) < 24:
        raise ReadError(f"{header.path}: {file} is cut short; copy it again")
    kind, rows, columns, imaginary, length = np.frombuffer(raw[:20], dtype="<i4").tolist()
    if raw.startswith(b"MATLAB 5") or not (0 <= kind <= 4052 and imaginary == 0 and length == 4):
        raise ReadError(f"{header.path}: {file} is not a MATLAB v4 matrix as the header says; copy it again")
    said = header.samples
    if rows != channels or (said is not None and columns != said):
        raise ReadError(
            f"{header.path}: the header says {channels} channels of {said} samples, and {file} says {rows} of "
            f"{columns}; mend the header"
        )


def _flac(header: Header, file: str, rows: list[int]) -> Array:
    """A FLAC stream -> integers (frames, channels)."""
    try:
        soundfile: Any = import_module("soundfile")
    except ImportError as error:
        raise MissingExtraError(f"{header.path}: a WFDB record in FLAC", "ecg") from error
    signal = header.signals[rows[0]]
    if signal.offset or _width(header, rows) != len(rows):
        raise ReadError(f"{header.path}: {file} is FLAC with an offset or several samples a frame; convert the record")
    try:
        data = soundfile.read(header.path.with_name(file), dtype="int32", always_2d=True)[0]
    except Exception as error:  # libsndfile's own error, and what a damaged stream makes of it
        raise ReadError(f"{header.path}: {file} is no readable FLAC stream; copy it again") from error
    if data.shape[1] != len(rows):
        raise ReadError(f"{header.path}: says {len(rows)} channels in {file}, which has {data.shape[1]}; mend it")
    return np.asarray(data >> (32 - FLAC[signal.format]))


def _digital(header: Header, first: int, last: int) -> list[Array]:
    """Each channel's stored integers in frames [first, last): ((last - first) * samples a frame,)."""
    found: dict[int, Array] = {}
    for file, rows in _by_file(header).items():
        signal, width = header.signals[rows[0]], _width(header, rows)
        if signal.format in FLAC:
            block = _flac(header, file, rows)[first:last]
        else:
            frame = BYTES[signal.format] * width
            count = math.ceil(round((last - first) * frame, 6))
            path, skip = header.path.with_name(file), signal.offset + int(first * frame)
            raw = np.fromfile(path, np.uint8, count=count, offset=skip)
            if len(raw) < count:
                raise ReadError(f"{header.path}: {file} is cut short; copy it again")
            block = decode(raw, signal.format, width)[: last - first]
        at = 0
        for row in rows:
            each = header.signals[row].per_frame
            part = block[:, at : at + each].reshape(-1)
            if signal.format == "8":
                part = np.cumsum(part) + (header.signals[row].first or 0)
            found[row] = part
            at += each
    return [found[row] for row in range(header.channels)]


def _physical(header: Header, digital: list[Array]) -> Array:
    """Integers -> (C, T) in the header's units; NaN where a sample is marked invalid, or moved out by a skew."""
    common, rows = _per_frame(header), []
    for signal, stored in zip(header.signals, digital):
        row = stored.astype(np.float64)
        if signal.format in INVALID:
            row[stored == INVALID[signal.format]] = np.nan
        if signal.skew:
            late = signal.skew * signal.per_frame
            row = np.concatenate([row[late:], np.full(min(late, len(row)), np.nan)])
        if signal.per_frame != common:
            row = row.reshape(-1, signal.per_frame).mean(1)
        rows.append((row - signal.baseline) / (signal.gain or 1.0))
    return np.stack(rows)


def _verify(header: Header, sums: list[int], firsts: list[int]) -> None:
    """Compare 16-bit sums and first values with the header's; headers whose sums are all 0 or absent say nothing."""
    if not any(signal.checksum for signal in header.signals):
        return
    wrong = [
        signal.name or str(i)
        for i, (signal, total, first) in enumerate(zip(header.signals, sums, firsts))
        if (signal.checksum is not None and (total - signal.checksum) % 65536)
        or (signal.first is not None and signal.format != "8" and first != signal.first)
    ]
    if wrong:
        file = header.signals[0].file
        raise ReadError(
            f"{header.path}: {file} is damaged, or belongs to another header: the checksum or first value differs in "
            f"{', '.join(wrong)}; copy both again, or set ecg.checksum = ignore where the header is known to be wrong"
        )


def _stamp(header: Header) -> tuple[tuple[int, int], ...]:
    stats = [path.stat() for path in (header.path, *(header.path.with_name(f) for f in _by_file(header)))]
    return tuple((s.st_mtime_ns, s.st_size) for s in stats)


@lru_cache(maxsize=1024)
def _survey(path: Path, stamp: tuple[tuple[int, int], ...], verify: bool, rate: float) -> Array:
    """Check a whole record, block by block, and return its extremes (see `recording.extremes`).

    Kept by path and `stamp`, so that many windows of a long record cost one pass.
    """
    header = read_header(path)
    frames = _frames(header)
    span = max(round(SPAN * rate), 1)
    step = max(BLOCK // span, 1) * span  # frames; whole spans, as `extremes` cuts them
    sums, firsts, seen = [0] * header.channels, [0] * header.channels, []
    for first in range(0, frames, step):
        digital = _digital(header, first, min(first + step, frames))
        firsts = [int(d[0]) for d in digital] if first == 0 else firsts
        sums = [total + int(d.astype(np.int64).sum()) for total, d in zip(sums, digital)]
        seen.append(extremes(_physical(header, digital), rate))
    if verify:
        _verify(header, sums, firsts)
    return np.concatenate(seen, axis=1)
