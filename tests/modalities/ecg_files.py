"""Small ECG files of every kind, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def ecg(seconds: float = 4.0, rate: float = 100.0, bpm: float = 60.0, seed: int = 0) -> np.ndarray:
    """(12, T) in mV: Gaussian waves, limb leads that follow from I and II."""
    t = np.arange(round(seconds * rate)) / rate
    phase = (t * bpm / 60) % 1.0
    waves = [(0.2, 0.025, 0.12), (0.37, 0.01, -0.1), (0.4, 0.012, 1.0), (0.43, 0.012, -0.25), (0.65, 0.05, 0.25)]
    beat = sum(size * np.exp(-((phase - at) ** 2) / (2 * width**2)) for at, width, size in waves)
    rng = np.random.default_rng(seed)
    sizes = {"I": 0.6, "II": 1.0, **{f"V{k}": 0.4 + 0.2 * k for k in range(1, 7)}}
    rows = {name: size * beat + 0.01 * rng.normal(size=len(t)) for name, size in sizes.items()}
    one, two = rows["I"], rows["II"]
    rows |= {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    return np.stack([rows[name] for name in LEADS])


def write_wfdb(
    folder: Path,
    name: str = "r",
    values: np.ndarray | None = None,
    *,
    leads: tuple[str, ...] = LEADS,
    rate: float | str = 100,
    gain: float = 1000.0,
    unit: str = "mV",
    kind: str = "dat",
    comments: tuple[str, ...] = (),
    **changes: Any,
) -> Path:
    """Write a format-16 record; `changes`: `samples`, `channels` (what the header says), `checksum`, `record`."""
    values = ecg() if values is None else values
    stored = np.clip(np.where(np.isfinite(values), np.round(values * gain), -32768), -32768, 32767).astype("<i2")
    channels, samples = stored.shape
    file = f"{name}.{kind}"
    body = stored.T.tobytes()
    if kind == "mat":
        body = np.array([30, channels, samples, 0, 4], dtype="<i4").tobytes() + b"val\0" + body
    (folder / file).write_bytes(body)
    form = "16+24" if kind == "mat" else "16"
    head = [
        changes.get(
            "record", f"{name} {changes.get('channels', channels)} {rate} {changes.get('samples', samples)}".rstrip()
        )
    ]
    for row, lead in enumerate(leads):
        total = int(stored[row].astype(np.int64).sum()) % 65536
        total = changes.get("checksum", total if total < 32768 else total - 65536)
        head.append(f"{file} {form} {gain:g}/{unit} 16 0 {stored[row, 0]} {total} 0 {lead}")
    path = folder / f"{name}.hea"
    path.write_text("\n".join([*head, *(f"#{c}" for c in comments)]) + "\n")
    return path


def write_dicom(path: Path, **changes: Any) -> Path:
    """A DICOM ECG of three leads; `changes` replace `unit`, `sensitivity`, `samples`, `groups`, `names`, `data`."""
    import pydicom
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    names = changes.get("names", ("Lead II", "Lead I (Einthoven)", "Lead V1"))
    values = ecg(rate=250)[[1, 0, 6]][: len(names)]
    stored = np.round(values * 400).astype("<i2")
    group = Dataset()
    group.WaveformOriginality, group.MultiplexGroupLabel = "ORIGINAL", "RHYTHM"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = len(names), changes.get("samples", stored.shape[1])
    group.SamplingFrequency, group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 250, 16, "SS"
    definitions = []
    for name in names:
        channel, source, unit = Dataset(), Dataset(), Dataset()
        source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = "x", "99", name
        channel.ChannelSourceSequence = [source]
        if changes.get("unit", "uV"):
            channel.ChannelSensitivity = changes.get("sensitivity", "2.5")
            channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = "1", "0"
            unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = changes.get("unit", "uV"), "UCUM", "unit"
            channel.ChannelSensitivityUnitsSequence = [unit]
        channel.WaveformBitsStored = 16
        definitions.append(channel)
    group.ChannelDefinitionSequence = definitions
    group.WaveformData = changes.get("data", stored.T.tobytes())
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "secret-17"
    if changes.get("groups", 1):
        dataset.WaveformSequence = [group] * changes.get("groups", 1)
    pydicom.dcmwrite(path, dataset)
    return path
