"""NIH ChestX-ray14: 112,120 frontal chest X-rays of 30,805 patients, 14 findings mined from reports.

Source: Wang et al. 2017, arXiv:1705.02315; nihcc.app.box.com/v/ChestXray-NIHCC. A table of all images, official lists
of the test images and of the rest (by patient), and twelve archives of images; some of them are enough.
"""

from __future__ import annotations

from pathlib import Path

from modalign.datasets.manifest import choice, held_out, read_table, seed_of, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
NOTHING = "No Finding"
FINDINGS = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Effusion": "pleural effusion",
    "Emphysema": "emphysema",
    "Fibrosis": "fibrosis",
    "Hernia": "hernia",
    "Infiltration": "infiltration",
    "Mass": "mass",
    "Nodule": "nodule",
    "Pleural_Thickening": "pleural thickening",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}


def labels_of(cell: str, where: str, nothing: bool = True) -> list[str]:
    """The labels of a cell such as `Effusion|Mass`.

    Raises:
        ReadError: a finding is not known.

    Example:
        >>> labels_of("Effusion|Mass", ""), labels_of("No Finding", ""), labels_of("No Finding", "", nothing=False)
        (['pleural effusion', 'mass'], ['no finding'], [])
    """
    if cell.strip() == NOTHING:
        return ["no finding"] if nothing else []
    parts = [part.strip() for part in cell.split("|")]
    for part in parts:
        if part not in FINDINGS:
            raise ReadError(f"{where}: finding {part!r} is not one of {', '.join(FINDINGS)}; get the table again")
    return [FINDINGS[part] for part in parts]


def prepare(root: Path, out: Path, *, no_finding: str = "label", seed: str = "0") -> Path:
    """Write the manifest; see the registered options.

    Raises:
        ReadError: the table or a list is absent or damaged, or no image is there.
        RecipeError: an option has a value that is not known.
    """
    nothing, number = choice("no_finding", no_finding, ("label", "none")) == "label", seed_of(seed)
    path = next((root / name for name in TABLES if (root / name).is_file()), root / TABLES[0])
    table = read_table(path, ("Image Index", "Finding Labels", "Patient ID", "View Position"))
    official = {name: split for split, file in LISTS.items() for name in _names(root / file)}
    images = {p.name: p.relative_to(root).as_posix() for p in root.rglob("*.png")}
    rows, absent = [], 0
    for record in table.to_dict("records"):
        name = str(record["Image Index"])
        if name not in images:
            absent += 1
            continue
        if name not in official:
            raise ReadError(f"{path}: {name} is in neither {' nor '.join(LISTS.values())}; get the lists again")
        patient = f"patient-{int(record['Patient ID']):05d}"
        rows.append(
            {
                "id": Path(name).stem,
                "split": "test" if official[name] == "test" else held_out(patient, number),
                "group": patient,
                "labels": ";".join(labels_of(str(record["Finding Labels"]), f"{path}: {name}", nothing)),
                "xray": images[name],
                "xray.view": str(record["View Position"]).strip(),
            }
        )
    about = "NIH ChestX-ray14 (Wang et al. 2017), official test patients; val is a tenth of the others"
    if absent:
        about += f"; {absent} images of the table are not under the root and are left out"
    return write_manifest(rows, out, root, about, "xray")


def _names(path: Path) -> list[str]:
    if not path.is_file():
        raise ReadError(f"{path}: no such file; get the official list from the owner, beside the images")
    return path.read_text(encoding="utf-8").split()


register_dataset(
    PublicDataset(
        name="chestxray14",
        about="NIH ChestX-ray14: 112,120 chest X-rays, 14 findings a row or more (Wang et al. 2017, CC0)",
        prepare=prepare,
        url="https://nihcc.app.box.com/v/ChestXray-NIHCC (images, Data_Entry_2017_v2020.csv and both lists)",
        options={
            "no_finding": "label (default): 'no finding' is a label; or none: such rows have no label",
            "seed": "of the choice of val patients; 0 by default",
        },
    )
)
