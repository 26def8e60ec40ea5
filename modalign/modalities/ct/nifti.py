"""NIfTI (.nii, .nii.gz), opened by MONAI's NibabelReader after its header was found to be true."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities.ct.fields import CtFields
from modalign.modalities.ct.geometry import Floats, from_code, problem_of, spacing_of
from modalign.modalities.ct.volume import SPARE, Volume, check_packed, check_size, check_three, short
from modalign.modalities.imaging.dicom_file import silenced

TO_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
"""Nearly every program leaves the unit out and means mm; a spacing that is none then is refused."""
UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}
"""Codes of xyzt_units."""


def read_nifti(path: Path, fields: CtFields) -> Volume:
    """Open a NIfTI file. Its `descrip` and other free text, which may name a patient, are not kept.

    MONAI's reader mends headers whose sform, qform and voxel size disagree by choosing one; here they are refused.

    Raises:
        ReadError: it is damaged, has other than three axes, no orientation, or a header that contradicts itself.
        MissingExtraError: monai or nibabel is not installed.
    """
    try:
        import nibabel
        from monai.data.image_reader import NibabelReader
    except ImportError as error:
        raise MissingExtraError("reading NIfTI", "medical") from error
    try:
        with silenced("nibabel.global"):  # it logs what it mends; what matters of that is refused below
            image = nibabel.load(path)
        header = image.header
        said = _as_written(image, path)
        shape = tuple(int(n) for n in image.shape)
    except Exception as error:  # nibabel fails in many ways on a damaged file
        raise ReadError(f"{path}: is not a readable NIfTI file ({short(error)}); export it again") from error
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
        raise ReadError(f"{path}: is {type(image).__name__}, not NIfTI; convert it with dcm2niix or nibabel")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    check_size(shape, str(path))
    check_three(shape, str(path))
    _check_kind(image.get_data_dtype(), path)
    if 0 <= float(said["vox_offset"]) < header.single_vox_offset:
        raise ReadError(
            f"{path}: its vox_offset is {float(said['vox_offset']):g}, within its own header of "
            f"{header.single_vox_offset} bytes; the header lies, export it again"
        )
    _check_bytes(path, int(image.dataobj.offset), math.prod(shape) * image.get_data_dtype().itemsize)
    affine = _affine(image, said, fields, path)
    reader = NibabelReader(squeeze_non_spatial_dims=True)
    try:
        data, _ = reader.get_data(reader.read(path))
    except (OSError, EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(f"{path}: its voxels are damaged or cut short ({short(error)}); copy it again") from error
    return Volume(
        str(path), "nifti", np.asarray(data).reshape(shape), affine, info={"stored": str(header.get_data_dtype())}
    )


def _check_kind(dtype: np.dtype[Any], path: Path) -> None:
    if dtype.kind not in "iuf":
        raise ReadError(f"{path}: holds voxels of the kind {dtype}, not one number each; export the CT in grey values")


def _check_bytes(path: Path, offset: int, needed: int) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            file.seek(0)
            check_packed(file, size, offset + needed, str(path))
            return
    if offset + needed > size:
        raise ReadError(
            f"{path}: its header says {needed:,} bytes of voxels from byte {offset:,}, and the file has {size:,}; "
            "it is cut short, or its header lies"
        )
    if size - offset - needed > SPARE:
        raise ReadError(
            f"{path}: has {size - offset - needed:,} bytes more than the {needed:,} that its header says; its size or "
            "offset is wrong, export it again"
        )


def _as_written(image: Any, path: Path) -> Any:
    """The header as it is in the file: nibabel's own has its sizes mended and its scaling moved elsewhere."""
    from nibabel.openers import ImageOpener

    with ImageOpener(path) as file:
        return type(image.header).from_fileobj(file, check=False)


def _affine(image: Any, said: Any, fields: CtFields, path: Path) -> Floats | None:
    header = image.header
    slope, intercept = float(said["scl_slope"]), float(said["scl_inter"])
    # A slope of 0 (the standard) or NaN (nibabel, SPM) stands for no scaling.
    if np.isinf(slope) or (slope and np.isfinite(slope) and not np.isfinite(intercept)):
        raise ReadError(f"{path}: its scl_slope is {slope} and scl_inter {intercept}; export it again")
    code = int(said["xyzt_units"]) % 8
    if code not in UNITS:
        raise ReadError(f"{path}: its xyzt_units has the code {code}, which is no unit of length; export it again")
    unit = UNITS[code]
    scale = np.diag([TO_MM[unit]] * 3 + [1.0])
    zooms = np.array(_zooms(said))
    if not (header["sform_code"] or header["qform_code"]):
        if fields.axes is None and fields.unit == "none":
            return None
        if fields.axes is None:
            raise ReadError(
                f"{path}: has neither qform nor sform, so left and right are not known; set ct.axes (as RAS or LPS)"
            )
        if fields.spacing is not None:
            return from_code(fields.axes, fields.spacing)
        made = scale @ from_code(fields.axes, _zooms(said))
        if not (zooms > 0).all() or problem_of(made):
            raise ReadError(f"{path}: its pixdim says voxels of {_mm(zooms)} {unit}; set ct.spacing (mm)")
        return made
    try:
        forms = {"sform": image.get_sform(coded=True)[0], "qform": image.get_qform(coded=True)[0]}
    except ValueError as error:  # a quaternion longer than 1
        raise ReadError(f"{path}: its qform is no rotation ({short(error)}); export it again") from None
    known: dict[str, Floats] = {}
    for name, affine in forms.items():
        if affine is None:
            continue
        problem = problem_of(scale @ affine)
        if problem:
            raise ReadError(f"{path}: {problem} ({name}, unit {unit}); export it again")
        known[name] = np.asarray(affine, dtype=np.float64)
        own = np.array(spacing_of(known[name]))
        if not np.allclose(own, zooms, rtol=0.01):
            raise ReadError(
                f"{path}: its {name} says voxels of {_mm(own)} and its pixdim {_mm(zooms)}; one of them lies, export "
                "it again"
            )
    if len(known) == 2 and not _agree(known["sform"], known["qform"], image.shape):
        raise ReadError(
            f"{path}: its sform and qform place the volume differently; keep one (set the other's code to 0)"
        )
    return scale @ next(iter(known.values()))


def _agree(a: Floats, b: Floats, shape: tuple[int, ...]) -> bool:
    """Whether two affines put no corner a voxel apart. A sheared sform and its qform, which has no shear, do."""
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in shape[:3]])).reshape(3, -1)
    corners = np.vstack([corners, np.ones(8)])
    apart = np.linalg.norm(((a - b) @ corners)[:3], axis=0).max()
    return bool(apart < min(spacing_of(a)))


def _zooms(header: Any) -> tuple[float, float, float]:
    x, y, z = (float(n) for n in header.get_zooms()[:3])
    return x, y, z


def _mm(values: Floats) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
