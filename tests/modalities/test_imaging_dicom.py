"""DICOM images: we decode what pydicom decodes, and refuse headers that lie before anything is allocated."""

from __future__ import annotations

import logging
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities import get_modality
from modalign.modalities.imaging.codestream import Codestream, inspect
from modalign.modalities.imaging.dicom import decode, open_dicom, read_dataset
from modalign.modalities.imaging.dicom_values import padding_mask, rescale_of, table_of
from tests.modalities.xray_files import DROPPED, picture, write_dicom, write_jpeg2000

pydicom = pytest.importorskip("pydicom")
FILES = Path(pydicom.__file__).parent / "data/test_files"
READ = [
    "693_J2KI.dcm", "CT_small.dcm", "ExplVR_BigEnd.dcm", "J2K_pixelrep_mismatch.dcm", "JPEG2000.dcm",
    "JPEGLSNearLossless_16.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_small_odd_jpeg.dcm", "SC_ybr_full_422_uncompressed.dcm", "examples_jpeg2k.dcm", "image_dfl.dcm",
]  # fmt: skip
PIXELS = picture(32, 4095)


@pytest.mark.parametrize("name", READ)
def test_frames_are_what_pydicom_decodes(name: str) -> None:
    image = open_dicom(FILES / name)
    assert np.array_equal(decode(image)[0], pydicom.dcmread(FILES / name).pixel_array)


def test_real_files_of_many_syntaxes(real_data: Path) -> None:
    for name in ("RG1_J2KI", "RG3_J2KR", "bad_sequence", "eCT_Supplemental", "explicit_VR-UN"):
        path = real_data / f"ct_dicom/dicom_misc/{name}.dcm"
        image = open_dicom(path)
        expected = pydicom.dcmread(path).pixel_array
        expected = expected if image.header.frames > 1 else expected[None]
        assert np.array_equal(decode(image), expected), name
    assert rescale_of(open_dicom(real_data / "ct_dicom/dicom_misc/bad_sequence.dcm")).intercept == -1024
    enhanced = open_dicom(real_data / "ct_dicom/dicom_misc/eCT_Supplemental.dcm")
    assert (rescale_of(enhanced, 1).intercept, rescale_of(enhanced, 1).stated) == (-1024, True), "in a functional group"
    slice_ = open_dicom(real_data / "ct_dicom/ge_head_series/01.dcm")
    assert slice_.header.padding == (-1500, -1500)
    assert padding_mask(decode(slice_), slice_.header).any()


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Rows": 64}, "cut short.*64 x 32"),
        ({"Rows": 16}, "lies.*16 x 32"),
        ({"Columns": 31}, "lies.*32 x 31"),
        ({"NumberOfFrames": 2}, "cut short.*2 frames"),
        ({"NumberOfFrames": 100_000_000}, "more than any scanner"),
        ({"Rows": 65_000, "Columns": 65_000}, "more than any scanner"),
        ({"Rows": DROPPED}, "no tag Rows"),
        ({"Rows": 0}, "Rows is no whole number"),
        ({"NumberOfFrames": 0}, "NumberOfFrames is no whole number"),
        ({"BitsAllocated": 8, "BitsStored": 8}, "lies.*8 bits"),
        ({"BitsAllocated": 32}, "cut short.*32 bits"),
        ({"BitsAllocated": 12, "BitsStored": 12}, "8, 16 or 32 bits"),
        ({"BitsAllocated": 8, "BitsStored": 12}, "contradict"),
        ({"BitsStored": 12, "HighBit": 15}, "contradict"),
        ({"BitsStored": 10}, "to 4095, and BitsStored = 10"),
        ({"BitsStored": DROPPED, "HighBit": DROPPED}, "no tag BitsStored"),
        ({"PixelRepresentation": DROPPED}, "no tag PixelRepresentation"),
        ({"PhotometricInterpretation": DROPPED}, "absent"),
        ({"PhotometricInterpretation": "MONOCHROME3"}, "'MONOCHROME3'"),
        ({"PhotometricInterpretation": "RGB"}, "SamplesPerPixel 1"),
        ({"SamplesPerPixel": 3}, "MONOCHROME2, which has 1 samples"),
        ({"PixelData": None}, "without pixels"),
        ({"PixelData": b""}, "without pixels"),
    ],
)
def test_headers_that_lie_are_refused(tags: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "lie.dcm", PIXELS, **dict(tags))
    with pytest.raises(ReadError, match=message) as caught:
        decode(open_dicom(path))
    assert "lie.dcm" in str(caught.value)


def test_what_is_no_dicom_file(tmp_path: Path) -> None:
    good = write_dicom(tmp_path / "good.dcm", PIXELS).read_bytes()
    cases = {"short": good[:90], "magic": good[:128] + b"DICX" + good[132:], "cut": good[:500], "half": good[:1500]}
    for name, content in cases.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(content)
        with pytest.raises(ReadError, match=name):
            decode(open_dicom(path))
    for name in ("no_meta.dcm", "meta_missing_tsyntax.dcm", "MR_truncated.dcm", "liver_1frame.dcm", "rtplan.dcm"):
        with pytest.raises(ReadError, match=name):
            decode(open_dicom(FILES / name))
    assert "PixelData" not in read_dataset(tmp_path / "good.dcm", pixels=False)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Rows": 8192, "Columns": 8192}, "8192 x 8192.*compressed frame 0 is 32 x 32"),
        ({"Rows": 16}, "compressed frame 0 is 32 x 32"),
        ({"NumberOfFrames": 3}, "frame 1"),
        ({"BitsAllocated": 8, "BitsStored": 8}, "compressed frame 0 has 16"),
    ],
)
def test_a_compressed_frame_is_compared_before_it_is_decoded(
    tags: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = open_dicom(write_jpeg2000(tmp_path / "good.dcm", PIXELS))
    assert np.array_equal(decode(good)[0], PIXELS)
    with pytest.raises(ReadError, match=message):
        decode(open_dicom(write_jpeg2000(tmp_path / "lie.dcm", PIXELS, **tags)))


def test_a_damaged_codestream(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate, get_frame

    good = pydicom.dcmread(write_jpeg2000(tmp_path / "good.dcm", PIXELS))
    stream = get_frame(good.PixelData, 0, number_of_frames=1)
    path = write_jpeg2000(tmp_path / "cut.dcm", PIXELS, PixelData=encapsulate([stream[:120]]))
    with pytest.raises(ReadError, match="frame 0 cannot be decoded"):
        decode(open_dicom(path))


def test_a_missing_decoder_names_the_syntax_and_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import Decoder

    path = write_jpeg2000(tmp_path / "j2k.dcm", PIXELS)
    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))
    with pytest.raises(MissingExtraError, match=r"JPEG 2000.*modalign\[medical\]"):
        open_dicom(path)
    video = write_dicom(tmp_path / "video.dcm", PIXELS, "1.2.840.10008.1.2.4.102", PixelData=encapsulate([b"\0" * 16]))
    with pytest.raises(ReadError, match=r"MPEG-4.*cannot be decoded"):
        open_dicom(video)


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modalign.modalities.imaging import dicom_file

    monkeypatch.setattr(dicom_file, "MOST_INFLATED", 2**20)
    start = (FILES / "image_dfl.dcm").read_bytes()
    meta = pydicom.filereader.read_file_meta_info(FILES / "image_dfl.dcm")
    head = start[: 132 + 12 + meta.FileMetaInformationGroupLength]
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path = tmp_path / "bomb.dcm"
    path.write_bytes(head + squeeze.compress(b"\0" * 2**23) + squeeze.flush())
    assert path.stat().st_size < 20_000
    with pytest.raises(ReadError, match="inflates"):
        open_dicom(path)


def test_bits_above_those_stored_are_an_overlay_or_a_lie(tmp_path: Path) -> None:
    mixed = PIXELS | 0x8000
    with pytest.raises(ReadError, match="mend BitsStored"):
        decode(open_dicom(write_dicom(tmp_path / "lie.dcm", mixed, BitsStored=12)))
    path = write_dicom(tmp_path / "overlay.dcm", mixed, BitsStored=12)
    dataset = pydicom.dcmread(path)
    dataset.add_new((0x6000, 0x0102), "US", 15)
    dataset.save_as(path)
    assert np.array_equal(decode(open_dicom(path))[0], PIXELS)
    signed = (PIXELS.astype(np.int16) - 2048).astype(np.int16)
    path = write_dicom(tmp_path / "unextended.dcm", signed & 0x0FFF, BitsStored=12)
    assert np.array_equal(decode(open_dicom(path))[0], signed)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "mean nothing"),
        ({"RescaleSlope": "2"}, "has RescaleSlope and no RescaleIntercept"),
        ({"RescaleIntercept": "-1024"}, "has RescaleIntercept and no RescaleSlope"),
    ],
)
def test_rescales_that_mean_nothing(tags: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=message):
        rescale_of(open_dicom(write_dicom(tmp_path / "a.dcm", PIXELS, **tags)))


def test_each_frame_has_its_own_rescale(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    def group(intercept: str) -> Dataset:
        item, holder = Dataset(), Dataset()
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = "2", intercept, "HU"
        holder.PixelValueTransformationSequence = [item]
        return holder

    path = write_dicom(tmp_path / "a.dcm", np.stack([PIXELS, PIXELS]), NumberOfFrames=2)
    dataset = pydicom.dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence = [group("-1024"), group("-1000")]
    dataset.save_as(path)
    image = open_dicom(path)
    assert [rescale_of(image, frame).intercept for frame in (0, 1)] == [-1024, -1000]
    assert rescale_of(image, 1).units == "HU"


NAME = "DOE^JANE"


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("LUTDescriptor", "LO", ["1", "2", NAME]),
        *[(name, kind, value) for name in ("HighBit", "PixelPaddingValue", "PixelSpacing")
          for kind, value in (("LO", ["1", NAME]), ("FD", float("inf")))],
        *[(name, "US", 3) for name in ("VOILUTSequence", "ModalityLUTSequence", "SharedFunctionalGroupsSequence",
                                       "ViewCodeSequence", "PatientOrientation")],
        *[(name, "LO", NAME) for name in ("Modality", "PhotometricInterpretation", "PresentationLUTShape",
                                          "RescaleType", "VOILUTFunction", "ViewPosition", "PatientOrientation")],
    ],
)  # fmt: skip
def test_tags_of_another_kind_are_refused_or_left_out_and_never_quoted(
    name: str, kind: str, value: Any, tmp_path: Path
) -> None:
    path = write_dicom(tmp_path / "a.dcm", PIXELS, WindowCenter=2000, WindowWidth=3000, RescaleSlope=1)
    dataset = pydicom.dcmread(path)
    dataset.RescaleIntercept = 0
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [0, 1, 16], b"\0\0"
    if name == "LUTDescriptor":
        dataset.VOILUTSequence = [item]
    (item if name == "LUTDescriptor" else dataset).add_new(name, kind, value)
    dataset.save_as(path)
    for modality in ("xray", "ct"):
        try:
            said = repr(get_modality(modality).load(path).meta)
        except ReadError as error:
            said = str(error)
        assert NAME not in said


def test_padding_below_zero_of_unsigned_pixels(tmp_path: Path) -> None:
    values = PIXELS.astype(np.uint16)
    values[:4] = 2**16 - 2000
    path = write_dicom(tmp_path / "a.dcm", values)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "SS", -2000)  # as some writers have it
    dataset.save_as(path)
    image = open_dicom(path)
    assert padding_mask(decode(image), image.header)[0, :4].all()


def test_padding_is_signed_as_the_pixels_are(tmp_path: Path) -> None:
    values = (PIXELS.astype(np.int16) - 2000).astype(np.int16)
    path = write_dicom(tmp_path / "a.dcm", values, PixelPaddingValue=-2000)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2000)  # as some writers have it
    dataset.save_as(path)
    image = open_dicom(path)
    assert image.header.padding == (-2000, -2000)
    assert padding_mask(decode(image), image.header).sum() == (values == -2000).sum() > 0
    ranged = write_dicom(tmp_path / "b.dcm", values, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1500)
    assert open_dicom(ranged).header.padding == (-2000, -1500)


def test_tables_map_as_pydicom_does(tmp_path: Path) -> None:
    from pydicom.pixels import apply_voi

    item = {"LUTDescriptor": [1000, 500, 10], "LUTData": (np.arange(1000) ** 2 // 1000).astype("<u2").tobytes()}
    path = write_dicom(tmp_path / "a.dcm", PIXELS, VOILUTSequence=[item])
    dataset = pydicom.dcmread(path)
    table = table_of(dataset.VOILUTSequence[0], "a", False)
    expected = apply_voi(PIXELS.astype(np.int64), dataset)
    assert np.array_equal(table(PIXELS), expected)
    for wrong in ({"LUTData": b"\0\0"}, {"LUTDescriptor": [1000, 500, 8]}, {"LUTDescriptor": [1000, 500, 40]}):
        for key, value in {**item, **wrong}.items():
            setattr(dataset.VOILUTSequence[0], key, value)
        with pytest.raises(ReadError, match="look-up table"):
            table_of(dataset.VOILUTSequence[0], "a", False)


def test_nothing_of_a_patient_in_errors_or_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.DEBUG)
    path = write_dicom(tmp_path / "a.dcm", PIXELS, StudyInstanceUID="1.2.3.44")
    caplog.clear()  # what pydicom said while this file was written
    recwarn.clear()
    # pydicom quotes a value that is none of its kind, in a warning and in its log
    content = path.read_bytes().replace(b"1.2.3.44", b"Doe^J.ne")
    for name, end in {"whole": len(content), "cut": -600, "middle": 420}.items():
        (tmp_path / f"{name}.dcm").write_bytes(content[:end])
        with suppress(ReadError):
            decode(open_dicom(tmp_path / f"{name}.dcm"))
    with pytest.raises(ReadError) as caught:
        decode(open_dicom(tmp_path / "cut.dcm"))
    assert caught.value.__cause__ is None, "pydicom's own error may quote a value"
    said = f"{caught.value} {caplog.text} " + " ".join(str(w.message) for w in recwarn.list)
    assert "Doe" not in said
    assert "4711" not in said


def test_codestreams() -> None:
    jpeg = bytes.fromhex("ffd8ffe000040000ffc0000b0c0010002001011100")
    assert inspect(jpeg) == Codestream(16, 32, 1, 12)
    assert inspect(jpeg[:14]) is None
    assert inspect(b"\xff\xd8\xff\xda\x00\x02") is None
    assert inspect(b"RIFF") is None
