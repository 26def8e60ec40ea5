"""PhysioNet/CinC challenges of 2020 and 2021: 12-lead ECGs of several sources, SNOMED codes in the headers.

Source: physionet.org/content/challenge-2020 and challenge-2021 (CC BY 4.0): a tree of .hea and .mat files.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from modalign.datasets.ecg_records import fingerprint, headers
from modalign.datasets.manifest import choice, hashed_split, seed_of, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.datasets.snomed import snomed_names

SOURCES = {
    "A": "CPSC", "Q": "CPSC-Extra", "I": "INCART", "S": "PTB", "HR": "PTB-XL", "E": "Georgia", "JS": "Chapman-Ningbo",
}  # fmt: skip
"""What a record's name begins with -> where it comes from."""
YEARS = {"2020": ("A", "Q", "I", "S", "HR", "E"), "2021": tuple(SOURCES)}


def prepare(
    root: Path, out: Path, *, year: str, labels: str = "all", merge: str = "yes", split: str = "hash", seed: str = "0"
) -> Path:
    """Write the manifest; see the registered options. Records with the same signals share a group, hence a split.

    Raises:
        ReadError: there is no record, or a header is damaged.
        RecipeError: an option has a value that is not known.
    """
    scored = choice("labels", labels, ("all", "scored")) == "scored"
    one = choice("merge", merge, ("yes", "no")) == "yes"
    hashed = choice("split", split, ("hash", "none")) == "hash"
    number = seed_of(seed)
    rows: list[dict[str, Any]] = []
    stems: dict[str, int] = {}
    for path, header in headers(root):
        stem = header.path.stem
        # A name that stands twice (a source unpacked into two folders) keeps its folder, so that ids stay unique.
        stems[stem] = stems.get(stem, 0) + 1
        group = f"signal-{fingerprint(header)}"
        prefix = re.match(r"[A-Za-z]*", stem)
        rows.append(
            {
                "id": stem if stems[stem] == 1 else path.removesuffix(".hea"),
                "split": hashed_split(group, number) if hashed else "",
                "group": group,
                "labels": ";".join(snomed_names(header.codes, scored, one)),
                "ecg": path,
                "source": SOURCES.get(prefix[0] if prefix else "", "unknown"),
            }
        )
    known = {SOURCES[key] for key in YEARS[year]} | {"unknown"}
    rows = [row for row in rows if row["source"] in known]
    said = f"split by a hash of the signals (seed {number})" if hashed else "not split"
    about = f"PhysioNet/CinC challenge {year} (CC BY 4.0), {labels} labels, {said}; patients are not known"
    return write_manifest(rows, out, root, about, "ecg")


OPTIONS = {
    "labels": "all (default) or scored (the 30 codes of the challenge of 2021)",
    "merge": "yes (default): pairs that the challenge scored as one diagnosis are one label; or no",
    "split": "hash (default): 70 train, 10 val, 20 test in a hundred, since there is no official one; or none",
    "seed": "of the split; 0 by default",
}

for _year, _version, _count in (("2020", "1.0.2", "43,101"), ("2021", "1.0.3", "88,253")):
    register_dataset(
        PublicDataset(
            name=f"cinc{_year}",
            about=f"PhysioNet/CinC challenge {_year}: {_count} 12-lead ECGs with SNOMED codes (CC BY 4.0)",
            prepare=partial(prepare, year=_year),
            url=f"https://physionet.org/content/challenge-{_year}/",
            sums=f"https://physionet.org/files/challenge-{_year}/{_version}/SHA256SUMS.txt",
            needed=lambda name, options: name.startswith("training/") and name.endswith((".hea", ".mat")),
            options=OPTIONS,
        )
    )
