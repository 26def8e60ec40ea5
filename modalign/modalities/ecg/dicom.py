"""DICOM waveforms: the 12-lead ECG, general ECG and ambulatory ECG objects. No patient's tag is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.leads import STANDARD, lead_name
from modalign.modalities.ecg.recording import Recording

_DTYPES = {(8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "<i2", (16, "US"): "<u2", (32, "SL"): "<i4", (32, "UL"): "<u4"}

_CODES = dict(zip(("1", "2", "61", "62", "63", "64", "3", "4", "5", "6", "7", "8"), STANDARD))
"""The last number of a lead's code, the same in MDC and SCP-ECG (DICOM CID 3001)."""


def read_dicom(path: Path, fields: EcgFields) -> Recording:
    """Read one waveform: the original recording, not the median beats derived from it.

    Raises:
        ReadError: it is no DICOM file, has no waveform, or several recordings.
        MissingExtraError: pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise MissingExtraError("reading DICOM waveforms", "ecg") from error
    try:
        dataset = pydicom.dcmread(path)
        groups = list(dataset.get("WaveformSequence") or [])
    except Exception as error:  # pydicom fails in many ways on a damaged file
        raise ReadError(f"{path}: is not a readable DICOM file ({_short(error)}); export it again") from error
    if not groups:
        raise ReadError(f"{path}: is a DICOM file without waveforms; give the file that holds the ECG")
    try:
        return _recording(_choose(groups, fields.group, path), path)
    except ReadError:
        raise
    except Exception as error:  # absent or ill-formed elements
        raise ReadError(f"{path}: its waveform is damaged ({_short(error)}); export it again") from error


def _choose(groups: list[Any], wanted: int | None, path: Path) -> Any:
    if wanted is not None:
        if wanted >= len(groups):
            raise ReadError(f"{path}: ecg.group is {wanted}, and the file has {len(groups)} waveforms, from 0")
        return groups[wanted]
    original = [g for g in groups if str(g.get("WaveformOriginality", "ORIGINAL")).upper() != "DERIVED"]
    if len(original) == 1:
        return original[0]
    said = ", ".join(
        f"{i}: {g.get('WaveformOriginality', '?')} {g.get('MultiplexGroupLabel') or ''} of "
        f"{g.get('NumberOfWaveformChannels', '?')} channels, {g.get('NumberOfWaveformSamples', '?')} samples"
        for i, g in enumerate(groups)
    )
    raise ReadError(f"{path}: has {len(original)} original recordings ({said}); choose one with ecg.group")


def _recording(group: Any, path: Path) -> Recording:
    channels, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    kind = (int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation))
    if kind not in _DTYPES:
        raise ReadError(
            f"{path}: samples of the kind {kind[1]} with {kind[0]} bits cannot be read; export linear integers"
        )
    definitions = list(group.ChannelDefinitionSequence)
    data = bytes(group.WaveformData)
    needed = channels * samples * kind[0] // 8
    # A value of odd length has one byte of padding.
    if len(definitions) != channels or not 0 <= len(data) - needed <= 1 or needed == 0:
        raise ReadError(
            f"{path}: says {channels} channels of {samples} samples ({needed} bytes), and holds {len(definitions)} "
            f"channel definitions and {len(data)} bytes; export it again"
        )
    stored = np.frombuffer(data[:needed], dtype=_DTYPES[kind]).reshape(samples, channels).T.astype(np.float64)
    padding = group.get("WaveformPaddingValue")
    if padding is not None:
        marked = (
            int.from_bytes(padding, "little", signed=kind[1][0] == "S") if isinstance(padding, bytes) else int(padding)
        )
        stored[stored == marked] = np.nan
    names, units, per_unit = [], [], []
    for row, channel in enumerate(definitions):
        source = channel.ChannelSourceSequence[0] if channel.get("ChannelSourceSequence") else None
        meaning = str(source.get("CodeMeaning", "")) if source is not None else str(channel.get("ChannelLabel", ""))
        meaning = _lead(source, meaning, path)
        names.append(meaning)
        if channel.get("ChannelSensitivity") is None or not channel.get("ChannelSensitivityUnitsSequence"):
            units.append("")
            per_unit.append(1.0)
            continue
        factor = float(channel.ChannelSensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor") or 1)
        if not np.isfinite(factor) or factor == 0:
            raise ReadError(
                f"{path}: the sensitivity of {meaning or row} is {factor}; set ecg.gain (stored numbers per mV)"
            )
        stored[row] = stored[row] * factor + float(channel.get("ChannelBaseline") or 0)
        units.append(str(channel.ChannelSensitivityUnitsSequence[0].CodeValue))
        per_unit.append(1 / factor)
    rate = float(group.SamplingFrequency)
    if not 0 < rate < 1e6:
        raise ReadError(f"{path}: says a rate of {rate} Hz; export it again")
    skews = [float(c.get("ChannelTimeSkew") or 0) * rate + float(c.get("ChannelSampleSkew") or 0) for c in definitions]
    if max(skews) - min(skews) > 0.5:  # samples; converters that take one channel after another are within that
        raise ReadError(
            f"{path}: its channels are up to {(max(skews) - min(skews)) / rate:g} s apart (ChannelTimeSkew), and leads "
            "must be of one time; export them so"
        )
    return Recording(str(path), "dicom", stored, tuple(names), tuple(units), tuple(per_unit), rate)


def _lead(source: Any, meaning: str, path: Path) -> str:
    """The lead that a code says (MDC's 2:61, SCP-ECG's 5.6.3-9-61), else its meaning, which may be in any language.

    Raises:
        ReadError: the two name different leads.
    """
    if source is None or str(source.get("CodingSchemeDesignator", "")).strip() not in ("MDC", "SCPECG"):
        return meaning
    code = str(source.get("CodeValue", "")).replace(":", "-").rpartition("-")[2]
    coded, said = _CODES.get(code), lead_name(meaning)
    if coded and said and coded != said:
        raise ReadError(f"{path}: a channel's code says lead {coded} and its meaning {meaning!r}; export it again")
    return coded or meaning


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
