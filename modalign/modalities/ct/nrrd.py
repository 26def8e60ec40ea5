"""NRRD (.nrrd), opened by MONAI's NrrdReader after its header was found to be true."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities.ct.fields import CtFields
from modalign.modalities.ct.geometry import Floats, from_code, problem_of
from modalign.modalities.ct.volume import Volume, check_packed, check_size, check_three, short

SPACES = {
    "left-posterior-superior": (-1, -1), "lps": (-1, -1), "right-anterior-superior": (1, 1), "ras": (1, 1),
    "left-anterior-superior": (-1, 1), "las": (-1, 1),
}  # fmt: skip
"""Space -> signs of its first two axes in RAS."""
TO_MM = {"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "m": 1000.0, "cm": 10.0, "um": 0.001, "µm": 0.001}
PACKED = ("gzip", "gz")
RATIO = {"bzip2": 50_000_000, "bz2": 50_000_000}


def read_nrrd(path: Path, fields: CtFields) -> Volume:
    """Open a NRRD file with its data inside.

    MONAI's reader takes a file without `space` for LPS; here it is refused, unless the manifest says `ct.axes`.

    Raises:
        ReadError: it is damaged, its data are elsewhere, it has other than three axes, or its space is not known.
        MissingExtraError: monai or pynrrd is not installed.
    """
    try:
        import nrrd
        from monai.data.image_reader import NrrdReader
    except ImportError as error:
        raise MissingExtraError("reading NRRD", "medical") from error
    try:
        with path.open("rb") as file:
            header = nrrd.read_header(file)
            start = file.tell()
        shape = tuple(int(n) for n in header["sizes"])
        kind, encoding = str(header["type"]), str(header["encoding"]).lower()
    except Exception as error:  # pynrrd fails in many ways on a damaged header
        # Errors of other kinds quote the header's values.
        said = short(error) if isinstance(error, nrrd.NRRDError) else type(error).__name__
        raise ReadError(f"{path}: is not a readable NRRD file ({said}); export it again") from None
    if any(key in header for key in ("data file", "datafile")):
        raise ReadError(f"{path}: its voxels are in another file; save it as one .nrrd file")
    check_size(shape, str(path))
    check_three(shape, str(path))
    if kind == "block":
        raise ReadError(f"{path}: holds blocks of bytes, not numbers; export the CT in grey values")
    skips = [key for key in ("line skip", "lineskip", "byte skip", "byteskip") if int(header.get(key, 0))]
    if skips:
        raise ReadError(f"{path}: its {skips[0]} leaves out some of its own data; save it again without")
    affine = _affine(header, fields, path)
    if encoding in (*PACKED, *RATIO, "raw"):
        _check_bytes(path, start, math.prod(shape), kind, encoding)
    reader = NrrdReader(dtype=np.float32)
    try:
        data = reader.read(path).array
    except (OSError, EOFError, ValueError, KeyError, MemoryError, zlib.error, nrrd.NRRDError) as error:
        raise ReadError(f"{path}: its voxels are damaged or cut short ({short(error)}); copy it again") from error
    return Volume(str(path), "nrrd", np.asarray(data), affine, info={"stored": kind})


def _check_bytes(path: Path, start: int, voxels: int, kind: str, encoding: str) -> None:
    from nrrd.reader import _TYPEMAP_NRRD2NUMPY as KINDS

    if kind not in KINDS:
        raise ReadError(f"{path}: its type is {kind!r}, which is no kind of number; export it again")
    needed, held = voxels * np.dtype(KINDS[kind]).itemsize, path.stat().st_size - start
    if encoding in PACKED:
        with path.open("rb") as file:
            file.seek(start)
            check_packed(file, held, needed, str(path))
        return
    if needed > held * RATIO.get(encoding, 1):
        raise ReadError(
            f"{path}: its header says {needed:,} bytes of voxels, more than its {held:,} bytes can hold; the header "
            "lies, or the file is cut short"
        )


def _affine(header: Any, fields: CtFields, path: Path) -> Floats | None:
    space = str(header.get("space", "")).lower()
    directions = header.get("space directions")
    if space not in SPACES or directions is None:
        if fields.axes is not None and fields.spacing is not None:
            return from_code(fields.axes, fields.spacing)
        if fields.unit == "none" and not space:
            return None
        what = f"its space is {space!r}" if space else "it says no space"
        raise ReadError(
            f"{path}: {what}{'' if directions is not None else ' and no space directions'}, so where its axes run is "
            f"not known; save it with one of {', '.join(k for k in SPACES if '-' in k)}, or set ct.axes and ct.spacing"
        )
    directions = np.asarray(directions, dtype=np.float64)
    origin = np.asarray(header.get("space origin", np.zeros(3)), dtype=np.float64)
    if directions.shape != (3, 3) or origin.shape != (3,):
        raise ReadError(f"{path}: its space directions are not three of three numbers; export it again")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions.T, origin
    units = [str(u).strip().lower() for u in header.get("space units", [])] or ["mm"] * 3
    if len(set(units)) != 1 or units[0] not in TO_MM:
        raise ReadError(f"{path}: its space units are {', '.join(units)}; export it in mm")
    signs = SPACES[space]
    affine = np.diag([signs[0], signs[1], 1.0, 1.0]) @ np.diag([TO_MM[units[0]]] * 3 + [1.0]) @ affine
    problem = problem_of(affine)
    if problem:
        raise ReadError(f"{path}: {problem}; export it again")
    return affine
