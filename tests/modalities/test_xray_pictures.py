"""X-ray pictures and arrays: the range that the container says, and refusals of what is damaged or ambiguous."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modalign.errors import ReadError
from modalign.modalities import get_modality
from tests.modalities.xray_files import picture, write_picture, write_png_header

load = get_modality("xray").load
EIGHT, TWELVE, SIXTEEN = picture(), picture(high=4095), picture(high=65_535)


def close(data: torch.Tensor, expected: Any) -> None:
    np.testing.assert_allclose(data[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN], ids=["8", "16"])
def test_a_white_is_zero_tiff(pixels: Any, tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.tiff", pixels)
    content = bytearray(path.read_bytes())
    at = content.index((262).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    content[at + 8] = 0
    path.write_bytes(content)
    close(load(path).data, 1 - pixels / np.iinfo(pixels.dtype).max)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_pictures_of_8_and_16_bits(suffix: str, tmp_path: Path) -> None:
    path = write_picture(tmp_path / f"a.{suffix}", EIGHT)
    close(load(path).data, EIGHT / 255)
    assert load(path).meta["format"] == suffix
    close(load(write_picture(path, SIXTEEN)).data, SIXTEEN / 65_535)
    dim = write_picture(path, TWELVE)
    with pytest.raises(ReadError, match=r"no value above 4095.*xray\.bits"):
        load(dim)
    close(load(dim, bits=12).data, TWELVE / 4095)
    close(load(dim, bits="16").data, TWELVE / 65_535)
    close(load(dim, range="0,5000").data, TWELVE / 5000)
    with pytest.raises(ReadError, match="bits is 10"):
        load(dim, bits=10)


def test_jpeg_and_grey_in_colour_containers(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.jpeg", EIGHT, quality=95)
    np.testing.assert_allclose(load(path).data[0].numpy(), EIGHT / 255, atol=0.2)
    grey = np.repeat(EIGHT[..., None], 3, 2)
    close(load(write_picture(tmp_path / "b.png", grey)).data, EIGHT / 255)
    opaque = np.concatenate([grey, np.full_like(grey[..., :1], 255)], 2)
    close(load(write_picture(tmp_path / "c.png", opaque)).data, EIGHT / 255)
    Image.fromarray(EIGHT).convert("P").save(tmp_path / "p.png")
    close(load(tmp_path / "p.png").data, EIGHT / 255)
    coloured = grey.copy()
    coloured[..., 0] //= 2
    with pytest.raises(ReadError, match=r"colour.*xray\.color"):
        load(write_picture(tmp_path / "d.png", coloured))
    close(load(tmp_path / "d.png", color="luminance").data, coloured / 255 @ np.array([0.299, 0.587, 0.114]))


def test_the_orientation_that_a_camera_wrote(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 2  # mirrored left to right
    path = write_picture(tmp_path / "a.png", EIGHT, exif=exif)
    close(load(path).data, EIGHT[:, ::-1] / 255)


def _alpha(path: Path) -> Path:
    pixels = np.repeat(EIGHT[..., None], 4, 2)
    return write_picture(path, pixels)


def _pages(path: Path) -> Path:
    pages = [Image.fromarray(EIGHT), Image.fromarray(EIGHT[::-1].copy())]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def _checksum(path: Path) -> Path:
    """A PNG whose pixels decode, and whose checksum says that they are not what was written."""
    content = bytearray(write_picture(path, EIGHT).read_bytes())
    content[content.index(b"IEND") - 5] ^= 0xFF
    path.write_bytes(content)
    return path


def _cut(path: Path, pixels: Any = EIGHT, share: float = 0.5) -> Path:
    content = write_picture(path, pixels).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _saved(path: Path, array: Any) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def _convert(path: Path, mode: str) -> Path:
    Image.fromarray(EIGHT).convert(mode).save(path)
    return path


def _as(path: Path, kind: str) -> Path:
    Image.fromarray(EIGHT).save(path, kind)
    return path


def _text(path: Path) -> Path:
    path.write_text("no image at all\n" * 20)
    return path


def _clear_grey(path: Path) -> Path:
    Image.fromarray(SIXTEEN).save(path, transparency=60_000)
    return path


VAST = str({"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})


def _header(path: Path, text: str) -> Path:
    """A .npy file that says `text` of itself, and holds 80 bytes."""
    path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + text.ljust(117).encode() + b"\n" + bytes(80))
    return path


BAD = {
    "alpha.png": (_alpha, {}, "transparent"),
    "cmyk.jpeg": (lambda p: _convert(p, "CMYK"), {}, "'CMYK'"),
    "two-values.png": (lambda p: _convert(p, "1"), {}, "mode '1'"),
    "deep-colour.png": (lambda p: write_png_header(p, 64, 64, 16, 2), {}, "16-bit colour"),
    "bomb.png": (lambda p: write_png_header(p, 60_000, 60_000), {}, "more pixels"),
    "large.png": (lambda p: write_png_header(p, 12_000, 12_000), {}, "12000 x 12000"),
    "empty-data.png": (lambda p: write_png_header(p, 64, 64), {}, "damaged or cut short"),
    "checksum.png": (_checksum, {}, "damaged"),
    "cut.png": (_cut, {}, "damaged"),
    "cut.jpeg": (_cut, {}, "damaged"),
    "cut.tiff": (_cut, {}, "damaged"),
    "pages.tiff": (_pages, {}, "2 images"),
    "pages-3.tiff": (_pages, {"frame": 3}, "frame is 3"),
    "gif.png": (lambda p: _as(p, "GIF"), {}, "no PNG, JPEG, TIFF"),
    "text.png": (_text, {}, "no PNG, JPEG, TIFF"),
    "blank.png": (lambda p: write_picture(p, np.full((32, 32), 7, np.uint8)), {}, "blank"),
    "small.png": (lambda p: write_picture(p, EIGHT[:4, :4]), {}, "4 x 4"),
    "range.png": (lambda p: write_picture(p, EIGHT), {"range": "0,255"}, "leave xray.range out"),
    "bits.png": (lambda p: write_picture(p, EIGHT), {"bits": 12}, "bits is 12"),
    "float.tiff": (lambda p: write_picture(p, EIGHT.astype(np.float32)), {}, "xray.range"),
    "float-beyond.tiff": (lambda p: write_picture(p, EIGHT.astype(np.float32)), {"range": "0,200"}, "beyond"),
    "long.tiff": (lambda p: write_picture(p, EIGHT.astype(np.int32)), {}, "xray.range"),
    "clear-grey.png": (_clear_grey, {}, "stands for transparent"),
    "vast.npy": (lambda p: _header(p, VAST), {}, "no readable .npy"),
    "no-header.npy": (lambda p: _header(p, "{junk"), {}, "no readable .npy"),
    "zip.npy": (lambda p: p.write_bytes(b"PK\3\4junk") and p, {}, "several arrays"),
    "objects.npy": (lambda p: _saved(p, np.array([{"a": 1}])), {}, "no readable .npy"),
    "no-range.npy": (lambda p: _saved(p, TWELVE), {}, "xray.range"),
    "archive.npy": (lambda p: np.savez(p.open("wb"), a=TWELVE) or p, {}, "no readable|several arrays"),
    "cut.npy": (lambda p: p.write_bytes(_saved(p, TWELVE).read_bytes()[:90]) and p, {}, "no readable .npy"),
    "not.dcm": (lambda p: write_picture(p.with_suffix(".png"), EIGHT).rename(p), {}, "no DICOM file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_pictures_that_are_damaged_or_ambiguous(name: str, tmp_path: Path) -> None:
    make, fields, message = BAD[name]
    path = make(tmp_path / name)
    with pytest.raises(ReadError, match=message) as caught:
        load(path, **fields)
    assert name in str(caught.value)


def test_truncated_files_are_refused_whatever_another_package_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ReadError, match="damaged"):
        load(_cut(tmp_path / "cut.jpeg", share=0.7))
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_arrays(tmp_path: Path) -> None:
    close(load(TWELVE, range="0,4095").data, TWELVE / 4095)
    close(load(torch.from_numpy(EIGHT)[None]).data, EIGHT / 255)
    close(load(EIGHT[..., None]).data, EIGHT / 255)
    close(load(np.repeat(EIGHT[None], 3, 0)).data, EIGHT / 255)
    close(load(_saved(tmp_path / "a.npy", TWELVE), range=(0, 4095)).data, TWELVE / 4095)
    close(load(TWELVE * 2.0 - 1000, range="-1000,7190").data, TWELVE / 4095)
    for wrong, fields, message in [
        (TWELVE, {}, "xray.range"),
        (TWELVE, {"range": "0,1000"}, "beyond"),
        (TWELVE > 100, {}, "holds bool"),
        (np.zeros((3, 4, 5, 6), np.uint8), {}, "shape"),
        (np.zeros((0, 5), np.uint8), {}, "shape"),
        (np.zeros((20, 20, 7), np.uint8), {}, "shape"),
        (np.where(TWELVE > 4000, np.nan, TWELVE), {"range": "0,4095"}, "NaN"),
        ({"a": 1}, {}, "give a path"),
    ]:
        with pytest.raises(ReadError, match=message):
            load(wrong, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"range": "255"}, "two numbers"),
        ({"range": "255,0"}, "below the one for white"),
        ({"range": "0,inf"}, "below"),
        ({"window": "wide"}, "lut1"),
        ({"frame": -1}, "frame"),
        ({"bits": 17}, "bits"),
        ({"laterality": "left"}, "laterality"),
        ({"color": "red"}, "color"),
        ({"photometric": "negative"}, "photometric"),
        ({"rate": 5}, "not a field"),
    ],
)
def test_fields_that_are_wrong(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=message):
        load(write_picture(tmp_path / "a.png", EIGHT), **fields)


def test_real_pictures(real_data: Path) -> None:
    for path in sorted((real_data / "cxr_hannover24/png").glob("*.png")):
        signal = load(path, view="PA")
        assert signal.data.shape[2] == 640
        assert 0.05 < float(signal.data.mean()) < 0.8
        assert float(signal.data.max()) > 0.5
    for folder in ("cxr_kermany3/train", "cxr_kermany3/test"):
        for path in sorted((real_data / folder).rglob("*.jpeg"))[::60]:
            assert load(path).data.shape == (1, 224, 224)
    assert load(sorted((real_data / "img_mednist6/Hand").glob("*.jpeg"))[0]).data.shape == (1, 64, 64)
    with pytest.raises(ReadError, match="is a folder"):
        load(real_data / "cxr_hannover24")
