"""CT files of every kind give one tensor, and are refused by name when they are damaged or ambiguous."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modalign.errors import ReadError
from modalign.modalities import get_modality
from modalign.modalities.ct import geometry
from tests.modalities.ct_files import (
    COUNT,
    SIZE,
    SPACING,
    affine_ras,
    lie,
    places,
    ramp,
    scan,
    tilted,
    write_nifti,
    write_nrrd,
    write_series,
)

modality = get_modality("ct")
load = modality.load
HU = {"unit": "HU"}


def set_tag(name: str, value: Any, only: int | None = None) -> Callable[[int, Any], None]:
    """Set a tag of every slice, or of one; None takes it out."""

    def change(number: int, dataset: Any) -> None:
        if only is not None and number != only:
            return
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)

    return change


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("ct") / "series", slope=1.0)


@pytest.fixture(scope="module")
def reference(series: Path) -> torch.Tensor:
    return load(series).data


def test_a_series_in_ras(series: Path) -> None:
    signal = load(series)
    expected = np.round(scan(ramp, places()))[::-1, ::-1]  # LPS columns and rows -> RAS
    np.testing.assert_array_equal(signal.data[0].numpy(), expected.astype(np.float32))
    affine = np.array(signal.meta["affine"])
    assert signal.meta["spacing"] == pytest.approx((SPACING[1], SPACING[0], 2.0))
    assert geometry.axes_code(affine) == "RAS"
    at = affine @ np.array([3, 4, 5, 1.0])
    assert signal.data[0, 3, 4, 5] == pytest.approx(float(ramp(at[:3] * [-1, -1, 1])), abs=0.51)
    assert signal.channels == ("HU",)


@pytest.mark.parametrize("code", ["", "RAS", "LAS", "PIR", "SPL"])
@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 1)])
def test_nifti_gives_the_same_tensor(
    code: str, codes: tuple[int, int], reference: torch.Tensor, tmp_path: Path
) -> None:
    signal = load(write_nifti(tmp_path / "a.nii.gz", code=code, codes=codes), **HU)
    assert torch.equal(signal.data, reference)


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "left-anterior-superior"])
def test_nrrd_gives_the_same_tensor(space: str, reference: torch.Tensor, series: Path, tmp_path: Path) -> None:
    signal = load(write_nrrd(tmp_path / "a.nrrd", space), **HU)
    assert torch.equal(signal.data, reference)
    np.testing.assert_allclose(signal.meta["affine"], load(series).meta["affine"], atol=1e-5)


def test_arrays_give_the_same_tensor(reference: torch.Tensor, tmp_path: Path) -> None:
    array = np.round(scan(ramp, places()))
    said = {**HU, "axes": "LPS", "spacing": f"{SPACING[1]}, {SPACING[0]}, 2"}
    np.save(tmp_path / "a.npy", array)
    for source in (array, torch.from_numpy(array), tmp_path / "a.npy", array[None]):
        assert torch.equal(load(source, **said).data, reference)
    simple_itk = array.transpose(2, 1, 0)
    spacing = [2, SPACING[0], SPACING[1]]
    assert torch.equal(load(simple_itk, **HU, axes="SPL", spacing=spacing).data, reference)


def test_units(tmp_path: Path, reference: torch.Tensor) -> None:
    stored = (np.round(scan(ramp, places())) + 1024).astype(np.int16)
    raw = write_nifti(tmp_path / "raw.nii", stored)
    assert torch.equal(load(raw, unit="raw", intercept="-1024").data, reference)
    halved = write_nifti(tmp_path / "half.nii", np.round(scan(ramp, places())).astype(np.int16))
    assert torch.equal(load(halved, unit="raw", slope=0.5).data, reference / 2)
    shape = load(np.zeros((4, 5, 6), np.uint8), unit="none")
    assert (shape.channels, shape.meta["spacing"], shape.data.shape) == (("value",), None, (1, 4, 5, 6))
    assert load(np.zeros((2, 2, 2)), unit="none", axes="RAS", spacing=2).meta["spacing"] == (2.0, 2.0, 2.0)


def test_scaled_nifti_is_scaled_once(tmp_path: Path, reference: torch.Tensor) -> None:
    stored = np.round((scan(ramp, places()) + 100) / 0.5).astype(np.int16)
    metres = np.diag([0.001, 0.001, 0.001, 1]) @ affine_ras()
    path = write_nifti(tmp_path / "s.nii", stored, metres, change=lambda h: h.set_xyzt_units("meter"))
    lie(path, 112, np.array([0.5, -100], "<f4").tobytes())  # scl_slope, scl_inter
    signal = load(tmp_path / "s.nii", **HU)
    torch.testing.assert_close(signal.data, reference, atol=0.5, rtol=0)
    assert signal.meta["spacing"] == pytest.approx((SPACING[1], SPACING[0], 2.0), rel=1e-4), "metres are made mm"


def test_file_names_do_not_matter(series: Path, reference: torch.Tensor, tmp_path: Path) -> None:
    order = np.random.default_rng(3).permutation(COUNT)
    names = [f"IM{n}" for n in order]
    folder = write_series(tmp_path / "a", slope=1.0, names=names)
    (folder / "README.txt").write_text("not a slice")
    (folder / ".DS_Store").write_bytes(b"x")
    assert torch.equal(load(folder).data, reference)
    down = write_series(tmp_path / "b", places()[::-1], slope=1.0)
    assert torch.equal(load(down).data, reference)


def test_no_patient_is_kept(series: Path, tmp_path: Path) -> None:
    for signal in (load(series), load(write_nifti(tmp_path / "a.nii"), **HU)):
        assert not any(word in repr(signal.meta) for word in ("Doe", "secret", "1960"))
    folder = write_series(tmp_path / "bad", change=set_tag("PixelSpacing", None))
    with pytest.raises(ReadError) as caught:
        load(folder)
    assert not any(word in str(caught.value) for word in ("Doe", "secret", "1960"))


def test_a_tilt_is_undone_on_request(tmp_path: Path) -> None:
    orientation = tilted(18.5)
    folder = write_series(tmp_path / "tilt", orientation=orientation, change=set_tag("GantryDetectorTilt", 18.5))
    with pytest.raises(ReadError, match=r"gantry tilt: its slices lean 18\.5 degrees .* set ct\.resample"):
        load(folder)
    signal = load(folder, resample="true")
    data, affine = signal.data[0].numpy(), np.array(signal.meta["affine"])
    assert geometry.shear_of(affine) == pytest.approx((0, 0), abs=1e-4)
    assert signal.meta["tilt"] == pytest.approx(18.5, abs=0.01)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in data.shape], indexing="ij"), -1)
    expected = ramp((index @ affine[:3, :3].T + affine[:3, 3]) * [-1, -1, 1])
    whole = np.abs(data - expected) < 0.1
    assert whole.mean() > 0.5, "voxels that slices cover are right to the rounding of 0.1 HU"
    off = data[~whole] < expected[~whole]
    assert off.all(), "the others are blends with air"
    sheared = write_nifti(tmp_path / "t.nii", affine=affine_ras(places(), orientation), codes=(1, 0))
    with pytest.raises(ReadError, match=r"sheared: slices lean 18\.5"):
        load(sheared, **HU)


def test_dicom_and_nifti_of_one_tilted_volume_agree(tmp_path: Path) -> None:
    orientation = tilted(-12)
    folder = write_series(tmp_path / "tilt", orientation=orientation, slope=1.0)
    values = np.round(scan(ramp, places(), orientation)).astype(np.int16)
    path = write_nifti(tmp_path / "t.nii", values, affine_ras(places(), orientation), codes=(1, 0))
    a, b = load(folder, resample=True), load(path, **HU, resample=True)
    torch.testing.assert_close(a.data, b.data, atol=0.01, rtol=0)
    np.testing.assert_allclose(a.meta["affine"], b.meta["affine"], atol=1e-4)


def test_uneven_slices_and_gaps_are_filled_on_request(tmp_path: Path) -> None:
    positions = np.delete(places(), 4, 0)
    folder = write_series(tmp_path / "gap", positions)
    with pytest.raises(ReadError, match=r"1 missing slice \(1 after 003.dcm; the others are 2 mm apart\)"):
        load(folder)
    signal = load(folder, resample=True)
    assert signal.data.shape[3] == COUNT
    expected = torch.from_numpy(scan(ramp, places())[::-1, ::-1].copy()).float()
    torch.testing.assert_close(signal.data[0], expected, atol=0.06, rtol=0)
    assert signal.meta["resampled"]
    even = write_series(tmp_path / "even")
    assert not load(even, resample=True).meta["resampled"], "what is regular is not touched"


def test_slices_off_their_line(tmp_path: Path) -> None:
    positions = places()
    positions[4, 0] += 2.0
    folder = write_series(tmp_path / "off", positions)
    with pytest.raises(ReadError, match=r"slices that lie up to 2 mm off one line; set ct\.resample"):
        load(folder)
    signal = load(folder, resample=True)
    affine = np.array(signal.meta["affine"])
    assert signal.data.shape[1] == SIZE[0] + 2
    index = np.stack(np.meshgrid(np.arange(2, SIZE[0]), np.arange(SIZE[1]), [3, 4, 5], indexing="ij"), -1)
    expected = ramp((index @ affine[:3, :3].T + affine[:3, 3]) * [-1, -1, 1])
    np.testing.assert_allclose(signal.data[0, 2 : SIZE[0], :, 3:6], expected, atol=0.06)
    positions[4] += 1e5
    with pytest.raises(ReadError, match="cannot be resampled: a grid that holds all slices"):
        load(write_series(tmp_path / "far", positions), resample=True)


def test_the_real_head(real_data: Path) -> None:
    folder = real_data / "ct_dicom/ge_head_series"
    with pytest.raises(ReadError, match=r"uneven spacing of slices \(1.08, 4, 7 mm .* lean 18.5 degrees") as caught:
        load(folder)
    assert "ct.resample" in str(caught.value)
    signal = load(folder, resample=True)
    cosine, sine = 0.9483, 0.3173
    heights = (157.7761 - 5.8361) * cosine
    assert signal.meta["spacing"] == pytest.approx((0.4882812, 0.4882812, 4.22 * cosine), rel=1e-4)
    drift = (157.7761 - 5.8361) * sine / 0.4882812
    assert signal.data.shape[1:] == (512, 512 + int(np.ceil(drift)), int(heights / (4.22 * cosine)) + 1)
    affine = np.array(signal.meta["affine"])
    assert geometry.shear_of(affine) == pytest.approx((0, 0), abs=0.01)
    # The stored slice 10 of the file is found where its header says, to the rounding of interpolation.
    import pydicom

    tenth = pydicom.dcmread(folder / "10.dcm")
    place = np.array([float(v) for v in tenth.ImagePositionPatient])
    row = place + 250 * 0.4882812 * np.array([0, cosine, -sine]) + 260 * 0.4882812 * np.array([1.0, 0, 0])
    at = np.linalg.solve(affine, np.array([-row[0], -row[1], row[2], 1]))[:3]
    assert at[2] == pytest.approx(round(at[2]), abs=0.01), "made on a slice of the first block"
    x, y, z = (int(n) for n in np.round(at))
    stored = float(tenth.pixel_array[249:252, 259:262].mean())
    assert signal.data[0, x - 1 : x + 2, y - 1 : y + 2, z].mean() == pytest.approx(stored, abs=8)
    assert signal.data.min() >= -1500


def test_real_single_files(real_data: Path) -> None:
    folder = real_data / "ct_dicom/dicom_misc"
    signal = load(folder / "bad_sequence.dcm")
    assert signal.data.shape == (1, 512, 512, 1)
    assert -1024 <= signal.data.min() < -900
    with pytest.raises(ReadError, match="RescaleType is US, not HU"):
        load(folder / "eCT_Supplemental.dcm")
    assert load(folder / "eCT_Supplemental.dcm", unit="none").data.shape == (1, 512, 512, 2)
    with pytest.raises(ReadError, match="SliceThickness"):
        load(folder / "explicit_VR-UN.dcm")
    with pytest.raises(ReadError, match="CR, not CT"):
        load(folder / "RG1_J2KI.dcm")
    with pytest.raises(ReadError, match="has 5 series"):
        load(folder)


def test_one_of_several_series(tmp_path: Path, reference: torch.Tensor) -> None:
    folder = write_series(tmp_path / "two", slope=1.0, series="1.2.3.77")
    write_series(folder, places(5), series="1.2.3.88", names=[f"b{k}.dcm" for k in range(5)])
    with pytest.raises(
        ReadError, match=r"has 2 series \(77: 9 files of CT; 88: 5 files of CT\); choose one with ct\.s"
    ):
        load(folder)
    for wanted in ("77", "3.77"):
        assert torch.equal(load(folder, series=wanted).data, reference)
    assert load(folder, series=88).data.shape[3] == 5
    with pytest.raises(ReadError, match="'99' names 0 series"):
        load(folder, series="99")


def copy_slice(folder: Path) -> None:
    shutil.copy(folder / "003.dcm", folder / "copy.dcm")


def half_a_slice(folder: Path) -> None:
    path = folder / "003.dcm"
    path.write_bytes(path.read_bytes()[:-100])


def other_place(number: int, dataset: Any) -> None:
    if number == 4:
        dataset.ImagePositionPatient = [5, -3, 16]


def air_at_zero(number: int, dataset: Any) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.PixelData = (np.arange(SIZE[0] * SIZE[1]) * 10).astype("<i2").tobytes()


def colour(number: int, dataset: Any) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = b"\1" * (SIZE[0] * SIZE[1] * 3)


def smaller(number: int, dataset: Any) -> None:
    if number == 2:
        dataset.Rows, dataset.PixelData = SIZE[1] - 2, dataset.PixelData[: -2 * 2 * SIZE[0]]


SCOUT = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def no_rescale(number: int, dataset: Any) -> None:
    del dataset.RescaleSlope
    del dataset.RescaleIntercept


SERIES: list[tuple[str, Any, str]] = [
    ("another modality", set_tag("Modality", "MR"), "modality MR, not CT"),
    ("no series", set_tag("SeriesInstanceUID", None), "no SeriesInstanceUID"),
    ("a scout among them", set_tag("ImageType", SCOUT, 0), "1 of 9 images are localizers"),
    ("scouts alone", set_tag("ImageType", SCOUT), "give the series of slices"),
    ("sizes", smaller, "mixed series: Rows and Columns is 12, 14 in .* and 10, 14"),
    ("spacings", set_tag("PixelSpacing", [1.5, 1.1], 4), "mixed series: PixelSpacing"),
    ("orientations", set_tag("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], 4), "mixed series: Image"),
    ("frames of reference", lambda n, d: set_tag("FrameOfReferenceUID", f"1.2.{n // 5}")(n, d), "FrameOfReferenceUIDs"),
    ("no position", set_tag("ImagePositionPatient", None, 4), "004.dcm: has no ImagePositionPatient"),
    ("no orientation", set_tag("ImageOrientationPatient", None), "has no ImageOrientationPatient"),
    ("no spacing", set_tag("PixelSpacing", None), "has no PixelSpacing"),
    ("no spacing at all", set_tag("PixelSpacing", [0, 0]), "which no CT has"),
    ("bent orientation", set_tag("ImageOrientationPatient", [1, 0, 0, 0.5, 0.5, 0]), "right angles"),
    ("two at one place", other_place, "003.dcm and 004.dcm lie at the same place"),
    ("a slice twice", copy_slice, "copy.dcm.*same slice twice|same slice twice.*"),
    ("cut short", half_a_slice, "003.dcm.*cut short"),
    ("garbage", lambda f: (f / "x.dcm").write_bytes(b"\0\xff" * 300), "x.dcm: is no DICOM file"),
    ("no rescale", no_rescale, "ct.unit = raw"),
    ("half a rescale", set_tag("RescaleIntercept", None), "RescaleSlope and no RescaleIntercept"),
    ("optical density", set_tag("RescaleType", "OD"), "RescaleType is OD, not HU"),
    ("a lost intercept", air_at_zero, "stored with air at 0"),
    ("colour", colour, "RGB"),
    ("a tilt that does not show", set_tag("GantryDetectorTilt", -15.0), "says -15 degrees .* says none"),
    ("absurd size", set_tag("Rows", 65000), "cut short|no CT has"),
    ("frames without places", set_tag("NumberOfFrames", 9), "9 frames and says the position of none"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "match"), [s[1:] for s in SERIES], ids=[s[0] for s in SERIES])
def test_series_are_refused(change: Any, match: str, tmp_path: Path) -> None:
    in_place = change in (copy_slice, half_a_slice) or match.startswith("x.dcm")
    folder = write_series(tmp_path / "s", change=None if in_place else change)
    if in_place:
        change(folder)
    with pytest.raises(ReadError, match=match):
        load(folder)


def test_mended_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", change=set_tag("GantryDetectorTilt", -15.0))
    assert load(folder, tilt="ignore").data.shape[3] == COUNT
    plain = write_series(tmp_path / "b", change=no_rescale)
    signal = load(plain, unit="raw", slope=0.1, intercept=-1000)
    torch.testing.assert_close(signal.data, load(write_series(tmp_path / "c")).data)
    padded = write_series(
        tmp_path / "d", change=lambda n, d: setattr(d, "PixelPaddingValue", int(np.frombuffer(d.PixelData, "<i2")[0]))
    )
    assert (load(padded).data == -1024).any()
    with pytest.raises(ReadError, match="give one of its folders \\(a, b, c\\)"):
        load(tmp_path)


def test_nifti_without_orientation_by_the_manifests_word(tmp_path: Path, reference: torch.Tensor) -> None:
    path = lie(lie(write_nifti(tmp_path / "a.nii"), 252, b"\0\0"), 254, b"\0\0")
    assert torch.equal(load(path, **HU, axes="LPS").data, reference)
