"""PNG, JPEG and TIFF through Pillow, NPY files and arrays: each value range as the container says, or refused."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities.imaging.dicom import MOST_PIXELS
from modalign.modalities.imaging.npy import load_npy
from modalign.modalities.xray.fields import XrayFields
from modalign.modalities.xray.reader import Array, Picture

FORMATS = ("PNG", "JPEG", "TIFF")
DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of 16 bits."""
AMBIGUOUS_BITS = 12
"""Values of a 16-bit container that fit so many bits may be of a detector that has no more, or of a dark image."""


def read_picture(path: Path, start: bytes, fields: XrayFields) -> Picture:
    """Read a PNG, JPEG or TIFF file.

    Args:
        path: the file.
        start: its first bytes.
        fields: what the manifest says of it.

    Raises:
        ReadError: another format, damaged, too large, several frames, or a range that is not known.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageFile, ImageOps
    except ImportError as error:
        raise MissingExtraError("reading PNG, JPEG and TIFF", "medical") from error
    where = str(path)
    if start[:8] == b"\x89PNG\r\n\x1a\n" and start[24:25] == b"\x10" and start[25:26] != b"\x00":
        raise ReadError(f"{where}: is a PNG of 16-bit colour, which would be cut to 8 bits; save it as 16-bit grey")
    with _strict(Image, ImageFile):
        try:
            content = path.read_bytes()
            with Image.open(io.BytesIO(content), formats=FORMATS) as probe:
                if probe.format == "PNG":
                    probe.verify()  # the checksums of all chunks, which loading does not look at
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            _check(image, fields, where)
            image.seek(fields.frame or 0)
            image.load()
            kind = str(image.format).lower()
            # Pillow turns white-is-zero TIFFs of 8 bits, and leaves those of 16 as they are.
            negative = image.mode in DEEP and getattr(image, "tag_v2", {}).get(262) == 0
            picture = _values(ImageOps.exif_transpose(image), kind, fields, where)
            return replace(picture, negative=negative)
        except ReadError:
            raise
        except Image.UnidentifiedImageError:
            raise ReadError(
                f"{where}: is no PNG, JPEG, TIFF, DICOM or NPY file by its content; convert it to one of them"
            ) from None
        except Image.DecompressionBombError:
            raise ReadError(f"{where}: says more pixels than any X-ray detector has; check the file") from None
        except Exception as error:  # Pillow's codecs fail in many ways on a damaged file
            raise ReadError(f"{where}: is damaged or cut short ({_short(error)}); copy it again") from error


@contextmanager
def _strict(image: Any, image_file: Any) -> Iterator[None]:
    """Truncated files are refused whatever another package has set; warnings about size are ours to raise."""
    before, image_file.LOAD_TRUNCATED_IMAGES = image_file.LOAD_TRUNCATED_IMAGES, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", image.DecompressionBombWarning)
            yield
    finally:
        image_file.LOAD_TRUNCATED_IMAGES = before


def _check(image: Any, fields: XrayFields, where: str) -> None:
    """Size and frames, before anything is decoded."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ReadError(f"{where}: says {height} x {width} pixels, more than any X-ray detector has; check the file")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and fields.frame is None:
        raise ReadError(f"{where}: has {frames} images; say which with xray.frame, from 0")
    if (fields.frame or 0) >= frames:
        raise ReadError(f"{where}: xray.frame is {fields.frame}, and the file has {frames} images, from 0")


def _values(image: Any, kind: str, fields: XrayFields, where: str) -> Picture:
    """A decoded image -> values in [0, 1], by its mode."""
    mode = image.mode
    meta: dict[str, Any] = {"format": kind, "lossy": kind in ("jpeg", "mpo")}
    if mode in DEEP and "transparency" in image.info:  # Pillow would cut its values to 8 bits
        raise ReadError(f"{where}: has 16 bits and a grey that stands for transparent; flatten it")
    if mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getextrema()[3] != (255, 255):
            raise ReadError(f"{where}: has transparent pixels, whose grey is not known; flatten it")
        image = rgba.convert("RGB")
        mode = image.mode
    if mode in ("P", "YCbCr"):
        image = image.convert("RGB")
        mode = image.mode
    if mode in ("L", "RGB"):
        if fields.range is not None:
            raise ReadError(f"{where}: has 8 bits, so its range is 0 to 255; leave xray.range out")
        return Picture(_by_bits(np.asarray(image), 8, fields.bits, where), meta=meta)
    if mode in DEEP or (mode == "I" and kind == "png"):
        values = np.asarray(image).astype(np.int64)
        if fields.range is not None:
            return Picture(_by_range(values, fields.range, where), meta=meta)
        if fields.bits is None and int(values.max()) < 1 << AMBIGUOUS_BITS:
            raise ReadError(
                f"{where}: has 16 bits and no value above {int(values.max())}; say how many bits the values use with "
                "xray.bits (16 where it is only dark, 12 or 10 where the detector has no more)"
            )
        return Picture(_by_bits(values, 16, fields.bits, where), meta=meta)
    if mode in ("I", "F"):
        values = np.asarray(image)
        return Picture(_by_range(values, _needed(fields, where), where), meta=meta)
    raise ReadError(f"{where}: is an image of the mode {mode!r}, which is no X-ray's; convert it to 8 or 16-bit grey")


def read_npy(path: Path, fields: XrayFields) -> Picture:
    """Read a `.npy` file; nothing in it is executed.

    Raises:
        ReadError: damaged, of objects, or of a range that is not known.
    """
    return from_array(load_npy(path), fields, str(path))


def from_array(source: Any, fields: XrayFields, where: str) -> Picture:
    """An array or tensor (H, W), (1, H, W), (H, W, 1), (3, H, W) or (H, W, 3), with its range.

    Raises:
        ReadError: another shape or kind of numbers, or a range that is not known.
    """
    array = source.detach().cpu().numpy() if isinstance(source, torch.Tensor) else source
    if array.dtype.kind not in "uif":
        raise ReadError(f"{where}: holds {array.dtype}, not numbers of brightness; give integers or floats")
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or not array.size:
        raise ReadError(f"{where}: has the shape {array.shape}; give (H, W), (1, H, W) or (H, W, 3)")
    if array.shape[0] * array.shape[1] > MOST_PIXELS:
        raise ReadError(f"{where}: has the shape {array.shape}, more pixels than any X-ray detector has")
    if array.dtype == np.uint8 and fields.range is None:
        return Picture(_by_bits(array, 8, fields.bits, where))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        # `load` counts and refuses them with the words that it has for every modality.
        return Picture(np.asarray(array, dtype=np.float64))
    return Picture(_by_range(array, _needed(fields, where), where))


def _needed(fields: XrayFields, where: str) -> tuple[float, float]:
    if fields.range is None:
        raise ReadError(
            f"{where}: does not say which values are black and white; set xray.range, as '0,255', '0,1' or '0,4095'"
        )
    return fields.range


def _by_bits(values: Array, container: int, bits: int | None, where: str) -> Array:
    used = container if bits is None else bits
    highest = int(values.max())
    if used > container or highest >= 1 << used:
        raise ReadError(
            f"{where}: xray.bits is {used}, and the image has {container} bits and values up to {highest}; mend it"
        )
    scaled: Array = values / float((1 << used) - 1)
    return scaled


def _by_range(values: Array, limits: tuple[float, float], where: str) -> Array:
    low, high = limits
    if not (values.min() >= low and values.max() <= high):
        raise ReadError(
            f"{where}: holds values from {values.min():g} to {values.max():g}, beyond xray.range = '{low:g},{high:g}'; "
            "mend the range"
        )
    scaled: Array = (np.asarray(values, dtype=np.float64) - low) / (high - low)
    return scaled


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
