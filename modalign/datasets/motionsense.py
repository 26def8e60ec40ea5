"""MotionSense: a phone in the front trouser pocket, 24 people, 6 activities, 50 Hz, in Core Motion's convention.

Source: Malekzadeh et al. 2019, doi:10.1145/3302505.3310068; github.com/mmalekzadeh/motion-sense (MIT). Its `gravity`
points down, so what an accelerometer feels is -(gravity + userAcceleration): the field `motion.convention` says ios.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

from modalign.datasets.manifest import number, write_manifest
from modalign.datasets.motion_windows import WINDOW_OPTIONS, by_people, check_present, held_out_people, windows
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError

RATE = 50.0
LABELS = {
    "dws": "walking downstairs",
    "ups": "walking upstairs",
    "wlk": "walking",
    "jog": "jogging",
    "sit": "sitting",
    "std": "standing",
}
TRIAL = re.compile(r"(?P<activity>[a-z]{3})_(?P<trial>\d+)/sub_(?P<person>\d+)\.csv(\.gz)?")
FIELDS = {
    "motion.rate": RATE,
    "motion.unit": "g",
    "motion.gyro_unit": "rad/s",
    "motion.convention": "ios",
    "motion.columns": ", ".join(
        f"{sensor}_{axis}={source}.{axis}"
        for sensor, source in (("acc", "userAcceleration"), ("gyro", "rotationRate"))
        for axis in "xyz"
    ),
    "motion.gravity": "gravity.x, gravity.y, gravity.z",
    "motion.location": "front trouser pocket",
}


def prepare(
    root: Path, out: Path, *, window: Any = 2.56, hop: Any = "", test: str = "19-24", val: str = "16-18"
) -> Path:
    """Write the manifest; see the registered options.

    Raises:
        ReadError: there is no recording, or one cannot be read.
        RecipeError: an option has a value that cannot be used.
    """
    window = number("window", window)
    hop = number("hop", hop) if hop else window / 2
    people = held_out_people(test, val)
    rows: list[dict[str, Any]] = []
    for path in sorted([*root.rglob("sub_*.csv"), *root.rglob("sub_*.csv.gz")]):
        match = TRIAL.fullmatch(f"{path.parent.name}/{path.name}")
        if match is None or match["activity"] not in LABELS:
            raise ReadError(f"{path}: is not in a folder such as wlk_15; give the folder A_DeviceMotion_data")
        person, name = int(match["person"]), f"{match['activity']}{match['trial']}-{int(match['person']):02d}"
        rows += [
            {
                "id": f"{name}-{k:03d}",
                "split": by_people(people, person),
                "group": f"person-{person:02d}",
                "cluster": name,
                "label": LABELS[match["activity"]],
                "motion": path.relative_to(root).as_posix(),
                "motion.start": begin,
                "motion.end": end,
                "trial": int(match["trial"]),
            }
            for k, (begin, end) in enumerate(windows(0.0, _samples(path) / RATE, window, hop))
        ]
    if rows:
        check_present(people, {int(row["group"].removeprefix("person-")) for row in rows})
    about = f"MotionSense (Malekzadeh et al. 2019, MIT), windows of {window:g} s; people {test} test, {val} val"
    return write_manifest(rows, out, root, about, "motion", defaults=FIELDS)


def _samples(path: Path) -> int:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return sum(1 for line in file if line.strip()) - 1
    except (OSError, EOFError) as error:
        raise ReadError(f"{path}: cannot be read ({error}); get the data set again") from None


register_dataset(
    PublicDataset(
        name="motionsense",
        about="MotionSense: phone in the pocket, 24 people, 6 activities (Malekzadeh et al. 2019, MIT)",
        prepare=prepare,
        url="https://github.com/mmalekzadeh/motion-sense (data/A_DeviceMotion_data.zip)",
        options={
            **WINDOW_OPTIONS,
            "test": "people of the test split (19-24 by default)",
            "val": "people of the val split (16-18 by default)",
        },
    )
)
