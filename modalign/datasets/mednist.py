"""MedNIST: 58,954 images of 64 x 64 in six classes of body part and kind of imaging. Easy: for trying things out.

Source: gathered by B. J. Erickson (Mayo Clinic), offered by MONAI; CC BY-SA 4.0. There are no patients and no official
split: images are split by a hash of their content, so that equal files are in one split; neighbouring slices of one
person may still be in two.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from modalign.datasets.manifest import choice, hashed_split, seed_of, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError

CLASSES = ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")
"""The folders, and the labels."""


def prepare(root: Path, out: Path, *, split: str = "hash", seed: str = "0") -> Path:
    """Write the manifest; see the registered options.

    Raises:
        ReadError: the six folders are not there.
        RecipeError: an option has a value that is not known.
    """
    hashed, number = choice("split", split, ("hash", "none")) == "hash", seed_of(seed)
    folder = next((p for p in (root, root / "MedNIST") if (p / "AbdomenCT").is_dir()), None)
    lacking = [name for name in CLASSES if folder is None or not (folder / name).is_dir()]
    if folder is None or lacking:
        raise ReadError(f"{root}: holds no folder {lacking[0]}; give the folder MedNIST with its six folders")
    rows: list[dict[str, Any]] = []
    for name in CLASSES:
        for path in sorted([*(folder / name).glob("*.jpeg"), *(folder / name).glob("*.jpg")]):
            content = f"content-{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"
            rows.append(
                {
                    "id": f"{name}-{path.stem}",
                    "split": hashed_split(content, number) if hashed else "",
                    "group": content,
                    "label": name,
                    "xray": path.relative_to(root).as_posix(),
                }
            )
    said = f"split by a hash of the content (seed {number})" if hashed else "not split"
    about = f"MedNIST (B. J. Erickson, CC BY-SA 4.0), {said}; patients are not known"
    return write_manifest(rows, out, root, about, "xray")


register_dataset(
    PublicDataset(
        name="mednist",
        about="MedNIST: 58,954 images of 64 x 64, six kinds of body part and imaging (B. J. Erickson, CC BY-SA 4.0)",
        prepare=prepare,
        url="https://github.com/Project-MONAI/MONAI-extra-test-data/releases/tag/0.8.1",
        # The MD5 is MONAI's (monai/apps/datasets.py).
        files={
            "MedNIST.tar.gz": (
                "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/MedNIST.tar.gz",
                "md5:0bc7306e7427e00ad1c5526a6677552d",
            )
        },
        options={
            "split": "hash (default): 70 train, 10 val, 20 test in a hundred; or none",
            "seed": "of the split; 0 by default",
        },
    )
)
