"""HAPT: UCI HAR's 30 people once more, whole raw recordings with postural transitions labelled, 50 Hz.

Source: Reyes-Ortiz et al. 2016, doi:10.1016/j.neucom.2015.07.085; archive.ics.uci.edu dataset 341 (CC BY 4.0).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from modalign.datasets import uci_har
from modalign.datasets.manifest import choice, number, write_manifest
from modalign.datasets.motion_windows import (
    WINDOW_OPTIONS,
    Array,
    by_people,
    check_present,
    find_folder,
    held_out_people,
    read_matrix,
    windows,
)
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.datasets.uci_har import RATE
from modalign.datasets.unpacked import unpack_once
from modalign.errors import ReadError

LABELS = {
    **uci_har.LABELS,
    7: "standing to sitting",
    8: "sitting to standing",
    9: "sitting to lying",
    10: "lying to sitting",
    11: "standing to lying",
    12: "lying to standing",
}
BASIC = len(uci_har.LABELS)
OFFICIAL_TEST = "2,4,9,10,12,13,18,20,24"
"""The test people of the owners' own split, which is that of UCI HAR."""
FILE = re.compile(r"acc_exp(?P<experiment>\d+)_user(?P<person>\d+)\.txt")


def prepare(
    root: Path,
    out: Path,
    *,
    window: Any = 2.56,
    hop: Any = "",
    activities: str = "basic",
    test: str = OFFICIAL_TEST,
    val: str = "27-30",
) -> Path:
    """Write a .npy for each experiment, and the manifest of windows; see the registered options.

    Raises:
        ReadError: the folder is not HAPT's, or its files do not fit together.
        RecipeError: an option has a value that cannot be used.
    """
    window = number("window", window)
    hop = number("hop", hop) if hop else window / 2
    most = BASIC if choice("activities", activities, ("basic", "all")) == "basic" else len(LABELS)
    people = held_out_people(test, val)
    folder = find_folder(root, "RawData", "labels.txt")
    table = read_matrix(folder / "labels.txt", 5).astype(int)
    data = _experiments(folder)
    check_present(people, table[:, 1].tolist())
    rows: list[dict[str, Any]] = []
    for segment, (experiment, person, label, first, last) in enumerate(table.tolist(), 1):
        name = f"exp{experiment:02d}"
        if name not in data or label not in LABELS:
            raise ReadError(f"{folder / 'labels.txt'}: row {segment}: no experiment {experiment}, or no label {label}")
        length = len(data[name]) / RATE
        if not 1 <= first <= last <= len(data[name]):
            raise ReadError(
                f"{folder / 'labels.txt'}: row {segment}: samples {first} to {last} are not in {name}, which has "
                f"{len(data[name])}; unpack the data set again"
            )
        if label > most:
            continue
        for k, (begin, end) in enumerate(_spans((first - 1) / RATE, last / RATE, window, hop, length, label > BASIC)):
            rows.append(
                {
                    "id": f"{name}-{segment:04d}-{k:03d}",
                    "split": by_people(people, person),
                    "group": f"person-{person:02d}",
                    "cluster": f"{name}-{segment:04d}",
                    "label": LABELS[label],
                    "motion": f"{name}.npy",
                    "motion.start": begin,
                    "motion.end": end,
                }
            )

    def write(target: Path) -> None:
        for name, samples in data.items():
            np.save(target / f"{name}.npy", samples.astype(np.float32))

    files = unpack_once(out, folder.glob("*.txt"), {}, write)
    about = f"HAPT (Reyes-Ortiz et al. 2016, CC BY 4.0), windows of {window:g} s; people {test} test, {val} val"
    return write_manifest(rows, out, files, about, "motion", defaults=uci_har.FIELDS)


def _spans(
    begin: float, end: float, window: float, hop: float, length: float, transition: bool
) -> list[tuple[float, float]]:
    """Windows inside a segment; a transition, which is shorter than one, gives the window around its middle."""
    inside = windows(begin, end, window, hop)
    if inside or not transition or length < window:
        return inside
    first = min(max((begin + end - window) / 2, 0.0), length - window)
    return [(round(first, 6), round(first + window, 6))]


def _experiments(folder: Path) -> dict[str, Array]:
    """Experiment -> (T, 6)."""
    data = {}
    for path in sorted(folder.glob("acc_exp*_user*.txt")):
        match = FILE.fullmatch(path.name)
        if match is None:
            raise ReadError(f"{path}: is not named acc_expNN_userNN.txt; unpack the data set again")
        acc = read_matrix(path, 3)
        gyro = read_matrix(path.with_name(path.name.replace("acc", "gyro", 1)), 3)
        if len(acc) != len(gyro):
            raise ReadError(f"{path}: {len(acc)} rows, and its gyroscope {len(gyro)}; unpack the data set again")
        data[f"exp{int(match['experiment']):02d}"] = np.concatenate([acc, gyro], axis=1)
    return data


register_dataset(
    PublicDataset(
        name="hapt",
        about="HAPT: phone at the waist, 30 people, 6 activities, 6 transitions (Reyes-Ortiz et al. 2016, CC BY 4.0)",
        prepare=prepare,
        url="https://archive.ics.uci.edu/dataset/341",
        # UCI publishes no checksums; several public projects that fetched this address state this SHA-256.
        files={
            "hapt.zip": (
                "https://archive.ics.uci.edu/static/public/341/"
                "smartphone+based+recognition+of+human+activities+and+postural+transitions.zip",
                "sha256:4ac4ae064227c07045a99551876b54d204837e995e298b6488559e209b3deb09",
            )
        },
        options={
            **WINDOW_OPTIONS,
            "activities": "basic (6, default), or all: with the 6 transitions, a window around the middle of each",
            "test": f"people of the test split (the official ones by default: {OFFICIAL_TEST})",
            "val": "people of the val split (27-30 by default)",
        },
    )
)
