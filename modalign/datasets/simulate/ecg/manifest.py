"""A folder of synthetic ECGs with its manifest: nothing but a seed is needed to make it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from modalign.datasets.manifest import percentile, write_manifest
from modalign.datasets.simulate.ecg.findings import FINDINGS
from modalign.datasets.simulate.ecg.recording import check_options, simulate_ecg
from modalign.datasets.simulate.manifest import SPLITS
from modalign.errors import RecipeError
from modalign.modalities.ecg.leads import STANDARD

DRAWN = {"heart_rate": 1, "pr": 1000, "qrs": 1000, "st": 1, "t": 1}
"""Columns that say what was drawn -> what one unit is multiplied with: beats a minute, ms, ms, mV, mV."""
ABOUT = "SYNTHETIC ECGs, simulated by modalign with seed {seed}: no patient, and no recording went into them"


def write_simulated_ecg(
    out: Path,
    number: int,
    seed: int,
    *,
    findings: Sequence[str] = tuple(FINDINGS),
    seconds: float = 10.0,
    rate: float = 500.0,
    noise: float = 1.0,
    advance: Callable[[int], None] | None = None,
) -> Path:
    """Write `out/manifest.csv`, its sidecar, and a .npy file (12, T), int16 in microvolts, for each recording.

    Rows have a report, labels, a group (a patient each, by whom they are split 8 : 1 : 1) and what was drawn; each is
    marked as synthetic by its id and the column `source`, all by the sidecar (`about`, and `synthetic`, which
    reports and model cards repeat).

    Args:
        out: the folder.
        number: of recordings.
        seed: of all.
        findings: which, in turn.
        seconds: of each recording.
        rate: Hz.
        noise: 1 for that of an ordinary recording, 0 for none.
        advance: called with 1 after each recording.

    Raises:
        RecipeError: an option is not known or cannot be, or the folder holds a manifest already.
    """
    if number < 1:
        raise RecipeError(f"--number is 1 or more, not {number}")
    check_options(findings, seconds, rate, noise)
    if (out / "manifest.csv").exists():
        raise RecipeError(f"--out {out}: holds a manifest.csv already; give another folder, or remove it")
    folder = out / "signals"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(number):
        made = simulate_ecg(seed, index, findings=findings, seconds=seconds, rate=rate, noise=noise)
        name = f"{index:07d}"
        stored = np.clip(np.round(made.signal.data.numpy() * 1000), -32767, 32767).astype(np.int16)
        np.save(folder / f"{name}.npy", stored, allow_pickle=False)
        patient = f"synthetic-patient-{index}"
        rows.append(
            {
                "id": f"synthetic-{seed}-{name}",
                "split": SPLITS[percentile(patient, seed) // 10],
                "group": patient,
                "labels": ";".join(made.labels),
                "text": made.text,
                "ecg": f"signals/{name}.npy",
                "source": "synthetic",
                **{key: round(made.drawn[key] * by, 3) if key in made.drawn else "" for key, by in DRAWN.items()},
            }
        )
        if advance is not None:
            advance(1)
    defaults = {"ecg.rate": rate, "ecg.unit": "uV", "ecg.leads": ", ".join(STANDARD)}
    about = ABOUT.format(seed=seed)
    return write_manifest(rows, out / "manifest.csv", out, about, "ecg", defaults=defaults, synthetic=True)
