"""Units to mV, and whether the result can be an ECG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.leads import FLAT
from modalign.modalities.ecg.recording import Array, Recording

PER_MILLIVOLT = {"mv": 1.0, "uv": 1e3, "µv": 1e3, "μv": 1e3, "v": 1e-3, "nv": 1e6}
"""Unit, in lower case -> how many of it make a mV."""
LARGEST = 20.0
"""mV: a QRS of a body surface ECG stays under 10. Of 7,200 leads of PTB-XL and CinC 2021 the largest typical swing is
12 (a loose electrode), the largest single one 15."""
SMALLEST = 0.01
"""mV: under this volts were taken for mV. The smallest lead that moves in those 7,200 swings by 0.067."""
NORMALISED = (1.0, 2.0)
"""mV: what every lead swings by when each was brought to [0, 1] or [-1, 1] by itself."""


def in_millivolt(recording: Recording, rows: list[int], fields: EcgFields, values: Array | None = None) -> Array:
    """The chosen rows in mV (C, T), of the recording or of other values in its units.

    Raises:
        ReadError: a unit is not said, is not known, or differs from what the manifest says.
    """
    values = recording.values[rows] if values is None else values[rows]
    column = (-1, *[1] * (values.ndim - 1))
    if fields.gain is not None:
        return np.asarray(values * np.array([recording.per_unit[r] for r in rows]).reshape(column) / fields.gain)
    factors = []
    for row in rows:
        said = recording.units[row].strip()
        name = recording.names[row] or f"channel {row + 1}"
        unit = said or (fields.unit or "")
        if not unit:
            mend = (
                "ecg.gain (stored numbers per mV)" if recording.kind in ("wfdb", "dicom") else "ecg.unit (mV, uV or V)"
            )
            raise ReadError(f"{recording.where}: the unit of {name} is not said; set {mend}")
        if unit.lower() not in PER_MILLIVOLT:
            raise ReadError(
                f"{recording.where}: the unit of {name} is {unit!r}, which is no voltage (mV, uV, V); skip the channel "
                "in ecg.leads, or set ecg.gain (stored numbers per mV)"
            )
        if said and fields.unit and PER_MILLIVOLT[said.lower()] != PER_MILLIVOLT[fields.unit.lower()]:
            raise ReadError(
                f"{recording.where}: the file says {said} and ecg.unit says {fields.unit}; mend one of them"
            )
        factors.append(PER_MILLIVOLT[unit.lower()])
    return np.asarray(values / np.array(factors).reshape(column))


def check_plausible(seen: Array, names: Sequence[str], seconds: float, where: str) -> None:
    """Refuse voltages that no ECG has, lead by lead over the whole recording.

    Args:
        seen: (C, S, 2) in mV: lows and highs of spans of two seconds, see `recording.extremes`.
        names: of the C leads.
        seconds: what a span lasts; one under a second may lie between two beats, and is not called too small.
        where: how errors name the source.

    Raises:
        ReadError: a lead whose QRS has 20 mV and more, one that moves by less than 0.01 mV, or leads that were each
            normalised. Flat leads are for the processing.
    """
    swings = seen[..., 1] - seen[..., 0]
    spans = np.fmax.reduce(seen[..., 1], axis=1) - np.fmin.reduce(seen[..., 0], axis=1)
    mend = "set ecg.gain (stored numbers per mV)"
    live = np.nan_to_num(spans) > FLAT
    for name, own in zip(np.array(names)[live], swings[live]):
        own = own[np.isfinite(own)]
        # The typical span of two seconds, so that drift and single artefacts do not count.
        typical, largest = float(np.median(own)), float(own.max())
        if typical > LARGEST:
            raise ReadError(
                f"{where}: the leads swing by {typical:.3g} mV in {name}, and a QRS has about 1; the gain or unit is "
                f"wrong: {mend}, or skip the lead in ecg.leads"
            )
        if largest < SMALLEST and seconds >= 1:
            raise ReadError(
                f"{where}: {name} swings by no more than {largest:.2g} mV, and a QRS has about 1; the gain or unit is "
                f"wrong: {mend}, or skip the lead in ecg.leads"
            )
    for size in NORMALISED:
        if live.sum() >= 2 and float(np.abs(spans[live] / size - 1).max()) <= 2e-3:
            raise ReadError(
                f"{where}: every lead swings by {size:g} mV exactly, so each was normalised by itself and voltage is "
                f"lost; give the recording as it was made, or admit it as it is: {mend}, for example 1"
            )
