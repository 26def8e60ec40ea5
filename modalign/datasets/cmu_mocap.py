"""CMU Graphics Lab Motion Capture Database: optical motion capture, 120 frames a second, with short descriptions.

Source: mocap.cs.cmu.edu (free for research and products, not to be resold as such; NSF EIA-0196217). Each clip is an
AMC file, each person's skeleton an ASF file. Descriptions come from a table beside the clips: the owners' index as text
(`01_01<tab>playground - forward jumps`), or `manifest.csv` with the columns path and text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from modalign.datasets.manifest import choice, hashed_split, read_table, seed_of, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError

CLIP = re.compile(r"(?P<subject>\d+)_(?P<clip>\d+)")
INDEX = "*index*.txt"
LINE = re.compile(r"(?P<clip>\d+_\d+)(?:\.amc)?[\s,;]+(?P<text>\S.*)")


def prepare(root: Path, out: Path, *, split: str = "hash", seed: str = "0") -> Path:
    """Write the manifest; see the registered options.

    Raises:
        ReadError: there is no clip, or a clip has no skeleton.
        RecipeError: an option has a value that is not known.
    """
    hashed, number = choice("split", split, ("hash", "none")) == "hash", seed_of(seed)
    skeletons = {path.name.partition(".")[0].lstrip("0"): path for path in _find(root, "asf")}
    texts = descriptions(root)
    rows: list[dict[str, Any]] = []
    for path in _find(root, "amc"):
        clip = path.name.partition(".")[0]
        match = CLIP.fullmatch(clip)
        if match is None:
            raise ReadError(f"{path}: is not named SUBJECT_CLIP.amc, as 01_02.amc; mend its name")
        if match["subject"].lstrip("0") not in skeletons:
            raise ReadError(f"{path}: the skeleton {match['subject']}.asf is nowhere under {root}; copy it too")
        group = f"subject-{int(match['subject']):03d}"
        text = texts.get(clip, "")
        rows.append(
            {
                "id": clip,
                "split": hashed_split(group, number) if hashed else "",
                "group": group,
                "cluster": clip,
                "label": text.split(" - ")[0].strip().lower() if " - " in text else "",
                "text": text,
                "motion": path.relative_to(root).as_posix(),
                "skeleton": skeletons[match["subject"].lstrip("0")].relative_to(root).as_posix(),
            }
        )
    said = f"split by a hash of the subject (seed {number})" if hashed else "not split"
    return write_manifest(rows, out, root, f"CMU motion capture (mocap.cs.cmu.edu), {said}", "motion")


def _find(root: Path, kind: str) -> list[Path]:
    return sorted(p for p in root.rglob(f"*.{kind}*") if p.name.lower().endswith((f".{kind}", f".{kind}.gz")))


def descriptions(root: Path) -> dict[str, str]:
    """Clip -> description, from `manifest.csv` or an index as text; empty where there is neither."""
    table = root / "manifest.csv"
    if table.is_file():
        rows = read_table(table, ("path", "text"))
        return {Path(path).name.partition(".")[0]: text.strip() for path, text in zip(rows["path"], rows["text"])}
    found: dict[str, str] = {}
    for path in sorted(root.rglob(INDEX)):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if match := LINE.fullmatch(line.strip()):
                found.setdefault(match["clip"], " ".join(match["text"].split()))
    return found


register_dataset(
    PublicDataset(
        name="cmu-mocap",
        about="CMU motion capture: 2,605 clips of 144 subjects with short descriptions (mocap.cs.cmu.edu)",
        prepare=prepare,
        url="http://mocap.cs.cmu.edu (AMC and ASF files, and the index of descriptions as text)",
        options={
            "split": "hash (default): 70 train, 10 val, 20 test in a hundred, by subject; or none",
            "seed": "of the split; 0 by default",
        },
    )
)
