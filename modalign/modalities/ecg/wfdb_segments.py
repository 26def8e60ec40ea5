"""WFDB records in segments: each is a record of its own, read with all its checks, and put one after another."""

from __future__ import annotations

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.recording import Array, Recording
from modalign.modalities.ecg.wfdb_header import Header, SignalLine, read_header


def read_segments(header: Header, fields: EcgFields) -> Recording:
    """Read all segments of a record; where its first has length 0 (a layout), the others hold some of its channels.

    Samples of channels that a segment lacks, and of the segment `~`, are NaN.

    Raises:
        ReadError: segments differ in channels, units or rate, or their lengths are not those that are said.
    """
    from modalign.modalities.ecg.wfdb_files import read_wfdb

    path, parts = header.path, header.parts
    said = sum(length for _, length in parts)
    if header.samples is not None and header.samples != said:
        raise ReadError(f"{path}: says {header.samples} samples, and its segments have {said}; mend the header")
    heads = {name: _segment_header(header, name) for name, _ in parts if name != "~"}
    if not heads:
        raise ReadError(f"{path}: has no segment with signals; give a record that has")
    layout = parts[0][1] == 0
    lines = next(iter(heads.values())).signals
    names, units = tuple(s.name for s in lines), tuple(s.unit for s in lines)
    if len(names) != header.channels or (layout and len(set(names)) != len(names)):
        raise ReadError(f"{path}: says {header.channels} channels, and its segments have {', '.join(names)}; mend it")
    plain = fields.model_copy(update={"start": None, "end": None})
    blocks: list[Array] = []
    rates, gains = {header.rate} - {None}, np.zeros(len(names))
    for name, length in parts:
        block = np.full((len(names), length), np.nan)
        if name != "~" and length:
            rows = _rows(header, name, heads[name].signals, names, units, layout)
            record = read_wfdb(heads[name].path, plain)
            if record.values.shape[1] != length:
                raise ReadError(
                    f"{path}: segment {name} has {record.values.shape[1]} samples, not {length}; mend the header"
                )
            rates |= {record.rate} - {None}
            block[rows] = record.values
            own = np.array(record.per_unit)
            if fields.gain is not None and (gains[rows][gains[rows] > 0] != own[gains[rows] > 0]).any():
                raise ReadError(f"{path}: segments have different gains, so one ecg.gain cannot hold for all")
            gains[rows] = own
        blocks.append(block)
    if len(rates) > 1:
        raise ReadError(
            f"{path}: its segments have rates of {sorted(rate or 0 for rate in rates)} Hz; give one of them alone"
        )
    rate = rates.pop() if rates else None
    per_unit = tuple(float(g) or 1.0 for g in gains)
    return Recording(
        str(path), "wfdb", np.concatenate(blocks, axis=1), names, units, per_unit, rate, codes=header.codes
    )


def _segment_header(header: Header, name: str) -> Header:
    path = header.path.with_name(f"{name}.hea")
    if not path.is_file():
        raise ReadError(f"{header.path}: its segment {name} is not beside it; copy it there")
    segment = read_header(path, layout=True)
    if segment.parts:
        raise ReadError(f"{header.path}: its segment {name} has segments itself, which WFDB does not allow; mend it")
    return segment


def _rows(
    header: Header, name: str, signals: tuple[SignalLine, ...], names: tuple[str, ...], units: tuple[str, ...],
    layout: bool,
) -> list[int]:  # fmt: skip
    own = tuple(s.name for s in signals)
    if (own != names) if not layout else not set(own) <= set(names) or len(set(own)) < len(own):
        raise ReadError(
            f"{header.path}: segment {name} has the channels {', '.join(own)}, and the record {', '.join(names)}; "
            "read it by itself"
        )
    rows = [names.index(n) for n in own] if layout else list(range(len(names)))
    for row, signal in zip(rows, signals):
        if signal.unit != units[row]:
            raise ReadError(
                f"{header.path}: segment {name} has {signal.name} in {signal.unit or 'no unit'}, and the "
                f"record in {units[row] or 'none'}; mend its header"
            )
    return rows
