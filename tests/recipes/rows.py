"""A few rows of real data for any recipe: a public set of each modality, and a manifest of what a recipe needs."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from modalign.datasets.registry import prepare
from modalign.modalities import get_modality

SETS: dict[str, tuple[str, str, dict[str, str]]] = {
    "audio": ("esc50", "audio_esc10", {}),
    "ecg": ("ptb-xl", "ecg_ptbxl500", {}),
    "xray": ("kermany", "cxr_kermany3", {}),
    "motion": ("motionsense", "imu_motionsense", {}),
    "ct": ("medmnist", "ct_adrenalmnist3d", {"subset": "adrenalmnist3d", "splits": "val"}),
}
"""Modality -> data set, its folder, its options."""
COUNTS = {"train": 4, "val": 2, "test": 2}
"""Rows of each label."""
LABELS = 3
SPLITS = [*["train"] * 4, *["val"] * 2, *["test"] * 2]


def few(modality: str, root: Path, folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A few rows of each of three labels of the modality's set, files with whole paths, and the sidecar."""
    name, place, options = SETS[modality]
    path = prepare(name, root / place, folder / f"{modality}.csv", options)
    about: dict[str, Any] = yaml.safe_load(path.with_name(f"{modality}.meta.yaml").read_text())
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    kind = "label" if "label" in rows else "labels"
    rows["labels"] = rows[kind].str.split(";").str[0]
    rows = rows[rows["labels"].isin(sorted(set(rows["labels"]) - {""})[:LABELS])]
    if set(rows["split"]) != set(COUNTS):  # one split of the set is here
        order = rows.groupby("labels").cumcount()
        rows = rows[order < len(SPLITS)].assign(split=[SPLITS[k] for k in order[order < len(SPLITS)]])
    parts = [
        part.iloc[:: max(1, len(part) // COUNTS[str(split)])][: COUNTS[str(split)]]
        for (split, _), part in rows.groupby(["split", "labels"])
    ]
    rows = pd.concat(parts)
    source = (path.parent / about["root"]).resolve()
    rows[modality] = [str(source / p) for p in rows[modality]]
    for unit in ("id", "group", "cluster"):
        if unit in rows:
            rows[unit] = [f"{modality} {value}" if value else "" for value in rows[unit]]
    known = [c for c in rows if c in ("id", "split", "group", "cluster", "labels", "text") or c.startswith(modality)]
    return rows[known].reset_index(drop=True), about


def write(rows: Sequence[pd.DataFrame], abouts: Sequence[dict[str, Any]], folder: Path) -> Path:
    """One manifest of all; its root is that of the machine, since the files lie where they lie."""
    pd.concat(rows).fillna("").to_csv(folder / "rows.csv", index=False)
    about: dict[str, Any] = {"root": "/", "official_split": True, "defaults": {}, "descriptions": {}}
    for one in abouts:
        about["defaults"] |= one.get("defaults", {})
        about["descriptions"] |= one.get("descriptions", {})
    (folder / "rows.meta.yaml").write_text(yaml.safe_dump(about))
    return folder / "rows.csv"


def apart(modalities: Sequence[str], root: Path, folder: Path) -> Path:
    """Rows of each modality, with text from their labels; no row has two recordings."""
    rows, abouts = zip(*[few(modality, root, folder) for modality in modalities])
    return write(rows, abouts, folder)


def together(modalities: Sequence[str], root: Path, folder: Path) -> Path:
    """Rows that have every modality, put beside each other by their order in a split: of no one patient."""
    (first, *others), abouts = zip(*[few(modality, root, folder) for modality in modalities])
    rows = first.assign(n=first.groupby("split").cumcount())
    for other in others:
        own = [c for c in other if c not in {"id", "group", "cluster", "labels", "text"}]
        rows = rows.merge(other[own].assign(n=other.groupby("split").cumcount()), on=["split", "n"])
    return write([rows.drop(columns="n")], abouts, folder)


def scenes(root: Path, folder: Path) -> Path:
    """Two of ESC-10's clips in turn, by CompA's synthesis, with a caption, its true parts, and its reverse."""
    audio = get_modality("audio")
    clips, _ = few("audio", root, folder)
    made = []
    for split, part in clips.groupby("split"):
        for n, (_, first) in enumerate(part.iterrows()):
            second = part.iloc[(n + COUNTS[str(split)]) % len(part)]
            signal = audio.compose(*(audio.load(row["audio"]) for row in (first, second)), "sequence")
            path = folder / f"{split}-{n}.wav"
            write_wav(path, signal.data[0].numpy(), int(signal.rate or 0))
            a, b = (f"the sound of {row['labels']}" for row in (first, second))
            made.append(
                {
                    "id": path.stem, "split": split, "group": path.stem, "audio": path.name,
                    "text": f"{a} followed by {b}", "text.hard": f"{b} followed by {a}", "text.parts": f"{a}|{b}",
                }
            )  # fmt: skip
    pd.DataFrame(made).to_csv(folder / "scenes.csv", index=False)
    return folder / "scenes.csv"


def write_wav(path: Path, samples: np.ndarray[Any, Any], rate: int) -> None:
    """16 bits, one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
