"""ESC-50 and its ESC-10 part: environmental sounds, 5 s each, in five official folds.

Source: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015. ESC-50 is CC BY-NC, ESC-10
CC BY. Clips of one source recording stay in one fold, so folds never share groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from modalign.datasets.manifest import read_table, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError, RecipeError, suggest

FOLDS = 5
ESC10_NAMES = {
    "dog bark": "dog",
    "baby cry": "crying baby",
    "person sneeze": "sneezing",
    "fire crackling": "crackling fire",
}
"""What the older ESC-10 calls classes otherwise."""
CLIP = re.compile(r"(?P<fold>[1-5])-(?P<source>\d+)-(?P<take>[A-Z])(-\d+)?")


def prepare_esc50(root: Path, out: Path, part: str = "", fold: str | int = FOLDS) -> Path:
    """Write a manifest of ESC-50, or of ESC-10.

    Args:
        root: the official folder (meta/esc50.csv and audio/*.wav), or ESC-10's (manifest.csv and a folder a class).
        out: the manifest.
        part: "esc50" or "esc10"; empty takes what the folder has.
        fold: the test fold, 1 to 5; the one before it (5 before 1) is val.

    Raises:
        RecipeError: no such part or fold.
        ReadError: the folder is neither, or files are missing.
    """
    if part not in ("", "esc50", "esc10"):
        raise RecipeError(f"esc50: no part {part!r}: {suggest(part, ('esc50', 'esc10'))}")
    if str(fold) not in {str(k) for k in range(1, FOLDS + 1)}:
        raise RecipeError(f"esc50: fold is 1 to {FOLDS}, not {fold!r}")
    test = int(fold)
    val = (test - 2) % FOLDS + 1
    table = _clips(root, part)
    names = {test: "test", val: "val"}
    rows = pd.DataFrame(
        {
            "id": table["id"],
            "split": [names.get(k, "train") for k in table["fold"]],
            "group": [f"source-{s}" for s in table["source"]],
            "cluster": table["id"],
            "label": table["label"],
            "audio": table["path"],
            "fold": table["fold"],
        }
    )
    kind = "ESC-10" if len(set(table["label"])) <= 10 else "ESC-50"
    about = f"{kind} (Piczak 2015), official folds: test {test}, val {val}, train the other three"
    return write_manifest(rows, out, root, about, "audio")


def _clips(root: Path, part: str) -> pd.DataFrame:
    """id, path (relative to root), label, fold, source of each clip."""
    roots = [root, *(p for p in sorted(root.glob("ESC-50*")) if p.is_dir())]
    for folder in roots:
        if (folder / "meta" / "esc50.csv").is_file():
            return _official(folder, root, part)
    if (root / "manifest.csv").is_file():
        if part == "esc50":
            raise ReadError(f"{root}: holds ESC-10 alone; leave part out, or give ESC-50's folder")
        return _esc10(root)
    raise ReadError(
        f"{root}: has neither meta/esc50.csv (ESC-50) nor manifest.csv (ESC-10); give the data set's folder"
    )


def _official(folder: Path, root: Path, part: str) -> pd.DataFrame:
    path = folder / "meta" / "esc50.csv"
    table = read_table(path, ("filename", "fold", "category", "esc10"))
    if part == "esc10":
        table = table[table["esc10"].str.lower() == "true"]
    audio = (folder / "audio").relative_to(root).as_posix()
    return _frame(path, [f"{audio}/{name}" for name in table["filename"]], table["fold"], table["category"])


def _esc10(root: Path) -> pd.DataFrame:
    path = root / "manifest.csv"
    table = read_table(path, ("path", "label", "fold"))
    return _frame(path, table["path"], table["fold"], table["label"].map(lambda label: ESC10_NAMES.get(label, label)))


def _frame(table: Path, paths: Iterable[str], folds: Iterable[str], labels: Iterable[str]) -> pd.DataFrame:
    rows = []
    for path, fold, label in zip(paths, folds, labels):
        match = CLIP.fullmatch(Path(path).stem)
        if match is None or match["fold"] != str(fold):
            raise ReadError(f"{table}: {path!r} with fold {fold} is no clip of ESC (fold-source-take); mend the table")
        rows.append(
            {
                "id": Path(path).stem,
                "path": path,
                "label": str(label).replace("_", " "),
                "fold": int(fold),
                "source": match["source"],
            }
        )
    return pd.DataFrame(rows)


register_dataset(
    PublicDataset(
        name="esc50",
        about="ESC-50, or its ESC-10 part: environmental sounds, 5 folds; K. J. Piczak, CC BY-NC (ESC-10 CC BY)",
        prepare=prepare_esc50,
        url="https://github.com/karolpiczak/ESC-50",
        # The MD5 is soundata's (soundata/datasets/esc50.py) and PaddleAudio's.
        files={
            "ESC-50-master.zip": (
                "https://github.com/karoldvl/ESC-50/archive/master.zip",
                "md5:7771e4b9d86d0945acce719c7a59305a",
            )
        },
        options={
            "part": "esc50 or esc10; left out: what the folder has",
            "fold": "the test fold, 1 to 5 (default 5); the one before it is val",
        },
    )
)
