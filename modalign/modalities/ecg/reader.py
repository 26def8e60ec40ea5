"""Source -> Signal in mV, leads by name and in the standard order. Each format is a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from modalign.errors import ReadError, suggest
from modalign.modalities.base import Signal
from modalign.modalities.ecg import tables, voltage
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.leads import STANDARD, derive_limb, in_order, lead_name, nameless
from modalign.modalities.ecg.matlab import open_matlab
from modalign.modalities.ecg.recording import SPAN, Array, Recording, extremes, rows_between
from modalign.modalities.messages import describe_source
from modalign.modalities.tables import open_npy, open_parquet

RATES = (25.0, 50_000.0)
"""Hz: below, a QRS of 0.1 s has hardly a sample; above, no ECG is recorded (high-resolution ones: 1 to 10 kHz)."""
SUFFIXES = (".hea", ".dat", ".mat", ".dcm", ".csv", ".csv.gz", ".tsv", ".parquet", ".npy")


def read_ecg(source: Any, fields: EcgFields) -> Signal:
    """Read a recording, or a window of it.

    Args:
        source: a Path (WFDB .hea, .dat or .mat; DICOM; CSV, TSV, Parquet, NPY), an array or tensor, or a DataFrame.
        fields: what the source cannot say of itself.

    Returns:
        Signal of data (C, T) in mV, channels I, II, III, aVR, aVL, aVF, V1-V6 as far as they are there, then others;
        rate in Hz; meta `format`, `codes` (of the header), and `left_out` (leads that were invalid for the most part).

    Raises:
        ReadError: anything that is missing, ambiguous or implausible; names the source and the mend.

    Example:
        >>> array = np.sin(np.arange(500) / 10)[None]
        >>> signal = read_ecg(array, EcgFields(leads="ii", rate=250, unit="mV"))
        >>> signal.channels, tuple(signal.data.shape)
        (('II',), (1, 500))
    """
    recording = open_recording(source, fields)
    where = recording.where
    rate = _rate(recording, fields)
    rows, names = choose_leads(recording, fields)
    values = voltage.in_millivolt(recording, rows, fields)
    if fields.gain is None:
        # Of the whole recording: what a window shows of it may look like an ECG by chance.
        seen = extremes(recording.values, rate) if recording.extremes is None else recording.extremes
        seconds = min(SPAN, recording.values.shape[1] / rate) if recording.extremes is None else SPAN
        voltage.check_plausible(voltage.in_millivolt(recording, rows, fields, seen), names, seconds, where)
    if recording.extremes is None:
        values = _window(values, rate, recording, fields)
    values, names, left_out = _invalid(values, names, fields, where)
    order = in_order(names)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and `load` refuses it
        data = torch.from_numpy(np.ascontiguousarray(values[order], dtype=np.float32))
    channels = tuple(names[i] for i in order)
    if fields.derive:
        data, channels = derive_limb(data, channels, rate)
    meta = {"format": recording.kind, "codes": recording.codes, "left_out": left_out}
    return Signal(data, rate, channels, meta)


def open_recording(source: Any, fields: EcgFields) -> Recording:
    """Open a path, an array or a DataFrame as its format says.

    Raises:
        ReadError: the kind of file is not known, or it cannot be read.
    """
    where = describe_source(source)
    if isinstance(source, pd.DataFrame):
        return tables.read_frame(source, where, fields)
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return tables.read_array(source, where, fields)
    if not isinstance(source, Path):
        raise ReadError(f"{where}: give a path, a numpy or torch array, or a DataFrame, not {type(source).__name__}")
    return _open_path(source, fields)


def _open_path(path: Path, fields: EcgFields) -> Recording:
    from modalign.modalities.ecg.dicom import read_dicom
    from modalign.modalities.ecg.wfdb_files import find_header, read_wfdb

    if path.is_dir():
        raise ReadError(f"{path}: is a folder; give one file ({', '.join(SUFFIXES)})")
    name = path.name.lower()
    if name.endswith((".dcm", ".dicom")):
        return read_dicom(path, fields)
    if name.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz")):
        return tables.read_csv(path, fields)
    if name.endswith((".parquet", ".pq")):
        return tables.read_frame(open_parquet(path), str(path), fields)
    if name.endswith(".npy"):
        return tables.read_array(open_npy(path), str(path), fields)
    header = find_header(path) if name.endswith((".hea", ".dat", ".mat")) or not path.suffix else None
    if header is not None:
        return read_wfdb(header, fields)
    if name.endswith(".mat"):
        return tables.read_array(open_matlab(path), str(path), fields)
    if name.endswith(".dat"):
        raise ReadError(f"{path}: its header {path.stem}.hea is not beside it; copy it there")
    with path.open("rb") as file:
        if file.read(132)[128:] == b"DICM":
            return read_dicom(path, fields)
    raise ReadError(
        f"{path}: files of the kind {path.suffix!r} cannot be read; convert it to one of {', '.join(SUFFIXES)}"
    )


def _rate(recording: Recording, fields: EcgFields) -> float:
    if recording.rate is None and fields.rate is None:
        raise ReadError(f"{recording.where}: the rate is not known; set ecg.rate (Hz)")
    if recording.rate and fields.rate and abs(recording.rate / fields.rate - 1) > 1e-3:
        raise ReadError(
            f"{recording.where}: the file says {recording.rate:g} Hz and ecg.rate says {fields.rate:g}; mend one"
        )
    rate = float(recording.rate or fields.rate or 0)
    if not RATES[0] <= rate <= RATES[1]:
        raise ReadError(
            f"{recording.where}: a rate of {rate:g} Hz is none of an ECG ({RATES[0]:g} to {RATES[1]:,.0f}); mend "
            f"{'the file' if recording.rate else 'ecg.rate (Hz)'}"
        )
    return rate


def choose_leads(recording: Recording, fields: EcgFields) -> tuple[list[int], list[str]]:
    """Rows of the recording, and the lead that each is.

    Raises:
        ReadError: a channel has no name that says a lead, a lead stands twice, or ecg.leads does not fit the file.
    """
    own, where = recording.names, recording.where
    if isinstance(fields.leads, Mapping):
        rows = []
        for source in fields.leads.values():
            if own.count(source) != 1:
                known = suggest(source, [n for n in own if n])
                raise ReadError(f"{where}: ecg.leads: {own.count(source)} channels are called {source!r}: {known}")
            rows.append(own.index(source))
        return rows, list(fields.leads)
    if fields.leads is not None:
        if len(fields.leads) != len(own):
            raise ReadError(
                f"{where}: ecg.leads names {len(fields.leads)} leads and the file has {len(own)} channels; name each "
                "in order, '-' for one to skip, or write lead=channel"
            )
        _refuse_contradiction(fields.leads, own, where)
        pairs = [(i, name) for i, name in enumerate(fields.leads) if name != "-"]
        if not pairs:
            raise ReadError(f"{where}: ecg.leads skips every channel; name one at least")
        return [i for i, _ in pairs], [name for _, name in pairs]
    names = [lead_name(name) for name in own]
    unknown = [(i, own[i]) for i, name in enumerate(names) if name is None]
    if unknown:
        i, name = unknown[0]
        what = "has no name that says a lead" if nameless(name) else "is no lead that is known"
        raise ReadError(
            f"{where}: channel {i + 1} ({name!r}) {what}; name the {len(own)} channels in order with ecg.leads = "
            f"'{', '.join(n or '-' for n in names)}' ('-' skips one); known: {', '.join(STANDARD)}"
        )
    found = [name for name in names if name is not None]
    doubled = next((name for name in found if found.count(name) > 1), None)
    if doubled is not None:
        raise ReadError(
            f"{where}: {found.count(doubled)} channels are lead {doubled}; say which with ecg.leads ('-' skips)"
        )
    return list(range(len(own))), found


def _refuse_contradiction(given: tuple[str, ...], own: tuple[str, ...], where: str) -> None:
    known = [lead_name(name) for name in own]
    for lead, name in zip(given, known):
        if name is not None and lead not in ("-", name) and lead in known:
            raise ReadError(
                f"{where}: ecg.leads puts {lead} where the file has {name}, and the file has {lead} elsewhere; write "
                f"{lead}={own[known.index(lead)]} and so on to go by the file's names"
            )


def _window(values: Array, rate: float, recording: Recording, fields: EcgFields) -> Array:
    try:
        first, last = rows_between(fields.start, fields.end, rate, values.shape[1])
    except ValueError as error:
        raise ReadError(f"{recording.where}: {error}") from None
    return values[:, first:last]


def _invalid(
    values: Array, names: list[str], fields: EcgFields, where: str
) -> tuple[Array, list[str], tuple[str, ...]]:
    """Refuse or interpolate invalid samples; leads that are invalid for the most part are left out."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return values, names, ()
    share = bad.mean(1)
    if fields.nan == "refuse":
        said = ", ".join(f"{name} {part:.1%}" for name, part in zip(names, share) if part)
        raise ReadError(
            f"{where}: {int(bad.sum())} samples are NaN, infinite or marked invalid ({said}); set ecg.nan = "
            "interpolate, skip the lead in ecg.leads, or cut them with ecg.start and ecg.end"
        )
    keep = [i for i, part in enumerate(share) if part <= 0.5]
    if not keep:
        raise ReadError(f"{where}: every lead is NaN or invalid for the most part; record it again")
    values, at = values.copy(), np.arange(values.shape[1])
    for i in keep:
        if share[i]:
            values[i, bad[i]] = np.interp(at[bad[i]], at[~bad[i]], values[i, ~bad[i]])
    return values[keep], [names[i] for i in keep], tuple(n for i, n in enumerate(names) if i not in keep)
