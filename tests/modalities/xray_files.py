"""Small X-ray files in their real formats, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DROPPED = object()
"""A value that takes a tag away."""


def picture(size: int = 48, high: int = 255, seed: int = 0) -> Array:
    """(size, size) integers: a bright bone on a slope, noise, and both ends of the range."""
    rng = np.random.default_rng(seed)
    image = np.linspace(0.1, 0.5, size)[:, None] + 0.05 * rng.random((size, size))
    image[:, size // 3 : size // 2] += 0.4
    image = np.rint(image * high)
    image[0, 0], image[0, 1] = 0, high
    return image.astype(np.uint16 if high > 255 else np.uint8)


def write_dicom(path: Path, pixels: Array, syntax: str = "1.2.840.10008.1.2.1", **tags: Any) -> Path:
    """An uncompressed DX image of (H, W), (H, W, 3) or, with NumberOfFrames, (F, H, W); `tags` change its header.

    Sequences are lists of mappings; a value that is `DROPPED` takes the tag away.
    """
    import pydicom
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Modality, dataset.PatientName, dataset.PatientID = "DX", "Doe^Jane", "MRN-4711"
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 and pixels.shape[-1] == 3 else 1
    dataset.Rows, dataset.Columns = pixels.shape[:2] if dataset.SamplesPerPixel == 3 else pixels.shape[-2:]
    dataset.PhotometricInterpretation = "RGB" if dataset.SamplesPerPixel == 3 else "MONOCHROME2"
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    if "BitsStored" in tags and "HighBit" not in tags:
        tags["HighBit"] = tags["BitsStored"] - 1
    content = tags.pop("PixelData", pixels.tobytes())
    for name, value in tags.items():
        if value is DROPPED:
            delattr(dataset, name)
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            items = []
            for entry in value:
                item = Dataset()
                for key, inner in entry.items():
                    setattr(item, key, inner)
                items.append(item)
            value = Sequence(items)
        setattr(dataset, name, value)
    if content is not None:
        dataset.PixelData = content
        dataset["PixelData"].VR = "OB" if meta.TransferSyntaxUID.is_encapsulated else "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_jpeg2000(path: Path, pixels: Array, **tags: Any) -> Path:
    """The same, compressed by Pillow as lossless JPEG 2000."""
    import io

    from PIL import Image
    from pydicom.encaps import encapsulate

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True)
    content = tags.pop("PixelData", encapsulate([buffer.getvalue()]))
    return write_dicom(path, pixels, "1.2.840.10008.1.2.4.90", PixelData=content, **tags)


def write_picture(path: Path, pixels: Array, **options: Any) -> Path:
    """PNG, JPEG or TIFF, as the suffix says."""
    from PIL import Image

    Image.fromarray(pixels).save(path, **options)
    return path


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk."""
    import zlib

    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def write_png_header(path: Path, width: int, height: int, depth: int = 8, color: int = 0) -> Path:
    """A PNG that says a size and holds one empty row of data."""
    import zlib

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, color, 0, 0, 0])
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0")), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path
