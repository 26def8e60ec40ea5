"""WFDB records: a header (.hea) with .dat files, or with MATLAB v4 .mat files as the CinC challenges have them."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.recording import Array, Recording, finite_or_nan, rows_between
from modalign.modalities.ecg.wfdb_header import Header, SignalLine, read_header
from modalign.modalities.ecg.wfdb_samples import BYTES, INVALID, decode

RARE = ("8", "310", "311", "508", "516", "524")
"""Formats that the `wfdb` package decodes."""


def find_header(path: Path) -> Path | None:
    """The header that a path stands for: itself, the one beside a .dat or .mat, or of a record without suffix."""
    if path.suffix.lower() == ".hea":
        return path
    for candidate in (path.with_suffix(".hea"), path.with_name(path.name + ".hea")):
        if candidate.is_file():
            return candidate
    return None


def read_wfdb(path: Path, fields: EcgFields) -> Recording:
    """Read a record.

    Raises:
        ReadError: header and signals do not fit each other; names the file and the mend.
        MissingExtraError: a rare format needs the `wfdb` package.
    """
    header = read_header(path)
    for signal in header.signals:
        if signal.format not in (*BYTES, *RARE):
            raise ReadError(f"{path}: the sample format {signal.format} is none that WFDB has; mend the header")
    rare = header.segments or any(s.format not in BYTES or s.per_frame != 1 or s.skew for s in header.signals)
    if rare:
        return _by_package(header)
    rate = header.rate or fields.rate
    if rate is None:
        raise ReadError(f"{path}: the header says no rate; set ecg.rate (Hz)")
    total = _samples(header)
    try:
        first, last = rows_between(fields.start, fields.end, rate, total)
    except ValueError as error:
        raise ReadError(f"{path}: {error}") from None
    stored = np.empty((header.channels, last - first))
    for file, rows in _by_file(header).items():
        _fill(stored, header, file, rows, (first, last, total), fields)
    gains = np.array([s.gain or 1.0 for s in header.signals])[:, None]
    bases = np.array([s.baseline for s in header.signals])[:, None]
    return Recording(
        str(path),
        "wfdb",
        (stored - bases) / gains,
        tuple(s.name for s in header.signals),
        tuple(s.unit for s in header.signals),
        tuple(s.gain or 1.0 for s in header.signals),
        header.rate,
        codes=header.codes,
        cut=True,
    )


def _by_file(header: Header) -> dict[str, list[int]]:
    files: dict[str, list[int]] = {}
    for row, signal in enumerate(header.signals):
        files.setdefault(signal.file, []).append(row)
    for file, rows in files.items():
        if len({(header.signals[r].format, header.signals[r].offset) for r in rows}) > 1:
            raise ReadError(f"{header.path}: the channels of {file} have different formats or offsets; mend the header")
    return files


def _size(header: Header, file: str) -> int:
    path = header.path.with_name(file)
    if not path.is_file():
        raise ReadError(f"{header.path}: its signal file {file} is not beside it; copy it there")
    return path.stat().st_size


def _samples(header: Header) -> int:
    """How many samples each channel has; what the header says and what the files hold must agree."""
    counts = {}
    for file, rows in _by_file(header).items():
        signal = header.signals[rows[0]]
        held = (_size(header, file) - signal.offset) / BYTES[signal.format] / len(rows)
        if signal.offset == 24 and file.lower().endswith(".mat"):
            _check_matlab(header, file, len(rows))
        counts[file] = held
        said = header.samples
        if said is not None and math.floor(held + 1e-9) < said:
            raise ReadError(
                f"{header.path}: {file} is cut short, or the header lies: {len(rows)} channels of {said} samples are "
                f"said, and the file holds {max(held, 0):.0f} samples each; copy the file again, or mend the header"
            )
        if said is not None and held >= said + 1:
            raise ReadError(
                f"{header.path}: {file} holds {held:.0f} samples for each of {len(rows)} channels, and the header says "
                f"{said}; mend its length or its number of channels"
            )
        if said is None and abs(held - round(held)) > 1e-9 and signal.format != "212":
            raise ReadError(f"{header.path}: {file} holds no whole number of samples for {len(rows)} channels")
    total = header.samples or min(int(count) for count in counts.values())
    if total < 1:
        raise ReadError(f"{header.path}: has no samples; copy or record it again")
    return total


def _check_matlab(header: Header, file: str, channels: int) -> None:
    """A MATLAB v4 matrix: five integers (type, rows, columns, imaginary, name's length), then the name."""
    raw = header.path.with_name(file).read_bytes()[:24]
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


def _fill(
    stored: Array, header: Header, file: str, rows: list[int], window: tuple[int, int, int], fields: EcgFields
) -> None:
    """Decode one file into the rows of `stored`, NaN where a sample is marked invalid."""
    first, last, total = window
    signal = header.signals[rows[0]]
    frame = BYTES[signal.format] * len(rows)
    whole = signal.format == "212" or (first, last) == (0, total)
    begin, end = (0, total) if whole else (first, last)
    count = math.ceil((end - begin) * frame)
    raw = np.fromfile(header.path.with_name(file), np.uint8, count=count, offset=signal.offset + int(begin * frame))
    if len(raw) < count:
        raise ReadError(f"{header.path}: {file} is cut short; copy it again")
    digital = decode(raw, signal.format, len(rows))[: end - begin]
    if whole and fields.checksum == "verify":
        _verify(digital, [header.signals[r] for r in rows], header, file)
    if whole:
        digital = digital[first:last]
    block = digital.astype(np.float64)
    block[digital == INVALID[signal.format]] = np.nan
    stored[rows] = block.T


def _verify(digital: Array, signals: list[SignalLine], header: Header, file: str) -> None:
    """Compare each channel's 16-bit sum with the header's; headers whose sums are all 0 or absent say nothing."""
    said = [s.checksum for s in signals]
    if not any(said):
        return
    sums = digital.astype(np.int64).sum(0)
    wrong = [
        s.name or str(i)
        for i, s in enumerate(signals)
        if s.checksum is not None and (int(sums[i]) - s.checksum) % 65536
    ]
    if wrong:
        raise ReadError(
            f"{header.path}: {file} is damaged, or belongs to another header: the checksum differs in "
            f"{', '.join(wrong)}; copy both again, or set ecg.checksum = ignore where the header is known to be wrong"
        )


def _by_package(header: Header) -> Recording:
    """Segments, several samples a frame, skew, FLAC and other rare formats: read by the `wfdb` package."""
    try:
        wfdb: Any = import_module("wfdb")
    except ImportError as error:
        raise MissingExtraError(f"{header.path}: this kind of WFDB record", "ecg") from error
    try:
        record = wfdb.rdrecord(str(header.path.with_suffix("")), physical=True)
        values = finite_or_nan(np.asarray(record.p_signal, dtype=np.float64).T)
        gains = tuple(float(g) for g in record.adc_gain) if record.adc_gain else (1.0,) * len(values)
        return Recording(
            str(header.path), "wfdb", values, tuple(str(n or "") for n in record.sig_name),
            tuple(str(u or "") for u in record.units), gains, float(record.fs), codes=header.codes,
        )  # fmt: skip
    except Exception as error:  # the package fails in many ways on a damaged record
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ReadError(f"{header.path}: the record cannot be read ({said}); copy it again") from error
