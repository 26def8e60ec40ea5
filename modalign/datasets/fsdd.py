"""The Free Spoken Digit Dataset: English digits, 8 kHz, six speakers.

Source: github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0. Its official rule tests on the takes 0 to 4 of
every digit and speaker, so speakers cross the split; by speaker, they do not.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from modalign.datasets.manifest import write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError, RecipeError, suggest

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)")
TEST_TAKES = 5


def prepare_fsdd(root: Path, out: Path, rule: str = "official", speaker: str = "") -> Path:
    """Write the manifest.

    Args:
        root: the repository's folder, or its `recordings`.
        out: the manifest.
        rule: "official": takes 0-4 are test, of the others the first tenth (at least one take) is val; "speaker": whole
            speakers are held out.
        speaker: with rule = speaker: the test speakers, separated by commas; left out: the last two by name. Val is the
            speaker before the first of them.

    Raises:
        RecipeError: no such rule or speaker.
        ReadError: the folder has no such recordings.
    """
    if rule not in ("official", "speaker"):
        raise RecipeError(f"fsdd: no rule {rule!r}: {suggest(rule, ('official', 'speaker'))}")
    if speaker and rule != "speaker":
        raise RecipeError("fsdd: speaker goes with rule=speaker")
    rows = _recordings(root)
    if rule == "official":
        rows["split"] = _by_take(rows["take"])
        about = "Free Spoken Digit Dataset, the official rule: takes 0-4 test, so speakers cross the split"
    else:
        rows["split"] = _by_speaker(rows["group"], [name.strip() for name in speaker.split(",") if name.strip()])
        about = "Free Spoken Digit Dataset, whole speakers held out"
    return write_manifest(rows, out, root, about, "audio", official_split=rule == "official")


def _recordings(root: Path) -> pd.DataFrame:
    folders = [*sorted(p for p in root.glob("*/recordings") if p.is_dir()), root / "recordings"]
    folder = next((p for p in reversed(folders) if p.is_dir()), root)
    rows = []
    for path in sorted(folder.glob("*.wav")):
        match = NAME.fullmatch(path.stem)
        if match is None:
            raise ReadError(f"{path}: is not named digit_speaker_take.wav; remove it, or mend its name")
        rows.append(
            {
                "id": path.stem,
                "split": "",
                "group": match["speaker"],
                "cluster": path.stem,
                "label": DIGITS[int(match["digit"])],
                "audio": path.relative_to(root).as_posix(),
                "take": int(match["take"]),
            }
        )
    if not rows:
        raise ReadError(f"{root}: holds no recordings/*.wav; give the folder of free-spoken-digit-dataset")
    return pd.DataFrame(rows)


def _by_take(takes: pd.Series[int]) -> list[str]:
    train = sorted({take for take in takes if take >= TEST_TAKES})
    val = set(train[: max(1, round(len(train) / 10))])
    return ["test" if take < TEST_TAKES else "val" if take in val else "train" for take in takes]


def _by_speaker(speakers: pd.Series[str], test: list[str]) -> list[str]:
    names = sorted(set(speakers))
    for name in test:
        if name not in names:
            raise RecipeError(f"fsdd: no speaker {name!r}: {suggest(name, names)}")
    test = test or names[-2:]
    if len(names) - len(set(test)) < 2:
        raise RecipeError(
            f"fsdd: {len(names)} speakers, {len(set(test))} of them for test, leave none for train and val"
        )
    first = names.index(min(test))
    val = next(name for name in (names[(first - k) % len(names)] for k in range(1, len(names))) if name not in test)
    return ["test" if name in test else "val" if name == val else "train" for name in speakers]


register_dataset(
    PublicDataset(
        name="fsdd",
        about="Free Spoken Digit Dataset: ten digits, six speakers, 8 kHz; CC BY-SA 4.0",
        prepare=prepare_fsdd,
        url="https://github.com/Jakobovski/free-spoken-digit-dataset",
        # The SHA-256 is TensorFlow Datasets' (audio/spoken_digit/checksums.tsv). This release has five of the speakers.
        files={
            "v1.0.9.tar.gz": (
                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz",
                "sha256:8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0",
            )
        },
        options={
            "rule": "official (takes 0-4 are test; the default) or speaker (whole speakers are held out)",
            "speaker": "with rule=speaker: the test speakers, separated by commas",
        },
    )
)
