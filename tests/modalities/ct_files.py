"""Small CT files of every kind, for tests: a phantom given as a function of mm, written in the real formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SIZE = (14, 12)
"""Columns and rows."""
SPACING = (1.5, 1.0)
"""Between rows and between columns, mm: as PixelSpacing has them."""
STEP = 2.0
COUNT = 9


def ramp(lps: np.ndarray) -> np.ndarray:
    """HU at points (..., 3): linear in mm and different along each direction, so that any flip or shift shows."""
    x, y, z = lps[..., 0], lps[..., 1], lps[..., 2]
    return -200 + 7 * x - 4 * y + 11 * z


def blob(lps: np.ndarray) -> np.ndarray:
    """A smooth ball of tissue in air."""
    return -1000 + 1100 * np.exp(-((lps - np.array([6.0, 8.0, 8.0])) ** 2).sum(-1) / (2 * 5.0**2))


def tilted(degrees: float) -> tuple[float, ...]:
    """Columns leaning back, as under a gantry tilt."""
    angle = np.deg2rad(degrees)
    return (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle)))


def places(count: int = COUNT, step: Sequence[float] = (0.0, 0.0, STEP)) -> np.ndarray:
    """Positions of slices in a straight line."""
    return np.array([5.0, -3.0, 10.0]) + np.arange(count)[:, None] * np.array(step)


def scan(
    function: Callable[[np.ndarray], np.ndarray], positions: np.ndarray, orientation: Sequence[float] = AXIAL
) -> np.ndarray:
    """What a scanner would see: (columns, rows, slices)."""
    along, down = np.array(orientation[:3]), np.array(orientation[3:])
    i, j = np.meshgrid(np.arange(SIZE[0]) * SPACING[1], np.arange(SIZE[1]) * SPACING[0], indexing="ij")
    plane = i[..., None] * along + j[..., None] * down
    return np.stack([function(plane + position) for position in positions], -1)


def write_series(
    folder: Path,
    positions: np.ndarray | None = None,
    orientation: Sequence[float] = AXIAL,
    function: Callable[[np.ndarray], np.ndarray] = ramp,
    change: Callable[[int, Any], None] | None = None,
    names: Sequence[str] | None = None,
    series: str = "1.2.3.77",
    slope: float = 0.1,
) -> Path:
    """A folder of slices; `change(number, dataset)` may alter each before it is written."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    positions = places() if positions is None else positions
    values = scan(function, positions, orientation)
    for k, position in enumerate(positions):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, f"{series}.{k + 1}"
        path = folder / (names[k] if names else f"{k:03d}.dcm")
        one = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, f"{series}.{k + 1}"
        one.PatientName, one.PatientID, one.PatientBirthDate = "Doe^Jane", "secret-17", "19600101"
        one.Modality, one.SeriesInstanceUID, one.SeriesNumber = "CT", series, series.rsplit(".", 1)[-1]
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.InstanceNumber, one.SliceThickness = k + 1, STEP
        one.ImagePositionPatient = [float(f"{v:.6f}") for v in position]
        one.ImageOrientationPatient = [float(f"{v:.6f}") for v in orientation]
        one.PixelSpacing = list(SPACING)
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = SIZE[1], SIZE[0], 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = slope, -1000, "HU"
        one.PixelData = np.round((values[..., k].T + 1000) / slope).astype("<i2").tobytes()
        if change is not None:
            change(k, one)
        one.save_as(path)
    return folder


def affine_ras(positions: np.ndarray | None = None, orientation: Sequence[float] = AXIAL) -> np.ndarray:
    """The affine of (columns, rows, slices), written out by hand."""
    positions = places() if positions is None else positions
    affine = np.eye(4)
    affine[:3, 0] = np.array(orientation[:3]) * SPACING[1]
    affine[:3, 1] = np.array(orientation[3:]) * SPACING[0]
    affine[:3, 2] = positions[1] - positions[0]
    affine[:3, 3] = positions[0]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def write_nifti(
    path: Path,
    data: np.ndarray | None = None,
    affine: np.ndarray | None = None,
    code: str = "",
    codes: tuple[int, int] = (1, 1),
    change: Callable[[Any], None] | None = None,
) -> Path:
    """A NIfTI file; `code` turns its axes first, `codes` are those of sform and qform, `change` alters the header."""
    import nibabel

    data = np.round(scan(ramp, places())).astype(np.int16) if data is None else data
    image = nibabel.Nifti1Image(data, affine_ras() if affine is None else affine)
    if code:
        now = nibabel.io_orientation(image.affine)
        image = image.as_reoriented(nibabel.orientations.ornt_transform(now, nibabel.orientations.axcodes2ornt(code)))
    matrix = image.affine
    if codes[1]:
        image.set_qform(matrix, codes[1])
    image.set_sform(matrix if codes[0] else None, codes[0])
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"Doe^Jane secret-17"
    if change is not None:
        change(image.header)
    nibabel.save(image, path)
    return path


def write_nrrd(
    path: Path, space: str = "left-posterior-superior", data: np.ndarray | None = None, **fields: Any
) -> Path:
    """A NRRD file of the phantom in LPS, RAS or LAS; `fields` replace header fields (None takes one out)."""
    import nrrd

    data = np.round(scan(ramp, places())).astype(np.int16) if data is None else data
    signs = {"left-posterior-superior": (-1, -1), "left-anterior-superior": (-1, 1)}.get(space, (1, 1))
    affine = np.diag([*signs, 1.0, 1.0]) @ affine_ras()
    header: dict[str, Any] = {"space": space, "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    header = {k: v for k, v in {**header, **fields}.items() if v is not None}
    nrrd.write(str(path), data, header)
    return path


def lie(path: Path, offset: int, value: bytes) -> Path:
    """Overwrite bytes of a file."""
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(value)] = value
    path.write_bytes(bytes(whole))
    return path
