"""WFDB headers (.hea), read strictly where the signal depends on it and leniently elsewhere.

Own code, since the `wfdb` package refuses headers that stand in the CinC challenges (a record called `E00001.mat`, a
date `05-May-2020`) and fills in what a header does not say (200 units per mV, 250 Hz). Grammar: WFDB header(5).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from modalign.errors import ReadError

_SIGNAL = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_GAIN = re.compile(r"([-+]?[\d.]+(?:e[-+]?\d+)?)?(?:\((-?\d+)\))?(?:/(\S+))?", re.IGNORECASE)
_CODES = re.compile(r"#\s*dx\s*:(.*)", re.IGNORECASE)


@dataclass(frozen=True)
class SignalLine:
    """One channel of a header: where its samples are, and how they become physical."""

    file: str
    format: str
    per_frame: int
    skew: int
    offset: int
    gain: float | None
    baseline: int
    unit: str
    first: int | None
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """A record: `samples` is None where the header does not say; `parts` are the names and lengths of its segments."""

    path: Path
    parts: tuple[tuple[str, int], ...]
    channels: int
    rate: float | None
    samples: int | None
    signals: tuple[SignalLine, ...]
    comments: tuple[str, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes in `#Dx: 426783006,164934002`, each once."""
        found = [match[1] for line in self.comments if (match := _CODES.fullmatch(line.strip()))]
        parts = [part.strip() for text in found for part in text.split(",")]
        return tuple(dict.fromkeys(part for part in parts if part and part.lower() not in {"unknown", "nan"}))


def read_header(path: Path, layout: bool = False) -> Header:
    """Read and check a header; one that only lists channels (the `layout` of segments) may name no signal file: `~`.

    Raises:
        ReadError: names the file, the line and the mend.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise ReadError(f"{path}: is not a WFDB header (not text); copy it again") from None
    if "\x00" in text:
        raise ReadError(f"{path}: is not a WFDB header (it holds binary data); copy it again")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    comments = tuple(line for line in lines if line.startswith("#"))
    body = [line for line in lines if not line.startswith("#")]
    if not body:
        raise ReadError(f"{path}: is not a WFDB header: it has no record line; copy it again")
    segments, channels, rate, samples = _record_line(body[0], path)
    if segments:
        return Header(path, _parts(body[1:], segments, path), channels, rate, samples, (), comments)
    if len(body) - 1 != channels:
        raise ReadError(
            f"{path}: the first line says {channels} channels and {len(body) - 1} signal lines follow; mend the header"
        )
    signals = tuple(_signal_line(line, path, layout) for line in body[1:])
    return Header(path, (), channels, rate, samples, signals, comments)


def _parts(lines: list[str], count: int, path: Path) -> tuple[tuple[str, int], ...]:
    cells = [line.split() for line in lines]
    if len(cells) != count or any(len(c) != 2 or not c[1].isdigit() for c in cells):
        raise ReadError(f"{path}: says {count} segments, and {len(cells)} lines of name and length follow; mend it")
    for name, _ in cells:
        _in_folder(name, path, "segment")
    return tuple((name, int(length)) for name, length in cells)


def _in_folder(name: str, path: Path, what: str) -> None:
    if "/" in name or "\\" in name or name.startswith(".."):
        raise ReadError(f"{path}: the {what} {name!r} is not in the header's own folder; put it beside the header")


def _record_line(line: str, path: Path) -> tuple[int, int, float | None, int | None]:
    parts = line.split()
    bad = ReadError(
        f"{path}: is not a WFDB header: its first line {line[:60]!r} should be: name, number of signals, rate, samples"
    )
    if len(parts) < 2 or not parts[1].isdigit():
        raise bad
    _, slash, segments = parts[0].partition("/")
    if slash and not segments.isdigit():
        raise bad
    channels = int(parts[1])
    if channels == 0:
        raise ReadError(f"{path}: the header says 0 signals; give the record that holds the signals")
    rate = samples = None
    if len(parts) > 2:
        try:
            rate = float(re.split(r"[/(]", parts[2])[0])
        except ValueError:
            raise bad from None
        if not 0 < rate < 1e6:
            raise ReadError(f"{path}: the header's rate is {parts[2]} Hz; mend the header")
    if len(parts) > 3:
        if not parts[3].isdigit():
            raise bad
        samples = int(parts[3]) or None
    return int(segments or 0), channels, rate, samples


def _signal_line(line: str, path: Path, layout: bool) -> SignalLine:
    parts = line.split(maxsplit=8)
    bad = ReadError(
        f"{path}: the signal line {line[:80]!r} is not of the form: file, format, gain, ...; mend the header"
    )
    if len(parts) < 2:
        raise bad
    kind = _SIGNAL.fullmatch(parts[1])
    gain = _GAIN.fullmatch(parts[2]) if len(parts) > 2 else None
    if kind is None or (len(parts) > 2 and gain is None):
        raise bad
    name = parts[0]
    _in_folder(name, path, "signal file")
    if name == "~" and not layout:
        raise ReadError(f"{path}: the signal file '~' is none; give the record that holds the signals")
    try:
        numbers = [int(part) for part in parts[3:8]]
        factor = float(gain[1]) if gain is not None and gain[1] else None
    except ValueError:
        raise bad from None
    if factor is not None and not math.isfinite(factor):
        raise ReadError(f"{path}: the gain {parts[2]!r} is not finite; mend the header, or set its true gain")
    if int(kind[2] or 1) < 1:
        raise bad
    zero = numbers[1] if len(numbers) > 1 else 0
    return SignalLine(
        file=name,
        format=kind[1],
        per_frame=int(kind[2] or 1),
        skew=int(kind[3] or 0),
        offset=int(kind[4] or 0),
        gain=factor or None,  # 0 means: not calibrated
        baseline=int(gain[2]) if gain is not None and gain[2] else zero,
        # header(5): where a gain has no unit, it is per mV.
        unit=(gain[3] or "mV") if gain is not None and factor else "",
        first=numbers[2] if len(numbers) > 2 else None,
        checksum=numbers[3] if len(numbers) > 3 else None,
        name=parts[8] if len(parts) > 8 else "",
    )
