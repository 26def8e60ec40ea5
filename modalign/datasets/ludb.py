"""LUDB: 200 12-lead ECGs of 10 s at 500 Hz, one a person, with diagnoses in the headers' comments.

Source: Kalyakulina et al. 2020, doi:10.1109/ACCESS.2020.3029211; physionet.org/content/ludb (ODC-By).
"""

from __future__ import annotations

from pathlib import Path

from modalign.datasets.ecg_records import headers
from modalign.datasets.manifest import choice, hashed_split, seed_of, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError

_PERSON = ("<age>", "<sex>", "age:", "sex:")


def diagnoses(comments: tuple[str, ...]) -> list[str]:
    """The statements in a header's comments, lower case, each once.

    Example:
        >>> diagnoses(("#<age>: 51", "#<diagnoses>:", "#Rhythm: Sinus bradycardia.", "#Left atrial overload."))
        ['sinus bradycardia', 'left atrial overload']
    """
    said = []
    for line in comments:
        text = line.lstrip("# ").strip().rstrip(".").strip()
        if not text or text.lower().startswith(_PERSON) or text.lower().startswith("<diagnos"):
            continue
        head, colon, tail = text.partition(":")
        if colon and head.strip().lower() == "rhythm":
            text = tail
        elif colon and head.strip().lower().startswith("electric axis"):
            text = f"electrical axis: {tail.strip()}"
        said.append(" ".join(text.replace(";", ",").split()).lower())
    return list(dict.fromkeys(part for part in said if part))


def rhythm(comments: tuple[str, ...]) -> list[str]:
    """The rhythm alone."""
    lines = [line for line in comments if line.lstrip("# ").lower().startswith("rhythm")]
    return diagnoses(tuple(lines))


def prepare(root: Path, out: Path, *, task: str = "all", split: str = "hash", seed: str = "0") -> Path:
    """Write the manifest; see the registered options.

    Raises:
        ReadError: there is no record, or a header is damaged.
        RecipeError: an option has a value that is not known.
    """
    task = choice("task", task, ("all", "rhythm"))
    hashed, number = choice("split", split, ("hash", "none")) == "hash", seed_of(seed)
    rows = []
    for path, header in headers(root):
        if not any(line.lstrip("# ").lower().startswith(("<diagnos", "rhythm")) for line in header.comments):
            raise ReadError(
                f"{header.path}: has no diagnoses as LUDB's headers have them (<diagnoses>, Rhythm: ...); give the "
                "folder of LUDB"
            )
        labels = rhythm(header.comments) if task == "rhythm" else diagnoses(header.comments)
        person = f"ludb-{header.path.stem}"
        rows.append(
            {
                "id": person,
                "split": hashed_split(person, number) if hashed else "",
                "group": person,
                "labels": ";".join(labels),
                "ecg": path,
            }
        )
    about = f"LUDB (Kalyakulina et al. 2020, ODC-By), {task} labels; " + (
        f"hash split, seed {number}" if hashed else "not split"
    )
    return write_manifest(rows, out, root, about, "ecg")


register_dataset(
    PublicDataset(
        name="ludb",
        about="LUDB: 200 12-lead ECGs of 10 s at 500 Hz with diagnoses (Kalyakulina et al. 2020, ODC-By)",
        prepare=prepare,
        url="https://physionet.org/content/ludb/",
        sums="https://physionet.org/files/ludb/1.0.1/SHA256SUMS.txt",
        needed=lambda name, options: name.startswith("data/") and name.endswith((".hea", ".dat")),
        options={
            "task": "all (default): rhythm, axis and every diagnosis; or rhythm",
            "split": "hash (default): 70 train, 10 val, 20 test in a hundred; or none",
            "seed": "of the split; 0 by default",
        },
    )
)
