"""CPSC2018: 6,877 12-lead ECGs of 6 to 60 s at 500 Hz, nine labels.

Two layouts: the organisers' (REFERENCE.csv and MATLAB v5 files, maybe in TrainingSet1 to 3), and PhysioNet's (.hea and
.mat with SNOMED codes). Source: Liu et al. 2018, doi:10.1166/jmihi.2018.2442; 2018.icbeb.org/Challenge.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from modalign.datasets.ecg_records import fingerprint, headers
from modalign.datasets.manifest import choice, hashed_split, seed_of, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError
from modalign.modalities.ecg.leads import STANDARD

LABELS = (
    "normal ECG",
    "atrial fibrillation",
    "first degree AV block",
    "left bundle branch block",
    "right bundle branch block",
    "premature atrial contraction",
    "premature ventricular contractions",
    "ST depression",
    "ST elevation",
)
"""REFERENCE.csv's numbers 1 to 9."""
SNOMED = dict(
    zip(
        (
            "426783006",
            "164889003",
            "270492004",
            "164909002",
            "59118001",
            "284470004",
            "164884008",
            "429622005",
            "164931005",
        ),
        LABELS,
    )
)


def prepare(root: Path, out: Path, *, split: str = "hash", seed: str = "0") -> Path:
    """Write the manifest; see the registered options.

    Raises:
        ReadError: neither layout is there, or a file is damaged.
        RecipeError: an option has a value that is not known.
    """
    hashed, number = choice("split", split, ("hash", "none")) == "hash", seed_of(seed)
    about = "CPSC2018 (Liu et al. 2018); " + (f"split by a hash (seed {number})" if hashed else "not split")
    references = sorted(root.rglob("REFERENCE.csv"))
    if references:
        rows = [row for reference in references for row in _by_reference(reference, root)]
        rows = list({row["id"]: row for row in rows}.values())
        defaults = {"ecg.rate": 500, "ecg.unit": "mV", "ecg.leads": ", ".join(STANDARD)}
    else:
        rows, defaults = _by_headers(root), {}
    for row in rows:
        row["split"] = hashed_split(row["group"], number) if hashed else ""
    return write_manifest(rows, out, root, about, "ecg", defaults=defaults)


def _by_reference(reference: Path, root: Path) -> list[dict[str, Any]]:
    try:
        table = pd.read_csv(reference)
    except Exception as error:  # pandas has errors of many classes
        raise ReadError(f"{reference}: not a readable CSV file ({str(error)[:120]}); copy it again") from error
    columns = [c for c in table.columns if c.endswith("_label")]
    if "Recording" not in table.columns or not columns:
        raise ReadError(f"{reference}: has no columns Recording and First_label; copy it again")
    files = {path.stem: path for path in sorted(root.rglob("*.mat"))}
    rows = []
    for record in table.to_dict("records"):
        name = str(record["Recording"])
        if name not in files:
            continue
        numbers = [int(record[c]) for c in columns if pd.notna(record[c])]
        if not all(1 <= n <= len(LABELS) for n in numbers):
            raise ReadError(f"{reference}: {name}: the labels {numbers} are not from 1 to {len(LABELS)}")
        rows.append(_row(name, [LABELS[n - 1] for n in numbers], files[name].relative_to(root).as_posix(), name))
    return rows


def _by_headers(root: Path) -> list[dict[str, Any]]:
    rows = []
    for path, header in headers(root):
        labels = [SNOMED[code] for code in header.codes if code in SNOMED]
        if header.path.stem.startswith("A"):
            rows.append(_row(header.path.stem, labels, path, f"signal-{fingerprint(header)}"))
    return rows


def _row(name: str, labels: list[str], path: str, group: str) -> dict[str, Any]:
    return {"id": name, "split": "", "group": group, "labels": ";".join(dict.fromkeys(labels)), "ecg": path}


register_dataset(
    PublicDataset(
        name="cpsc2018",
        about="CPSC2018: 6,877 12-lead ECGs of 6 to 60 s, nine labels (Liu et al. 2018)",
        prepare=prepare,
        url="https://physionet.org/content/challenge-2020/ (folder cpsc_2018), or 2018.icbeb.org/Challenge.html",
        sums="https://physionet.org/files/challenge-2020/1.0.2/SHA256SUMS.txt",
        needed=lambda name, options: name.startswith("training/cpsc_2018/") and name.endswith((".hea", ".mat")),
        options={
            "split": "hash (default): 70 train, 10 val, 20 test in a hundred, as its test set is not public; or none",
            "seed": "of the split; 0 by default",
        },
    )
)
