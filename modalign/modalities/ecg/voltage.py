"""Units to mV, and whether the result can be an ECG."""

from __future__ import annotations

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.recording import Array, Recording

PER_MILLIVOLT = {"mv": 1.0, "uv": 1e3, "µv": 1e3, "μv": 1e3, "v": 1e-3, "nv": 1e6}
"""Unit, in lower case -> how many of it make a mV."""
LARGEST = 20.0
"""mV: a QRS of a body surface ECG stays under 10; single leads with artefacts of 15 stand in PTB-XL."""
SMALLEST = 0.01
"""mV: under this in every lead, volts were taken for mV."""


def in_millivolt(recording: Recording, rows: list[int], fields: EcgFields) -> Array:
    """The chosen rows in mV (C, T).

    Raises:
        ReadError: a unit is not said, is not known, or differs from what the manifest says.
    """
    values = recording.values[rows]
    if fields.gain is not None:
        return np.asarray(values * np.array([recording.per_unit[r] for r in rows])[:, None] / fields.gain)
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
    return np.asarray(values / np.array(factors)[:, None])


def check_plausible(values: Array, rate: float, where: str) -> None:
    """Refuse voltages that no ECG has: (C, T) in mV.

    Raises:
        ReadError: QRS complexes of 20 mV and more, nothing above 0.01 mV, or leads that were each normalised.
    """
    spans = np.ptp(values, axis=1)
    live = spans > 0
    if not live.any() or values.shape[1] < rate:  # flat leads are for the processing; too short to judge
        return
    # Of each second, so that drift and single artefacts do not count.
    second = max(int(rate), 1)
    cut = values[live, : values.shape[1] // second * second].reshape(int(live.sum()), -1, second)
    typical = float(np.median(np.ptp(cut, axis=2)))
    mend = "set ecg.gain (stored numbers per mV)"
    if typical > LARGEST:
        raise ReadError(
            f"{where}: the leads swing by {typical:.3g} mV a second, and a QRS has about 1; the gain or unit "
            f"is wrong: {mend}"
        )
    if float(spans.max()) < SMALLEST:
        raise ReadError(
            f"{where}: no lead swings by more than {spans.max():.2g} mV, and a QRS has about 1; the gain or unit is "
            f"wrong: {mend}"
        )
    if live.sum() >= 2 and float(np.abs(spans[live] - 1).max()) <= 2e-3:
        raise ReadError(
            f"{where}: every lead swings by 1 mV exactly, so each was normalised by itself and voltage is lost; give "
            f"the recording as it was made, or admit it as it is: {mend}, for example 1"
        )
