"""Stored numbers -> Hounsfield units: by rescale, by the manifest's word, and only where the values can be HU."""

from __future__ import annotations

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.ct.fields import CtFields
from modalign.modalities.ct.geometry import Array
from modalign.modalities.ct.volume import Volume


def implausible(values: Array) -> str:
    """Why numbers cannot well be HU, and what they are likely to be; "" where they can.

    Air is about -1000 and water 0, and nearly every CT shows some of the air about the body.

    Example:
        >>> implausible(np.array([0.0, 1024.0, 2100.0]))
        'from 0 to 2100, nothing below 0, as numbers stored with air at 0 (ct.unit = raw, ct.intercept = -1024)'
        >>> implausible(np.array([-1000.0, 40.0, 900.0]))
        ''
    """
    low, high = float(np.min(values)), float(np.max(values))
    if low == high:
        return f"all {low:g}, so that nothing can be seen"
    if low < -10_000 or high > 100_000:
        return f"from {low:g} to {high:g}, beyond any HU (a rescale applied twice, or left out?)"
    if low >= 0 and high <= 1:
        return f"from {low:g} to {high:g}, as values scaled to 0-1 (or a mask: ct.unit = none)"
    if low >= 0 and 128 < high <= 255:
        return f"from {low:g} to {high:g}, as a picture of 8 bits, which has lost its HU"
    if low >= 0 and high > 1200:
        return (
            f"from {low:g} to {high:g}, nothing below 0, as numbers stored with air at 0 "
            "(ct.unit = raw, ct.intercept = -1024)"
        )
    return ""


def in_hu(volume: Volume, fields: CtFields) -> Array:
    """The volume's voxels as float32 HU (or as they are, with `ct.unit = none`).

    Raises:
        ReadError: the unit is not known, or the values cannot be HU.
    """
    where, values = volume.where, volume.data
    if not volume.hu and fields.unit is None:
        raise ReadError(
            f"{where}: {volume.kind.upper() if volume.kind != 'nifti' else 'NIfTI'} cannot say its unit; set ct.unit: "
            f"HU, raw (with ct.slope, ct.intercept) or none. {_guess(values)}"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is infinite, and `load` refuses it
        if fields.unit == "raw":
            scaled = np.asarray(values, np.float64) * (1.0 if fields.slope is None else fields.slope)
            return (scaled + (fields.intercept or 0.0)).astype(np.float32)
        out = np.ascontiguousarray(values, dtype=np.float32)
    if fields.unit == "none" or not np.isfinite(out).all():
        return out
    problem = implausible(out)
    if problem:
        raise ReadError(
            f"{where}: its values are no Hounsfield units: {problem}. If they are right, or the rescale is known, set "
            "ct.unit = raw with ct.slope and ct.intercept, which is not checked"
        )
    return out


def _guess(values: Array) -> str:
    known = np.asarray(values)
    if not np.isfinite(known).all():
        return "Its values are not all finite."
    problem = implausible(known)
    return f"Its values run {problem}." if problem else "Its values could be HU."
