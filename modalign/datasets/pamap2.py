"""PAMAP2: three sensors (hand, chest, ankle) at 100 Hz, 9 people, 18 activities.

Source: Reiss and Stricker 2012, doi:10.1109/ISWC.2012.13; archive.ics.uci.edu dataset 231 (CC BY 4.0). A .dat file a
person, 54 columns between blanks: seconds, activity, heart rate, then 17 for each sensor. The accelerometer of 16 g is
used, as the owners advise (that of 6 g saturates), and the gyroscope. Samples lost by radio are NaN.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from modalign.datasets.manifest import choice, number, write_manifest
from modalign.datasets.motion_windows import (
    CHANNELS,
    WINDOW_OPTIONS,
    bridge,
    check_present,
    find_folder,
    held_out_people,
    read_matrix,
    runs,
    stretch_rows,
)
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.datasets.unpacked import unpack_once
from modalign.errors import ReadError

RATE, COLUMNS = 100.0, 54
GAP = 20
"""Samples lost in a row that are bridged: 0.2 s."""
TRANSIENT = 0
LABELS = {
    1: "lying",
    2: "sitting",
    3: "standing",
    4: "walking",
    5: "running",
    6: "cycling",
    7: "nordic walking",
    9: "watching TV",
    10: "computer work",
    11: "driving",
    12: "walking upstairs",
    13: "walking downstairs",
    16: "vacuum cleaning",
    17: "ironing",
    18: "folding laundry",
    19: "house cleaning",
    20: "playing soccer",
    24: "rope jumping",
}
PLACES = {"hand": 3, "chest": 20, "ankle": 37}
"""Place -> the first of its 17 columns: temperature, acceleration of 16 g and of 6 g, rotation, magnetic field."""
WORN = {"hand": "wrist of the dominant hand", "chest": "chest", "ankle": "ankle of the dominant side"}
FILE = re.compile(r"subject(\d+)\.dat")


def prepare(
    root: Path,
    out: Path,
    *,
    place: str = "all",
    part: str = "protocol",
    window: Any = 5.12,
    hop: Any = "",
    test: str = "106",
    val: str = "105",
) -> Path:
    """Write a .npy for each stretch of one activity, and the manifest of windows; see the registered options.

    Raises:
        ReadError: the folder is not PAMAP2's, or a file is damaged.
        RecipeError: an option has a value that cannot be used.
    """
    places = list(PLACES) if choice("place", place, ("all", *PLACES)) == "all" else [place]
    parts = ("Protocol", "Optional") if choice("part", part, ("protocol", "all")) == "all" else ("Protocol",)
    window = number("window", window)
    hop = number("hop", hop) if hop else window / 2
    people = held_out_people(test, val)
    folder = find_folder(root, "PAMAP2_Dataset", "Protocol")
    files = [path for name in parts for path in sorted((folder / name).glob("*.dat"))]
    if not files:
        raise ReadError(f"{folder / 'Protocol'}: holds no subject*.dat; give the folder PAMAP2_Dataset")
    at = [c for name in places for c in (*range(PLACES[name] + 1, PLACES[name] + 4), *_gyroscope(name))]

    check_present(people, map(_person, files))

    def write(target: Path) -> None:
        for path in files:
            person = _person(path)
            table = read_matrix(path, COLUMNS)
            for label, first, last in runs(_labels(table[:, 1], path)):
                if label == TRANSIENT:
                    continue
                name = LABELS[label].replace(" ", "_")
                for begin, _, piece in bridge(table[first:last, at], GAP):
                    stem = f"{person}-{name}-{path.parent.name[0].lower()}{first + begin:06d}"
                    np.save(target / f"{stem}.npy", piece.astype(np.float32))

    unpacked = unpack_once(out, files, {"place": place, "part": part}, write)
    rows = stretch_rows(unpacked, RATE, window, hop, people, "subject")
    several = len(places) > 1
    names = [f"{name}/{channel}" if several else channel for name in places for channel in CHANNELS]
    defaults = {
        "motion.rate": RATE,
        "motion.unit": "m/s2",
        "motion.gyro_unit": "rad/s",
        "motion.columns": ", ".join(names),
        **({} if several else {"motion.location": WORN[place]}),
    }
    about = f"PAMAP2 (Reiss and Stricker 2012, CC BY 4.0), {place}, windows of {window:g} s; {test} test, {val} val"
    return write_manifest(rows, out, unpacked, about, "motion", defaults=defaults)


def _gyroscope(place: str) -> range:
    return range(PLACES[place] + 7, PLACES[place] + 10)


def _person(path: Path) -> int:
    match = FILE.fullmatch(path.name)
    if match is None:
        raise ReadError(f"{path}: is not named subjectNNN.dat; unpack the data set again")
    return int(match[1])


def _labels(column: np.ndarray[Any, Any], path: Path) -> np.ndarray[Any, Any]:
    strange = sorted(set(column.tolist()) - set(LABELS) - {TRANSIENT}, key=str)
    if strange:
        raise ReadError(f"{path}: activity {strange[0]} is not known; unpack the data set again")
    return column.astype(int)


register_dataset(
    PublicDataset(
        name="pamap2",
        about="PAMAP2: hand, chest and ankle, 9 people, 18 activities, 100 Hz (Reiss and Stricker 2012, CC BY 4.0)",
        prepare=prepare,
        url="https://archive.ics.uci.edu/dataset/231",
        options={
            "place": "all (default: channels hand/acc_x and so on), hand, chest or ankle",
            "part": "protocol (12 activities, default) or all: with the optional ones",
            **WINDOW_OPTIONS,
            "test": "subjects of the test split (106 by default)",
            "val": "subjects of the val split (105 by default)",
        },
    )
)
