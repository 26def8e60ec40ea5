"""WISDM 2019: phone in the pocket and watch on the wrist, 51 people, 18 activities of 3 minutes, about 20 Hz.

Source: Weiss et al. 2019, doi:10.1109/ACCESS.2019.2940729; archive.ics.uci.edu dataset 507 (CC BY 4.0). Raw text, a
line a sample: `person,activity,stamp,x,y,z;`. The accelerometer (m/s2) and the gyroscope (rad/s) have clocks of their
own, so both are interpolated onto one grid of 20 Hz, and a recording is cut where samples are missing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modalign.datasets.manifest import choice, number, write_manifest
from modalign.datasets.motion_windows import (
    CHANNELS,
    WINDOW_OPTIONS,
    Array,
    check_present,
    find_folder,
    held_out_people,
    stretch_rows,
)
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.datasets.unpacked import unpack_once
from modalign.errors import ReadError

RATE = 20.0
GAP = 0.5
"""Seconds without a sample that are not bridged."""
LABELS = {
    "A": "walking",
    "B": "jogging",
    "C": "stairs",
    "D": "sitting",
    "E": "standing",
    "F": "typing",
    "G": "brushing teeth",
    "H": "eating soup",
    "I": "eating chips",
    "J": "eating pasta",
    "K": "drinking from a cup",
    "L": "eating a sandwich",
    "M": "kicking a soccer ball",
    "O": "playing catch with a tennis ball",
    "P": "dribbling a basketball",
    "Q": "writing",
    "R": "clapping",
    "S": "folding clothes",
}
LOCATIONS = {"watch": "wrist of the dominant hand", "phone": "front trouser pocket"}
FILE = re.compile(r"data_(?P<person>\d+)_(?P<sensor>accel|gyro)_(?P<device>phone|watch)\.txt")


def prepare(
    root: Path,
    out: Path,
    *,
    device: str = "watch",
    sensors: str = "both",
    window: Any = 5.0,
    hop: Any = "",
    test: str = "1641-1650",
    val: str = "1636-1640",
) -> Path:
    """Write a .npy for each stretch of one activity, and the manifest of windows; see the registered options.

    Raises:
        ReadError: the folder is not WISDM's, or a file is damaged.
        RecipeError: an option has a value that cannot be used.
    """
    choice("device", device, tuple(LOCATIONS))
    channels = CHANNELS if choice("sensors", sensors, ("both", "accel")) == "both" else CHANNELS[:3]
    window = number("window", window)
    hop = number("hop", hop) if hop else window / 2
    people = held_out_people(test, val)
    folder = find_folder(root, "wisdm-dataset", "raw") / "raw" / device
    files = sorted((folder / "accel").glob("data_*.txt"))
    if not files:
        raise ReadError(f"{folder}: holds no accel/data_*.txt; give the folder wisdm-dataset")

    check_present(people, map(_person, files))

    def write(target: Path) -> None:
        for path in files:
            person = _person(path)
            streams = [read_stream(path, person)]
            if len(channels) > 3:
                streams.append(read_stream(folder / "gyro" / path.name.replace("accel", "gyro"), person))
            for label, name in LABELS.items():
                for k, piece in enumerate(aligned([stream[label] for stream in streams if label in stream])):
                    if piece.shape[1] == len(channels) and len(piece) >= RATE:
                        stem = f"{person}-{name.replace(' ', '_')}-{k:02d}"
                        np.save(target / f"{stem}.npy", piece.astype(np.float32))

    sources = [*files, *(folder / "gyro").glob("data_*.txt")]
    unpacked = unpack_once(out, sources, {"device": device, "sensors": sensors}, write)
    rows = stretch_rows(unpacked, RATE, window, hop, people, "person")
    defaults = {
        "motion.rate": RATE,
        "motion.unit": "m/s2",
        **({"motion.gyro_unit": "rad/s"} if len(channels) > 3 else {}),
        "motion.columns": ", ".join(channels),
        "motion.location": LOCATIONS[device],
    }
    about = f"WISDM (Weiss et al. 2019, CC BY 4.0), {device}, windows of {window:g} s; people {test} test, {val} val"
    return write_manifest(rows, out, unpacked, about, "motion", defaults=defaults)


def _person(path: Path) -> int:
    match = FILE.fullmatch(path.name)
    if match is None:
        raise ReadError(f"{path}: is not named data_PERSON_accel_DEVICE.txt; unpack the data set again")
    return int(match["person"])


def read_stream(path: Path, person: int) -> dict[str, Array]:
    """Activity -> (T, 4): seconds, x, y, z, in the order of time, each stamp once.

    Raises:
        ReadError: a line is something else, is of another person, or the stamps are not nanoseconds.
    """
    if not path.is_file():
        raise ReadError(f"{path}: no such file; unpack the data set again, or pass --option sensors=accel")
    try:
        table = pd.read_csv(path, header=None, names=["person", "label", "stamp", "x", "y", "z"], dtype=str)
        table["z"] = table["z"].str.rstrip("; ")
        values = table[["stamp", "x", "y", "z"]].astype(np.float64)
    except (ValueError, OSError) as error:
        raise ReadError(f"{path}: not lines of person,activity,stamp,x,y,z; ({str(error)[:120]})") from None
    if values.isna().any(axis=None) or set(table["person"]) != {str(person)}:
        raise ReadError(f"{path}: a line is cut, or is not of person {person}; unpack the data set again")
    found = {}
    for label, part in values.groupby(table["label"].str.strip()):
        if label not in LABELS:
            raise ReadError(f"{path}: activity {label!r} is not one of {', '.join(LABELS)}")
        samples = part.drop_duplicates("stamp").sort_values("stamp").to_numpy()
        samples[:, 0] *= 1e-9
        step = float(np.median(np.diff(samples[:, 0]))) if len(samples) > 1 else 1 / RATE
        if not 0.25 / RATE < step < 4 / RATE:
            raise ReadError(
                f"{path}: activity {label}: the median step is {step:.3g} s, where it is {1 / RATE} s; "
                "the stamps are not nanoseconds"
            )
        found[str(label)] = samples
    return found


def aligned(streams: list[Array]) -> list[Array]:
    """Streams (T, 4) of one activity -> pieces (N, 3 x streams) on one grid of 20 Hz, cut where any has a gap."""
    spans = [(stream[0, 0], stream[-1, 0]) for stream in streams if len(stream) > 1]
    if not spans or len(spans) < len(streams):
        return []
    begin, end = max(s[0] for s in spans), min(s[1] for s in spans)
    if end <= begin:
        return []
    grid = begin + np.arange(int((end - begin) * RATE) + 1) / RATE
    good = np.ones(len(grid), dtype=bool)
    for stream in streams:
        after = np.searchsorted(stream[:, 0], grid).clip(1, len(stream) - 1)
        good &= stream[after, 0] - stream[after - 1, 0] <= GAP
    columns = [np.interp(grid, stream[:, 0], stream[:, c]) for stream in streams for c in (1, 2, 3)]
    data = np.stack(columns, axis=1)
    edges = np.flatnonzero(np.diff(good.astype(int))) + 1
    return [part for part, keep in zip(np.split(data, edges), np.split(good, edges)) if keep.all() and len(part)]


register_dataset(
    PublicDataset(
        name="wisdm",
        about="WISDM 2019: phone and watch, 51 people, 18 activities, 20 Hz (Weiss et al. 2019, CC BY 4.0)",
        prepare=prepare,
        url="https://archive.ics.uci.edu/dataset/507",
        options={
            "device": "watch (default) or phone",
            "sensors": "both (default) or accel: the accelerometer alone",
            **WINDOW_OPTIONS,
            "test": "people of the test split (1641-1650 by default)",
            "val": "people of the val split (1636-1640 by default)",
        },
    )
)
