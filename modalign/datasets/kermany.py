"""Kermany's chest X-rays of children: normal, bacterial and viral pneumonia, with an official test set.

Source: Kermany, Zhang, Goldbaum 2018, doi:10.17632/rscbjbr9sj.2 (CC BY 4.0). The class is in the folder (NORMAL) or in
the file name (person1_bacteria_1.jpeg), the patient in the name. The numbers of train and test may be counted apart,
so equal numbers in both are no proof of one patient: the split is marked as the data set's own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from modalign.datasets.manifest import choice, held_out, seed_of, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError

SUFFIXES = (".jpeg", ".jpg", ".png")
SICK = re.compile(r"(?P<patient>person\d+)_(?P<kind>bacteria|virus)_\d+", re.IGNORECASE)
WELL = re.compile(r"(?P<patient>(?:NORMAL\d*-)?IM-\d+)(?:-\d+)*", re.IGNORECASE)
KINDS = {"bacteria": "bacterial pneumonia", "virus": "viral pneumonia"}


def prepare(root: Path, out: Path, *, classes: str = "3", seed: str = "0") -> Path:
    """Write the manifest; see the registered options.

    Raises:
        ReadError: there are no train and test folders, or a file's name says no class.
        RecipeError: an option has a value that is not known.
    """
    three, number = choice("classes", classes, ("2", "3")) == "3", seed_of(seed)
    folder = next((p for p in (root, *sorted(root.glob("*/")), *sorted(root.glob("*/*/"))) if _is_it(p)), None)
    if folder is None:
        raise ReadError(f"{root}: holds no folders train and test; give the folder chest_xray")
    rows: list[dict[str, Any]] = []
    for part in ("train", "val", "test"):
        for path in sorted(p for p in (folder / part).rglob("*") if p.suffix.lower() in SUFFIXES):
            if path.name.startswith("."):
                continue
            patient, label = _read_name(path)
            # The 16 images that some copies keep in val come out of train, and are too few to choose by.
            split = "test" if part == "test" else held_out(patient, number)
            rows.append(
                {
                    "id": f"{part}-{path.stem}",
                    "split": split,
                    "group": patient,
                    "label": label if three or label == "normal" else "pneumonia",
                    "xray": path.relative_to(root).as_posix(),
                }
            )
    about = "Kermany et al. 2018 (CC BY 4.0), official test set; val is a tenth of the train patients"
    return write_manifest(rows, out, root, about, "xray", official_split=True)


def _is_it(folder: Path) -> bool:
    return (folder / "train").is_dir() and (folder / "test").is_dir()


def _read_name(path: Path) -> tuple[str, str]:
    """(patient, label) of a file."""
    sick, well = SICK.match(path.stem), WELL.fullmatch(path.stem)
    if sick is not None:
        return sick["patient"].lower(), KINDS[sick["kind"].lower()]
    if well is not None and path.parent.name.upper() == "NORMAL":
        return well["patient"].upper(), "normal"
    raise ReadError(f"{path}: its name and folder say no class (person1_virus_6.jpeg, or NORMAL/IM-0001-0001.jpeg)")


register_dataset(
    PublicDataset(
        name="kermany",
        about="Chest X-rays of children: normal, bacterial and viral pneumonia (Kermany et al. 2018, CC BY 4.0)",
        prepare=prepare,
        url="https://data.mendeley.com/datasets/rscbjbr9sj/2",
        # Several public projects that fetched this address state this SHA-256 (1,235,512,464 bytes).
        files={
            "ChestXRay2017.zip": (
                "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/"
                "f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded",
                "sha256:13efc055629733dbab07877f8b3c9f81097840dbcdaa326a8542322c2281ce36",
            )
        },
        options={
            "classes": "3 (default), or 2: normal and pneumonia",
            "seed": "of the choice of val patients; 0 by default",
        },
    )
)
