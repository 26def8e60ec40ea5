"""Source -> Signal of data (1, H, W) in [0, 1], bone bright. Each kind of source is a file of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modalign.errors import ReadError
from modalign.modalities.base import Signal
from modalign.modalities.messages import describe_source
from modalign.modalities.xray.fields import LATERAL, XrayFields, view_name

Array = NDArray[Any]
SMALLEST = 16
"""Pixels of a side, under which nothing of an X-ray image is left."""
NEARLY_GREY = 3 / 255
"""How far channels of a lossy colour JPEG of a grey image may be apart."""
LUMINANCE = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""


@dataclass(frozen=True)
class Picture:
    """What every kind of source yields.

    Attributes:
        values: (H, W), or (H, W, 3) for colour, float64, 0 for the lowest value that could be, 1 for the highest.
        negative: whether high values are dark.
        outside: (H, W), True where a pixel is marked as outside the image; None where none is.
        meta: what the source says of itself.
    """

    values: Array
    negative: bool = False
    outside: NDArray[np.bool_] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


def read_xray(source: Any, fields: XrayFields) -> Signal:
    """Read an image.

    Args:
        source: a Path (DICOM, PNG, JPEG, TIFF, NPY), or an array or tensor (H, W), (1, H, W) or (H, W, 3).
        fields: what the source cannot say of itself.

    Returns:
        Signal of data (1, H, W), float32 in [0, 1], 0 black and 1 white (bone, metal), channels ("grey",); meta
        `format`, `view`, `laterality`, `spacing` (mm of a row and a column, or None), and what else DICOM says of
        technique.

    Raises:
        ReadError: anything that is missing, damaged, ambiguous or implausible; names the source and the mend.

    Example:
        >>> read_xray(np.arange(400).reshape(20, 20), XrayFields(range="0,400")).data.shape
        torch.Size([1, 20, 20])
    """
    where = describe_source(source)
    picture = _open(source, fields, where)
    values = to_grey(picture.values, fields.color, where, picture.meta.get("lossy", False))
    if min(values.shape) < SMALLEST:
        raise ReadError(
            f"{where}: is {values.shape[0]} x {values.shape[1]} pixels; an X-ray image has {SMALLEST} a side or more"
        )
    inside = values if picture.outside is None else values[~picture.outside]
    if not inside.size or inside.min() == inside.max():
        raise ReadError(f"{where}: is blank, since every pixel is the same; give the image itself")
    negative = picture.negative if fields.photometric is None else fields.photometric == "MONOCHROME1"
    if negative:
        values = 1.0 - values
    if picture.outside is not None:
        values = np.where(picture.outside, 0.0, values)
    meta = {"format": "array", "spacing": None, **picture.meta}
    meta["view"] = _agree("view", fields.view, meta.get("view"), where)
    meta["laterality"] = _agree("laterality", fields.laterality, meta.get("laterality"), where)
    data = torch.from_numpy(np.ascontiguousarray(values[None], dtype=np.float32))
    return Signal(data, None, ("grey",), meta)


def _open(source: Any, fields: XrayFields, where: str) -> Picture:
    from modalign.modalities.xray import dicom, pictures

    if isinstance(source, (np.ndarray, torch.Tensor)):
        return pictures.from_array(source, fields, where)
    if not isinstance(source, Path):
        raise ReadError(f"{where}: give a path, a numpy or torch array, not {type(source).__name__}")
    if source.is_dir():
        raise ReadError(f"{where}: is a folder; give one file (.dcm, .png, .jpeg, .tiff, .npy)")
    with source.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM" or source.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return dicom.read_dicom(source, fields)
    if start[:6] == b"\x93NUMPY" or source.suffix.lower() == ".npy":
        return pictures.read_npy(source, fields)
    return pictures.read_picture(source, start, fields)


def to_grey(values: Array, color: str, where: str, lossy: bool) -> Array:
    """(H, W, 3) -> (H, W) where the channels are equal, or by luminance where that is asked for.

    Raises:
        ReadError: the image has colours.
    """
    if values.ndim == 2:
        return values
    apart = float(np.ptp(values, axis=2).max())
    if apart == 0 or (lossy and apart <= NEARLY_GREY):
        first: Array = values[..., 0] if apart == 0 else values.mean(2)
        return first
    if color == "luminance":
        mixed: Array = values @ np.array(LUMINANCE)
        return np.clip(mixed, 0.0, 1.0)
    raise ReadError(
        f"{where}: is a colour image (channels are up to {apart:.0%} apart); give the grey one, or set xray.color = "
        "luminance where colours carry nothing"
    )


def _agree(name: str, given: str | None, said: str | None, where: str) -> str | None:
    """The manifest's word or the file's, where they do not contradict each other."""
    if given is None or said is None:
        return given or said
    one, other = (view_name(given), view_name(said)) if name == "view" else (given, said)
    if one == other:
        return said
    if name == "view" and "LATERAL" in (one, other) and {one, other} <= LATERAL:
        return said if one == "LATERAL" else given
    raise ReadError(f"{where}: the file says {name} {said!r} and xray.{name} says {given!r}; mend one")
