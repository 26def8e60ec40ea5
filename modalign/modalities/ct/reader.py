"""Source -> Signal in HU, axes running right, anterior, superior. Each format is a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from modalign.errors import ReadError
from modalign.modalities.base import Signal
from modalign.modalities.ct import arrays, geometry
from modalign.modalities.ct.fields import CtFields
from modalign.modalities.ct.geometry import Array, Floats
from modalign.modalities.ct.kept import keep_slices
from modalign.modalities.ct.units import in_hu
from modalign.modalities.ct.volume import Volume
from modalign.modalities.messages import describe_source

SUFFIXES = (".dcm", ".nii", ".nii.gz", ".nrrd", ".npy")


def read_ct(source: Any, fields: CtFields) -> Signal:
    """Read a volume.

    Args:
        source: a Path (folder of DICOM slices, DICOM file, NIfTI, NRRD, NPY), or an array or tensor (X, Y, Z).
        fields: what the source cannot say of itself.

    Returns:
        Signal of data (1, X, Y, Z): HU, X to the right, Y to the front, Z to the head (the nearest voxel axes:
        nothing is interpolated). meta: `affine` (voxel index -> RAS mm) and `spacing` (mm), None where none is known;
        `unit`, `format`, and technical facts; nothing of a patient.

    Raises:
        ReadError: anything that is missing, ambiguous or implausible; names the source and the mend.

    Example:
        >>> array = np.linspace(-1000, 1000, 64).reshape(4, 4, 4)
        >>> read_ct(array, CtFields(unit="HU", axes="LPS", spacing="1, 1, 2")).meta["spacing"]
        (1.0, 1.0, 2.0)
    """
    volume = open_volume(source, fields)
    data = in_hu(volume, fields)
    affine = volume.affine
    resampled = bool(volume.info.get("resampled"))
    if affine is not None:
        affine = np.asarray(affine, dtype=np.float64)
        data, affine, straightened = _upright(data, affine, fields, volume.where)
        resampled = resampled or straightened
        data, affine = geometry.to_ras(data, affine)
    meta: dict[str, Any] = {
        **volume.info, "format": volume.kind, "unit": fields.unit if fields.unit == "none" else "HU",
        "resampled": resampled,
        "affine": None if affine is None else tuple(tuple(float(v) for v in row) for row in affine),
        "spacing": None if affine is None else geometry.spacing_of(affine),
    }  # fmt: skip
    channel = "value" if fields.unit == "none" else "HU"
    signal = Signal(torch.from_numpy(np.ascontiguousarray(data)[None]), None, (channel,), meta)
    return signal if fields.slices is None else keep_slices(signal, fields.slices, volume.where)


def open_volume(source: Any, fields: CtFields) -> Volume:
    """Open a path or an array as its format says.

    Raises:
        ReadError: the kind of file is not known, or it cannot be read.
    """
    where = describe_source(source)
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return arrays.read_array(source, where, fields)
    if not isinstance(source, Path):
        raise ReadError(f"{where}: give a path, or a numpy or torch array, not {type(source).__name__}")
    from modalign.modalities.ct.nifti import read_nifti
    from modalign.modalities.ct.nrrd import read_nrrd
    from modalign.modalities.ct.series import read_series

    name = source.name.lower()
    if source.is_dir() or name.endswith((".dcm", ".dicom", ".ima")):
        return read_series(source, fields)
    if name.endswith((".nii", ".nii.gz")):
        return read_nifti(source, fields)
    if name.endswith(".nrrd"):
        return read_nrrd(source, fields)
    if name.endswith(".npy"):
        return arrays.read_npy(source, fields)
    with source.open("rb") as file:
        if file.read(132)[128:] == b"DICM":
            return read_series(source, fields)
    raise ReadError(
        f"{source}: files of the kind {source.suffix!r} cannot be read; give a folder of DICOM slices, or one of "
        f"{', '.join(SUFFIXES)}"
    )


def _upright(data: Array, affine: Floats, fields: CtFields, where: str) -> tuple[Array, Floats, bool]:
    """Refuse a sheared affine, or take the shear out where the manifest asks for it."""
    flat, tilt = geometry.shear_of(affine)
    if flat > geometry.TILT_DEGREES:
        raise ReadError(f"{where}: its rows and columns stand {90 - flat:.1f} degrees to each other; export it again")
    if tilt <= geometry.TILT_DEGREES:
        return data, affine, False
    if not fields.resample:
        raise ReadError(
            f"{where}: its affine is sheared: slices lean {tilt:.1f} degrees off the line of their positions (a gantry "
            "tilt); set ct.resample = true to put it on a regular grid in its true place"
        )
    x, y, _ = geometry.spacing_of(affine)
    orientation = np.concatenate([affine[:3, 0] / x, affine[:3, 1] / y])
    positions = affine[:3, 3] + np.arange(data.shape[2])[:, None] * affine[:3, 2]
    if affine[:3, 2] @ geometry.normal_of(orientation) < 0:
        data, positions = data[..., ::-1], positions[::-1]
    try:
        made, moved = geometry.unshear(data, positions, orientation, np.array([x, y]))
    except ValueError as error:
        raise ReadError(f"{where}: cannot be resampled: {error}; export it again") from None
    return made, moved, True
