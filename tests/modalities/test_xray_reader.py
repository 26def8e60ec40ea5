"""X-ray DICOM files: the range that the header says, and refusals of what is damaged or ambiguous."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modalign.errors import ReadError
from modalign.modalities import get_modality
from modalign.modalities.xray.fields import view_name
from tests.modalities.xray_files import (
    DROPPED,
    picture,
    write_dicom,
    write_jpeg2000,
    write_picture,
)

pydicom = pytest.importorskip("pydicom")
load = get_modality("xray").load
EIGHT, TWELVE, SIXTEEN = picture(), picture(high=4095), picture(high=65_535)


TABLE = {"LUTDescriptor": [2, 0, 8], "LUTData": b"\0\1"}


def dicom(folder: Path, pixels: Any = TWELVE, **tags: Any) -> Path:
    return write_dicom(folder / "image.dcm", pixels, **{"BitsStored": 12, **tags} if pixels is TWELVE else tags)


def close(data: torch.Tensor, expected: Any) -> None:
    np.testing.assert_allclose(data[0].numpy(), expected, atol=1e-6)


def test_the_full_range_is_what_bits_stored_and_slope_say(tmp_path: Path) -> None:
    close(load(dicom(tmp_path)).data, TWELVE / 4095)
    close(load(dicom(tmp_path, BitsStored=14)).data, TWELVE / 16_383)
    close(load(dicom(tmp_path, EIGHT)).data, EIGHT / 255)
    close(load(dicom(tmp_path, RescaleSlope="2", RescaleIntercept="-100")).data, TWELVE / 4095)
    close(load(dicom(tmp_path, RescaleSlope="-1", RescaleIntercept="4095")).data, 1 - TWELVE / 4095)
    signed = (TWELVE.astype(np.int16) - 2048).astype(np.int16)
    close(load(dicom(tmp_path, signed, BitsStored=12)).data, TWELVE / 4095)


def test_windows_are_the_standards(tmp_path: Path) -> None:
    from pydicom.pixels import apply_windowing

    for function in (None, "LINEAR", "LINEAR_EXACT", "SIGMOID"):
        tags: dict[str, Any] = {"WindowCenter": "1800", "WindowWidth": "900"}
        tags |= {} if function is None else {"VOILUTFunction": function}
        for rescale in ({}, {"RescaleSlope": "0.5", "RescaleIntercept": "1000"}):
            path = dicom(tmp_path, **tags, **rescale)
            dataset = pydicom.dcmread(path)
            output = TWELVE * float(rescale.get("RescaleSlope", 1)) + float(rescale.get("RescaleIntercept", 0))
            shown = apply_windowing(output, dataset)
            ends = [
                e * float(rescale.get("RescaleSlope", 1)) + float(rescale.get("RescaleIntercept", 0)) for e in (0, 4095)
            ]
            close(load(path).data, (shown - ends[0]) / (ends[1] - ends[0]))
    binary = load(dicom(tmp_path, WindowCenter="2000", WindowWidth="1")).data
    close(binary, TWELVE > 1999.5)


def test_one_of_several_windows(tmp_path: Path) -> None:
    path = dicom(tmp_path, WindowCenter=["2048", "1000"], WindowWidth=["4096", "500"])
    with pytest.raises(ReadError, match=r"2 windows.*1: centre 1000 width 500.*xray\.window"):
        load(path)
    close(load(path, window="0").data, TWELVE / 4095)
    close(load(path, window=1).data, np.clip((TWELVE - 999.5) / 499 + 0.5, 0, 1))
    close(load(path, window="full").data, TWELVE / 4095)
    assert load(path, window="1.0").data.equal(load(path, window=1).data), "as a column with empty cells has it"
    with pytest.raises(ReadError, match="window is 2"):
        load(path, window=2)
    same = dicom(tmp_path, WindowCenter=["2048", "2048"], WindowWidth=["4096", "4096"])
    close(load(same).data, TWELVE / 4095)


def test_tables(tmp_path: Path) -> None:
    square = (np.arange(4096, dtype=np.int64) ** 2 // 4096).astype("<u2")
    item = {"LUTDescriptor": [4096, 0, 12], "LUTData": square.tobytes()}
    shown = square[TWELVE] / 4095
    close(load(dicom(tmp_path, VOILUTSequence=[item])).data, shown)
    close(load(dicom(tmp_path, VOILUTSequence=[item], PhotometricInterpretation="MONOCHROME1")).data, 1 - shown)
    close(load(dicom(tmp_path, ModalityLUTSequence=[item])).data, shown)
    both = dicom(tmp_path, VOILUTSequence=[item], WindowCenter="2048", WindowWidth="4096")
    close(load(both).data, shown)
    close(load(both, window="0").data, TWELVE / 4095)
    half = {"LUTDescriptor": [4096, 0, 12], "LUTData": (square // 2).tobytes()}
    two = dicom(tmp_path, VOILUTSequence=[item, half])
    with pytest.raises(ReadError, match="lut1: a table"):
        load(two)
    with pytest.raises(ReadError, match="window is lut,"):
        load(two, window="lut")
    close(load(two, window="lut1").data, square[TWELVE] // 2 / 4095)


def test_negatives_are_turned(tmp_path: Path) -> None:
    close(load(dicom(tmp_path, PhotometricInterpretation="MONOCHROME1")).data, 1 - TWELVE / 4095)
    tags = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    close(load(dicom(tmp_path, **tags)).data, 1 - TWELVE / 4095)
    wrong = dicom(tmp_path, PresentationLUTShape="INVERSE")
    with pytest.raises(ReadError, match=r"MONOCHROME2 and PresentationLUTShape INVERSE.*xray\.photometric"):
        load(wrong)
    close(load(wrong, photometric="monochrome1").data, 1 - TWELVE / 4095)
    close(load(write_picture(tmp_path / "a.png", EIGHT), photometric="MONOCHROME1").data, 1 - EIGHT / 255)


def test_padding_is_black(tmp_path: Path) -> None:
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        path = dicom(tmp_path, PixelPaddingValue=0, PhotometricInterpretation=photometric)
        assert float(load(path).data[0, 0, 0]) == 0


def test_frames_and_colours(tmp_path: Path) -> None:
    two = np.stack([TWELVE, TWELVE[::-1]])
    path = dicom(tmp_path, two, NumberOfFrames=2, BitsStored=12)
    with pytest.raises(ReadError, match=r"2 frames.*xray\.frame"):
        load(path)
    close(load(path, frame=1).data, TWELVE[::-1] / 4095)
    with pytest.raises(ReadError, match="frame is 2"):
        load(path, frame=2)
    grey = np.repeat(EIGHT[..., None], 3, 2)
    close(load(dicom(tmp_path, grey)).data, EIGHT / 255)
    coloured = grey.copy()
    coloured[5, 5] = (255, 0, 0)
    with pytest.raises(ReadError, match="colour"):
        load(dicom(tmp_path, coloured))
    assert float(load(dicom(tmp_path, coloured), color="luminance").data[0, 5, 5]) == pytest.approx(0.299)
    close(load(dicom(tmp_path, _ybr(EIGHT), PhotometricInterpretation="YBR_FULL")).data, EIGHT / 255)


def _ybr(grey: Any) -> Any:
    """YBR_FULL of a grey image: no chroma."""
    return np.stack([grey, np.full_like(grey, 128), np.full_like(grey, 128)], 2)


def test_compressed_dicom(tmp_path: Path) -> None:
    close(load(write_jpeg2000(tmp_path / "a.dcm", TWELVE, BitsStored=12)).data, TWELVE / 4095)


def test_what_the_header_says_is_kept(tmp_path: Path) -> None:
    tags = {
        "ViewPosition": "PA",
        "ImageLaterality": "R",
        "PixelSpacing": ["0.2", "0.3"],
        "PatientOrientation": ["L", "F"],
    }
    signal = load(dicom(tmp_path, **tags))
    assert signal.data.dtype == torch.float32
    assert signal.channels == ("grey",)
    meta = dict(signal.meta)
    assert (meta["view"], meta["laterality"], meta["spacing"], meta["orientation"]) == ("PA", "R", (0.2, 0.3), "L\\F")
    assert "Doe" not in str(meta)
    assert "4711" not in str(meta)
    assert load(dicom(tmp_path, **tags), view="pa", laterality="r").meta["view"] == "PA"
    with pytest.raises(ReadError, match=r"'PA' and .* 'AP'"):
        load(dicom(tmp_path, **tags), view="ap")
    with pytest.raises(ReadError, match="laterality"):
        load(dicom(tmp_path, **tags), laterality="L")
    assert load(dicom(tmp_path, ViewPosition="LL"), view="lateral").meta["view"] == "LL"
    code = {"CodeMeaning": "postero-anterior"}
    assert load(dicom(tmp_path, ViewCodeSequence=[code])).meta["view"] == "PA"
    oblique = {**code, "CodeMeaning": "left anterior oblique"}
    assert load(dicom(tmp_path, ViewCodeSequence=[oblique])).meta["view"] == "LEFT ANTERIOR OBLIQUE"
    zeros = load(dicom(tmp_path, PixelSpacing=["0", "0"], ImagerPixelSpacing=["0.1", "0.1"])).meta
    assert zeros["spacing"] == (0.1, 0.1)


@pytest.mark.parametrize(
    ("written", "view"),
    [
        ("pa", "PA"),
        ("AP supine", "AP"),
        ("antero-posterior", "AP"),
        ("Left lateral", "LATERAL"),
        ("ll", "LL"),
        ("L", "LATERAL"),
    ],
)
def test_views(written: str, view: str) -> None:
    assert view_name(written) == view


@pytest.mark.parametrize(
    ("tags", "fields", "message"),
    [
        ({"Modality": "CT"}, {}, "DICOM modality CT"),
        ({"Modality": "MR"}, {}, "DICOM modality MR"),
        ({"PhotometricInterpretation": "MONOCHROME"}, {}, "'MONOCHROME'"),
        ({"PhotometricInterpretation": DROPPED}, {}, "black and white are not known"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, {}, "palette"),
        ({"Rows": 64}, {}, "cut short"),
        ({"BitsStored": 8}, {}, "mend BitsStored"),
        ({"WindowCenter": "2000"}, {}, "1 window centres and 0 widths"),
        ({"WindowCenter": ["1", "2"], "WindowWidth": "5"}, {}, "2 window centres and 1 widths"),
        ({"WindowCenter": "2000", "WindowWidth": "0"}, {}, "impossible"),
        ({"WindowCenter": "2000", "WindowWidth": "-5"}, {}, "impossible"),
        ({"WindowCenter": "90000", "WindowWidth": "100"}, {}, "shows nothing"),
        ({"WindowCenter": "2000", "WindowWidth": "100", "VOILUTFunction": "CUBIC"}, {}, "'CUBIC'"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, {}, "mean nothing"),
        ({"RescaleSlope": "1"}, {}, "no RescaleIntercept"),
        ({}, {"range": "0,4095"}, "leave xray.range out"),
        ({}, {"bits": 12}, "leave xray.bits out"),
        ({}, {"frame": 1}, "frame is 1"),
        ({}, {"window": "lut"}, "window is lut"),
        ({"RescaleSlope": "1", "RescaleIntercept": "0", "ModalityLUTSequence": [TABLE]}, {}, "exclude each other"),
        ({"VOILUTSequence": [{"LUTDescriptor": [4096, 0, 12], "LUTData": b"\0\1"}]}, {}, "look-up table"),
    ],
)  # fmt: skip
def test_dicom_that_is_ambiguous_or_lies(
    tags: dict[str, Any], fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ReadError, match=message) as caught:
        load(dicom(tmp_path, **dict(tags)), **fields)
    assert "image.dcm" in str(caught.value)


def test_real_dicom(real_data: Path) -> None:
    for name, corner in (("RG1_J2KI", 0.5), ("RG3_J2KR", 0.5)):
        signal = load(real_data / f"ct_dicom/dicom_misc/{name}.dcm")
        assert signal.meta["photometric"] == "MONOCHROME1"
        middle = signal.data[0, signal.data.shape[1] // 2]
        assert float(middle.max()) > corner, "bone or the heart is bright"
    chest = load(real_data / "ct_dicom/dicom_misc/RG1_J2KI.dcm").data[0]
    lung, heart = chest[500:900, 400:700].mean(), chest[1000:1300, 850:1000].mean()
    assert lung < heart - 0.1, "lungs are dark"
    with pytest.raises(ReadError, match="modality CT"):
        load(real_data / "ct_dicom/dicom_misc/bad_sequence.dcm")
