"""A classifier that saw simulated motion alone, on real recordings: MotionSense's people 19 to 24, phone in the pocket.

    python -m benchmarks.simulated_motion --people 170

Needs MotionSense's short trials with a manifest (MODALIGN_DATA/imu_motionsense). Simulating takes a minute or two.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.signal import welch
from sklearn.ensemble import RandomForestClassifier

from modalign.datasets.simulate.manifest import simulated_row
from modalign.modalities.motion import Motion

Array = np.ndarray[Any, Any]
LABELS = ("walking", "walking upstairs", "walking downstairs", "sitting", "standing")
RATE, WINDOW = 50.0, 256
FIELDS = {
    "columns": ", ".join(
        f"{sensor}_{axis}={source}.{axis}"
        for sensor, source in (("acc", "userAcceleration"), ("gyro", "rotationRate"))
        for axis in "xyz"
    ),
    "gravity": "gravity.x,gravity.y,gravity.z", "unit": "g", "gyro_unit": "rad/s", "convention": "ios", "rate": RATE,
}  # fmt: skip
BANDS = (0.3, 0.7, 0.9, 1.15, 1.4, 1.7, 2.1, 2.6, 3.5, 5, 8, 12, 20)


def features(window: Array) -> Array:
    """(6, 256) -> means, deviations and quantiles of axes and norms, band powers of both sensors, correlations."""
    out = [window.mean(1), window.std(1), np.quantile(window, [0.1, 0.9], axis=1).ravel()]
    frequencies, power = welch(window - window.mean(1, keepdims=True), RATE, nperseg=WINDOW, axis=1)
    for rows in (slice(0, 3), slice(3, 6)):
        norm = np.linalg.norm(window[rows], axis=0)
        out.append(np.array([norm.mean(), norm.std(), *np.quantile(norm, [0.05, 0.25, 0.75, 0.95])]))
        density = power[rows].sum(0)
        bands = [density[(frequencies >= low) & (frequencies < high)].mean() for low, high in pairwise(BANDS)]
        logs = np.log(np.array(bands) + 1e-8)
        out += [logs, logs - logs[5], frequencies[density[1:40].argmax() + 1, None]]
    out.append(np.corrcoef(window)[np.triu_indices(6, 1)])
    return np.nan_to_num(np.concatenate(out))


def windows(data: Array, hop: int) -> list[Array]:
    """Pieces of (6, T) of 5.12 s."""
    return [data[:, i : i + WINDOW] for i in range(0, data.shape[1] - WINDOW + 1, hop)]


def simulated(people: int, seed: int, labels: tuple[str, ...]) -> tuple[Array, Array]:
    """Features and labels of simulated people with a phone in a pocket."""
    found: list[Array] = []
    truth: list[str] = []
    for row in range(people * len(labels)):
        made = simulated_row(seed, row, activities=labels, places=["right pocket", "left pocket"])
        pieces = windows(made.signal.data.double().numpy(), 244)
        found += [features(piece) for piece in pieces]
        truth += [made.label] * len(pieces)
    return np.stack(found), np.array(truth)


def real(root: Path, people: range) -> tuple[Array, Array]:
    """Features and labels of MotionSense, without the first and last second, in which the phone is handled."""
    table, motion = pd.read_csv(root / "manifest.csv"), Motion()
    found: list[Array] = []
    truth: list[str] = []
    for row in table[table["subject"].isin(people) & table["label"].isin(LABELS)].itertuples():
        data = motion.load(root / str(row.path), **FIELDS).data.double().numpy()
        margin = min(50, data.shape[1] // 6)
        pieces = windows(data[:, margin:-margin], 128)
        found += [features(piece) for piece in pieces]
        truth += [str(row.label)] * len(pieces)
    return np.stack(found), np.array(truth)


def main() -> None:
    """Print accuracy and recalls, with and without lying among the answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=170)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    root = Path(os.environ.get("MODALIGN_DATA", "../shared/data")) / "imu_motionsense"
    held, held_truth = real(root, range(19, 25))
    for labels in (LABELS, (*LABELS, "lying")):
        started = time.perf_counter()
        x, truth = simulated(given.people, given.seed, labels)
        model = RandomForestClassifier(300, min_samples_leaf=2, random_state=0).fit(x, truth)
        said = model.predict(held)
        recalls = ", ".join(f"{label} {(said[held_truth == label] == label).mean():.2f}" for label in LABELS)
        print(
            f"{len(labels)} answers: accuracy {(said == held_truth).mean():.3f} on {len(held)} windows; {recalls} "
            f"({time.perf_counter() - started:.0f} s)"
        )


if __name__ == "__main__":
    main()
