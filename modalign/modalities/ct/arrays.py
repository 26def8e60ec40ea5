"""NumPy files, arrays and tensors: voxels alone, so that the manifest says the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from modalign.errors import ReadError
from modalign.modalities.ct.fields import CtFields
from modalign.modalities.ct.geometry import Array, from_code
from modalign.modalities.ct.volume import Volume, check_size, check_three
from modalign.modalities.imaging.npy import load_npy


def read_npy(path: Path, fields: CtFields) -> Volume:
    """Open a .npy file of three axes. Nothing pickled is loaded.

    Raises:
        ReadError: it is damaged or pickled, or the manifest does not say enough.
    """
    return read_array(load_npy(path), str(path), fields)


def read_array(source: Any, where: str, fields: CtFields) -> Volume:
    """An array or tensor (X, Y, Z), or (1, X, Y, Z).

    Raises:
        ReadError: its shape or kind is wrong, or the manifest does not say unit, spacing and axes. A shape that is no
            density (`ct.unit = none`) needs no spacing and axes: it has none then.
    """
    array: Array = source.detach().cpu().numpy() if isinstance(source, torch.Tensor) else np.asanyarray(source)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    check_three(array.shape, where)
    check_size(array.shape, where)
    if array.dtype.kind not in "iufb":
        raise ReadError(f"{where}: holds {array.dtype}, not numbers; give integers or floats")
    if fields.unit is None:
        raise ReadError(f"{where}: an array does not say its unit; set ct.unit (HU, raw or none)")
    if fields.axes is not None and fields.spacing is not None:
        return Volume(where, "array", array, from_code(fields.axes, fields.spacing))
    if fields.unit != "none":
        lacking = " and ".join(f"ct.{k}" for k in ("axes", "spacing") if getattr(fields, k) is None)
        raise ReadError(
            f"{where}: an array does not say where its axes run nor how far its voxels are apart; set {lacking} "
            "(as RAS, or SPL for SimpleITK's arrays; mm along each axis)"
        )
    if fields.axes is not None or fields.spacing is not None:
        raise ReadError(f"{where}: set both ct.axes and ct.spacing, or neither")
    return Volume(where, "array", array)
