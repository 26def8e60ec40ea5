"""NIfTI, NRRD and arrays that are damaged, lie or leave something open are refused, each by name with its mend."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalign.errors import ReadError
from modalign.modalities import get_modality
from modalign.modalities.ct.units import implausible
from tests.modalities.ct_files import lie, write_nifti, write_nrrd

load = get_modality("ct").load
HU = {"unit": "HU"}


def rgb(path: Path) -> Path:
    data = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return write_nifti(path, data)


def cut(path: Path, share: float = 0.5) -> Path:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


def dims(*sizes: int) -> bytes:
    return np.array([len(sizes), *sizes, *[1] * (7 - len(sizes))], "<i2").tobytes()


def packed_lie(path: Path) -> Path:
    plain = lie(write_nifti(path.with_name("p.nii")), 40, dims(512, 512, 512))
    path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def flipped_bits(path: Path) -> Path:
    whole = bytearray(write_nifti(path).read_bytes())
    whole[-40:-20] = b"\xff" * 20
    path.write_bytes(bytes(whole))
    return path


def unsized(path: Path, mm: float) -> Path:
    """Neither sform nor qform, and a pixdim that is no size."""
    return lie(lie(write_nifti(path), 252, bytes(4)), 80, np.array([mm], "<f4").tobytes())


def no_shape(header: Any) -> None:
    header["sform_code"] = header["qform_code"] = 0


def counted(side: int) -> np.ndarray:
    return np.arange(side**3, dtype=np.int16).reshape(side, side, side)


NIFTI: list[tuple[str, Any, dict[str, Any], str]] = [
    ("garbage", lambda p: (p.write_bytes(b"\0\xff" * 300), p)[1], HU, "not a readable NIfTI"),
    ("cut short", lambda p: cut(write_nifti(p)), HU, "cut short, or its header lies"),
    ("larger dims", lambda p: lie(write_nifti(p), 40, dims(40, 40, 40)), HU, "header lies"),
    ("smaller dims", lambda p: lie(write_nifti(p), 40, dims(14, 12, 3)), HU, "bytes more than"),
    ("absurd dims", lambda p: lie(write_nifti(p), 40, dims(32000, 32000, 32000)), HU, "which no CT has"),
    ("negative dims", lambda p: lie(write_nifti(p), 40, dims(-4, 12, 9)), HU, "no CT has|not a readable"),
    ("data offset", lambda p: lie(write_nifti(p), 108, np.array([1e6], "<f4").tobytes()), HU, "header lies"),
    ("voxels in the header", lambda p: lie(write_nifti(p), 108, bytes(4)), HU, "within its own header"),
    ("slope", lambda p: lie(write_nifti(p), 112, np.array([np.inf], "<f4").tobytes()), HU, "scl_slope is inf"),
    ("unit of length", lambda p: lie(write_nifti(p), 123, b"\5"), HU, "xyzt_units has the code 5"),
    ("quaternion", lambda p: lie(write_nifti(p), 256, np.array([2.0], "<f4").tobytes()), HU, "no rotation"),
    ("voxels of no size", lambda p: unsized(p, 0.0), {**HU, "axes": "RAS"}, "says voxels of 0 x"),
    ("voxels of NaN", lambda p: unsized(p, np.nan), {"unit": "none", "axes": "RAS"}, "says voxels of nan x"),
    ("voxels of light years", lambda p: unsized(p, 1e30), {**HU, "axes": "RAS"}, r"says voxels of 1e\+30 x"),
    ("four axes", lambda p: write_nifti(p, np.zeros((3, 4, 5, 2), np.int16)), HU, "has 4 axes"),
    ("two axes", lambda p: write_nifti(p, np.zeros((3, 4), np.int16)), HU, "has 2 axes"),
    ("colour", rgb, HU, "not one number each"),
    ("complex", lambda p: write_nifti(p, np.zeros((3, 4, 5), np.complex64)), HU, "not one number each"),
    ("no orientation", lambda p: lie(lie(write_nifti(p), 252, b"\0\0"), 254, b"\0\0"), HU, "set ct.axes"),
    ("NaN in the sform", lambda p: lie(write_nifti(p), 280, np.array([np.nan], "<f4").tobytes()), HU, "NaN|infinite"),
    ("singular sform", lambda p: lie(write_nifti(p), 280, bytes(48)), HU, "singular"),
    ("pixdim", lambda p: lie(write_nifti(p), 80, np.array([3.0], "<f4").tobytes()), HU, "one of them lies"),
    ("qform elsewhere", lambda p: lie(write_nifti(p), 268, np.array([90.0], "<f4").tobytes()), HU, "sform and qform"),
    ("no unit", write_nifti, {}, "NIfTI cannot say its unit; set ct.unit"),
    ("scaled to 1", lambda p: write_nifti(p, np.random.default_rng(0).random((4, 5, 6))), HU, "scaled to 0-1"),
    ("8 bits", lambda p: write_nifti(p, counted(6)), HU, "of 8 bits"),
    ("air at 0", lambda p: write_nifti(p, counted(16)), HU, "ct.intercept = -1024"),
    ("one value", lambda p: write_nifti(p, np.zeros((4, 5, 6), np.int16)), HU, "nothing can be seen"),
    ("NaN voxels", lambda p: write_nifti(p, counted(3) * np.float32("nan")), HU, "NaN"),
    ("slope without raw", write_nifti, {"unit": "HU", "slope": 2}, "go with unit = raw"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "fields", "match"), [n[1:] for n in NIFTI], ids=[n[0] for n in NIFTI])
def test_nifti_is_refused(write: Callable[[Path], Path], fields: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=match) as caught:
        load(write(tmp_path / "a.nii"), **fields)
    assert "a.nii" in str(caught.value)


@pytest.mark.parametrize("write", [packed_lie, lambda p: cut(write_nifti(p)), flipped_bits])
def test_packed_nifti_is_refused(write: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"damaged|lies"):
        load(write(tmp_path / "a.nii.gz"), **HU)


BOMB = gzip.compress(bytes(50_000_000))


def header_of(path: Path) -> int:
    """Bytes of a NRRD file before its data."""
    return path.read_bytes().index(b"\n\n") + 2


def changed(path: Path, old: bytes, new: bytes) -> Path:
    """A NRRD file with another header."""
    path.write_bytes(write_nrrd(path).read_bytes().replace(old, new, 1))
    return path


NRRD: list[tuple[str, Any, dict[str, Any], str]] = [
    ("garbage", lambda p: (p.write_bytes(b"\0\xff" * 300), p)[1], HU, "not a readable NRRD"),
    ("cut short", lambda p: cut(write_nrrd(p, encoding="raw"), 0.8), HU, "cut short"),
    ("cut short, packed", lambda p: cut(write_nrrd(p), 0.8), HU, "cut short"),
    ("no space", lambda p: write_nrrd(p, space=None), HU, "says no space"),
    ("scanner space", lambda p: write_nrrd(p, "scanner-xyz"), HU, "its space is 'scanner-xyz'"),
    ("no directions", lambda p: changed(p, b"space directions", b"space_direction"), HU, "no space directions|not a"),
    ("larger sizes", lambda p: changed(p, b"14 12 9", b"999 999 900"), HU, "header lies|no CT has"),
    ("wrong sizes", lambda p: changed(p, b"14 12 9", b"14 12 8"), HU, "damaged"),
    ("absurd sizes", lambda p: changed(p, b"14 12 9", b"99999 99999 9"), HU, "no CT has"),
    ("four axes", lambda p: write_nrrd(p, data=np.zeros((2, 3, 4, 5)), **{"space directions": None}), HU, "4 axes"),
    ("checksum cut off", lambda p: cut(write_nrrd(p), 0.999), HU, "cut short"),
    ("packed bomb", lambda p: (write_nrrd(p), p.write_bytes(p.read_bytes()[: header_of(p)] + BOMB), p)[-1], HU, "more"),
    ("lines to skip", lambda p: changed(p, b"encoding:", b"line skip: 999999999\nencoding:"), HU, "line skip leaves"),
    ("bytes to skip", lambda p: changed(p, b"encoding:", b"byte skip: -1\nencoding:"), HU, "byte skip leaves"),
    ("a name for a size", lambda p: changed(p, b"14 12 9", b"DOE^J 12 9"), HU, r"NRRD file \(ValueError\)"),
    ("elsewhere", lambda p: changed(p, b"encoding:", b"data file: x.raw\nencoding:"), HU, "in another file"),
    ("inches", lambda p: write_nrrd(p, **{"space units": ["in", "in", "in"]}), HU, "space units"),
    ("flat", lambda p: write_nrrd(p, **{"space directions": np.zeros((3, 3))}), HU, "singular"),
    ("no unit", write_nrrd, {}, "NRRD cannot say its unit"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "fields", "match"), [n[1:] for n in NRRD], ids=[n[0] for n in NRRD])
def test_nrrd_is_refused(write: Callable[[Path], Path], fields: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=match):
        load(write(tmp_path / "a.nrrd"), **fields)


ARRAYS: list[tuple[Any, dict[str, Any], str]] = [
    (np.zeros((3, 4, 5)), {}, "set ct.unit"),
    (np.zeros((3, 4, 5)), HU, "set ct.axes and ct.spacing"),
    (np.zeros((3, 4, 5)), {**HU, "axes": "RAS"}, "set ct.spacing"),
    (np.zeros((3, 4, 5)), {**HU, "axes": "RRS", "spacing": 1}, "one of each"),
    (np.zeros((3, 4, 5)), {**HU, "axes": "RAS", "spacing": "1, 2"}, "spacing"),
    (np.zeros((3, 4, 5)), {**HU, "axes": "RAS", "spacing": "1, 2, 0"}, "0.005 to 100"),
    (np.zeros((3, 4, 5)), {"unit": "none", "axes": "RAS"}, "both ct.axes and ct.spacing, or neither"),
    (np.zeros((3, 4, 5)), {"unit": "raw", "slope": 0}, "slope is 0"),
    (np.zeros((3, 4)), {"unit": "none"}, "has 2 axes"),
    (np.zeros((3, 4, 0)), {"unit": "none"}, "no CT has"),
    (np.full((3, 4, 5), "x"), {"unit": "none"}, "not numbers"),
    (np.full((3, 4, 5), np.nan), {"unit": "none"}, "NaN"),
    ([1, 2, 3], {"unit": "none"}, "give a path"),
]


@pytest.mark.parametrize(("array", "fields", "match"), ARRAYS)
def test_arrays_are_refused(array: Any, fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ReadError, match=match):
        load(array, **fields)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ReadError, match=r"no readable .npy"):
        load(tmp_path / "pickled.npy", unit="none")
    (tmp_path / "a.mhd").write_text("ObjectType = Image")
    with pytest.raises(ReadError, match=r"kind '\.mhd'"):
        load(tmp_path / "a.mhd")


@pytest.mark.parametrize(("low", "high"), [(-1000, 900), (-30, 80), (-1024, 3071), (-150, 1500), (0, 90)])
def test_plausible_hu(low: float, high: float) -> None:
    assert implausible(np.array([low, high], dtype=float)) == ""
