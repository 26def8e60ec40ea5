"""UCI HAR: a phone at the waist, 30 people, 6 activities, raw windows of 128 samples at 50 Hz, half overlapping.

Source: Anguita et al. 2013; archive.ics.uci.edu dataset 240 (CC BY 4.0). The raw signals are used: total acceleration
in g (gravity in it) and rotation in rad/s; official train and test people, val from the people of train.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modalign.datasets.manifest import write_manifest
from modalign.datasets.motion_windows import CHANNELS, Array, find_folder, people_of, read_matrix, runs
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.datasets.unpacked import unpack_once
from modalign.errors import ReadError, RecipeError

RATE, SAMPLES = 50.0, 128
LABELS = {
    1: "walking",
    2: "walking upstairs",
    3: "walking downstairs",
    4: "sitting",
    5: "standing",
    6: "lying",
}
SIGNALS = tuple(f"{signal}_{axis}" for signal in ("total_acc", "body_gyro") for axis in "xyz")
FIELDS = {
    "motion.rate": RATE,
    "motion.unit": "g",
    "motion.gyro_unit": "rad/s",
    "motion.columns": ", ".join(CHANNELS),
    "motion.location": "waist",
}


def prepare(root: Path, out: Path, *, val: str = "27-30") -> Path:
    """Write a .npy for each person, and the manifest of their windows; see the registered options.

    Raises:
        ReadError: the folder is not UCI HAR's, or its files do not fit together.
        RecipeError: `val` is no list of people of the train part.
    """
    folder = find_folder(root, "UCI HAR Dataset", "train/Inertial Signals")
    held = set(people_of("val", val))
    parts = {part: _read(folder / part, part) for part in ("train", "test")}
    absent = sorted(held - set(parts["train"][2].tolist()))
    if absent:
        raise RecipeError(f"--option val={val}: person {absent[0]} is not in the official train part")
    rows: list[dict[str, Any]] = []
    for part, (_, labels, people) in parts.items():
        for person in sorted(set(people.tolist())):
            mine = labels[people == person]
            for number, (label, first, last) in enumerate(runs(mine)):
                rows += [
                    {
                        "id": f"p{person:02d}-{k:04d}",
                        "split": "val" if part == "train" and person in held else part,
                        "group": f"person-{person:02d}",
                        "cluster": f"p{person:02d}-run{number:02d}",  # neighbours overlap by half
                        "label": LABELS[label],
                        "motion": f"p{person:02d}.npy",
                        "motion.start": k * SAMPLES / RATE,
                        "motion.end": (k + 1) * SAMPLES / RATE,
                    }
                    for k in range(first, last)
                ]

    def write(target: Path) -> None:
        for signals, _, people in parts.values():
            for person in sorted(set(people.tolist())):
                flat = signals[people == person].reshape(-1, len(CHANNELS))
                np.save(target / f"p{person:02d}.npy", flat.astype(np.float32))

    sources = [p for part in parts for p in (folder / part).rglob("*.txt")]
    files = unpack_once(out, sources, {}, write)
    about = f"UCI HAR (Anguita et al. 2013, CC BY 4.0), official train and test people; {val} of train are val"
    return write_manifest(rows, out, files, about, "motion", defaults=FIELDS)


def _read(folder: Path, part: str) -> tuple[Array, Array, Array]:
    """Signals (N, 128, 6), labels (N,) and people (N,)."""
    planes = [read_matrix(folder / "Inertial Signals" / f"{name}_{part}.txt", SAMPLES) for name in SIGNALS]
    labels, people = (read_matrix(folder / f"{name}_{part}.txt", 1)[:, 0].astype(int) for name in ("y", "subject"))
    counts = {len(plane) for plane in planes} | {len(labels), len(people)}
    if len(counts) > 1:
        raise ReadError(f"{folder}: its files have {sorted(counts)} rows, and need one a window; get it again")
    strange = sorted(set(labels.tolist()) - set(LABELS))
    if strange:
        raise ReadError(f"{folder / f'y_{part}.txt'}: label {strange[0]} is not from 1 to {len(LABELS)}")
    return np.stack(planes, axis=-1), labels, people


register_dataset(
    PublicDataset(
        name="uci-har",
        about="UCI HAR: phone at the waist, 30 people, 6 activities, 10,299 windows (Anguita et al. 2013, CC BY 4.0)",
        prepare=prepare,
        url="https://archive.ics.uci.edu/dataset/240",
        # UCI publishes no checksums; many public projects that fetched this address state this SHA-256.
        files={
            "uci-har.zip": (
                "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip",
                "sha256:c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031",
            )
        },
        options={"val": "people of the official train part that are val (27-30 by default)"},
    )
)
