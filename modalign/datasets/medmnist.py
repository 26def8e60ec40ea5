"""MedMNIST: 12 two-dimensional and 6 three-dimensional sets of small medical images, with official splits.

Source: Yang et al. 2023, doi:10.1038/s41597-022-01721-8; zenodo.org/records/10519652 (CC BY 4.0, DermaMNIST CC BY-NC).
A .npz a subset and size: `{train,val,test}_images`, uint8, and `_labels`. Nothing in it says who the patients are.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import yaml

from modalign.datasets.manifest import choice, write_manifest
from modalign.datasets.public import Options
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.datasets.unpacked import unpack_once
from modalign.errors import MissingExtraError, ReadError, RecipeError, suggest

SPLITS = ("train", "val", "test")
ADDRESS = "https://zenodo.org/records/10519652/files"
RADIOGRAPHS = ("chestmnist", "pneumoniamnist")
CT_SLICES = ("organamnist", "organcmnist", "organsmnist")
SPOKEN_OF = (*RADIOGRAPHS, *CT_SLICES, "organmnist3d", "adrenalmnist3d")
"""Whose classes are those that the modality has sentences for: another set's "normal" is no normal chest."""
NO_DENSITY = "voxels are 8-bit numbers or shapes, no Hounsfield units, and their spacing is not published"


@cache
def subsets() -> dict[str, dict[str, Any]]:
    """Name -> classes, whether an item has several, licence, and MD5 by size."""
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return loaded


def file_name(subset: str, size: int) -> str:
    """The file of a subset in a size, as its owners name it.

    Example:
        >>> file_name("chestmnist", 28), file_name("chestmnist", 64)
        ('chestmnist.npz', 'chestmnist_64.npz')
    """
    return f"{subset}.npz" if size == 28 else f"{subset}_{size}.npz"


def prepare(
    root: Path, out: Path, *, subset: str = "", size: str = "", splits: str = "train,val,test", modality: str = ""
) -> Path:
    """Unpack a subset once into a file an item, and write the manifest; see the registered options.

    Raises:
        ReadError: the .npz is absent or damaged.
        RecipeError: an option has a value that is not known.
    """
    known = _subset(subset)
    wanted = [choice("splits", part.strip(), SPLITS) for part in str(splits).split(",")]
    path = _find(root, subset, size)
    solid = subset.endswith("3d")
    usual = "ct" if solid or subset in CT_SLICES else "xray"
    modality = choice("modality", modality or usual, ("ct",) if solid else ("xray", "ct"))
    suffix = "npy" if modality == "ct" else "png"
    parts = {split: _labels(path, split, known) for split in wanted}
    rows = [
        {
            "id": f"{split}-{k:06d}",
            "split": split,
            "labels" if known["multi"] else "label": label,
            modality: f"{split}-{k:06d}.{suffix}",
        }
        for split, labels in parts.items()
        for k, label in enumerate(labels)
    ]

    def write(folder: Path) -> None:
        for split, labels in parts.items():
            images = _array(path, f"{split}_images")
            if len(images) != len(labels):
                raise ReadError(f"{path}: {split} has {len(images)} images and {len(labels)} labels; get it again")
            for k, image in enumerate(images):
                save(folder / f"{split}-{k:06d}.{suffix}", image)

    files = unpack_once(out, [path], {"splits": wanted, "suffix": suffix}, write)
    about = f"MedMNIST, {subset} ({known['licence']}), official splits, patients are not known"
    if modality == "ct":
        about += f"; {NO_DENSITY}"
    elif subset not in RADIOGRAPHS:
        about += "; no radiographs: read as plain images by the modality xray"
    defaults = {"ct.unit": "none"} if modality == "ct" else {}
    if modality == "xray" and _axes(path, f"{wanted[0]}_images") == 4:
        defaults = {"xray.color": "luminance"}
    words: dict[str, list[str]] | None = None if subset in SPOKEN_OF and modality == usual else {}
    return write_manifest(rows, out, files, about, modality, defaults=defaults, descriptions=words)


def save(path: Path, image: np.ndarray[Any, Any]) -> None:
    """One item: .npy of a volume, or of a slice as (H, W, 1); or an 8-bit PNG of (H, W) or (H, W, 3)."""
    if path.suffix == ".npy":
        if image.ndim == 3 and image.shape[2] == 3:
            raise RecipeError("--option modality=ct: the images are in colour; leave it out")
        np.save(path, image if image.ndim == 3 else image[:, :, None])
        return
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing the images of MedMNIST", "medical") from error
    Image.fromarray(image).save(path)


def _subset(name: str) -> dict[str, Any]:
    if name not in subsets():
        raise RecipeError(f"medmnist: --option subset={name}: {suggest(name, subsets())}")
    return subsets()[name]


def _find(root: Path, subset: str, size: str) -> Path:
    sizes = [int(s) for s in subsets()[subset]["md5"]]
    if size and str(size) not in {str(s) for s in sizes}:
        raise RecipeError(f"--option size={size}: {subset} comes in {', '.join(map(str, sizes))}")
    names = [file_name(subset, s) for s in ([int(size)] if size else sizes)]
    found = [root / name for name in names if (root / name).is_file()]
    if not found:
        raise ReadError(f"{root}: holds no {' or '.join(names)}; give the folder with the .npz files")
    return found[0]


def _array(path: Path, name: str) -> np.ndarray[Any, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            array: np.ndarray[Any, Any] = archive[name]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ReadError(f"{path}: has no readable array {name!r} ({str(error)[:120]}); get it again") from None
    if name.endswith("_images") and array.dtype != np.uint8:
        raise ReadError(f"{path}: {name} is {array.dtype}, and MedMNIST's images are uint8; get it again")
    return array


def _axes(path: Path, name: str) -> int:
    """How many axes an array has, by its header: the images of a split take up to 4 GB."""
    with ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        np.lib.format.read_magic(file)
        return len(np.lib.format.read_array_header_1_0(file)[0])


def _labels(path: Path, split: str, known: dict[str, Any]) -> list[str]:
    array, classes = _array(path, f"{split}_labels"), known["classes"]
    width = len(classes) if known["multi"] else 1
    most = 1 if known["multi"] else len(classes) - 1
    if array.ndim != 2 or array.shape[1] != width or array.min() < 0 or array.max() > most:
        raise ReadError(
            f"{path}: {split}_labels of shape {array.shape} do not fit {len(classes)} classes; get it again"
        )
    if known["multi"]:
        return [";".join(name for name, is_one in zip(classes, row) if is_one) for row in array]
    return [classes[int(row[0])] for row in array]


def _needed(name: str, options: Options) -> bool:
    subset = str(options.get("subset", ""))
    _subset(subset)
    return name == file_name(subset, int(options.get("size") or 28))


register_dataset(
    PublicDataset(
        name="medmnist",
        about="MedMNIST: 18 sets of small medical images, 2-D and 3-D (Yang et al. 2023, CC BY 4.0, derma CC BY-NC)",
        prepare=prepare,
        url="https://zenodo.org/records/10519652",
        files={
            file_name(subset, int(size)): (f"{ADDRESS}/{file_name(subset, int(size))}?download=1", f"md5:{md5}")
            for subset, known in subsets().items()
            for size, md5 in known["md5"].items()
        },
        needed=_needed,
        options={
            "subset": f"which (needed): {', '.join(subsets())}",
            "size": "28, 64, 128 or 224 (3-D: 28 or 64); left out: what the folder has, or 28 for a download",
            "splits": "which to unpack (train,val,test by default)",
            "modality": "2-D: xray (PNG; default) or ct (one slice a volume; default of organ*mnist); 3-D: ct",
        },
    )
)
