"""The demo's accuracy over seeds, and its time.

    python -m benchmarks.demo [--seeds 3] [--out DIR] [--json]

JSON keys: `modalign`, `unseen_wording`, `unseen_wording_single`, `untrained`, `linear`, `chance` (mean accuracy over
the seeds on the three test people), `per_seed` (each seed's `metrics.json`), `seconds` (wall seconds of each run).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FIGURES = ("modalign", "unseen_wording", "unseen_wording_single", "untrained", "linear")


def run(seed: int, out: Path) -> dict[str, Any]:
    """One whole demo in a process of its own."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "modalign", "demo", "--out", str(out), "--seed", str(seed)],
        check=True,
        capture_output=True,
    )
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return {**metrics, "wall_seconds": time.perf_counter() - started}


def main() -> None:
    """Run the seeds one after the other, and print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder)
        runs = [run(seed, out / f"seed-{seed}") for seed in range(arguments.seeds)]
    figures: dict[str, Any] = {name: statistics.mean(r[name]["accuracy"] for r in runs) for name in FIGURES}
    figures |= {"chance": runs[0]["chance"], "seconds": [round(r["wall_seconds"], 1) for r in runs], "per_seed": runs}
    if arguments.json:
        print(json.dumps(figures))
        return
    for name in (*FIGURES, "chance"):
        print(f"{name:24s} {figures[name]:.3f}")
    print(f"{'seconds':24s} {figures['seconds']}")


if __name__ == "__main__":
    main()
