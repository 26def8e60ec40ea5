"""Peak memory of training on a manifest of a million rows, beside one of a thousand.

    python -m benchmarks.large_manifest [--data FOLDER] [--rows 1000000] [--json]

Rows repeat the recordings of FSDD under ids of their own, with a person, a label and a caption each; the
towers are a small audio CNN and a frozen text encoder. Each size trains for 20 updates of 32 rows in a process of its
own.

JSON keys: `difference_mb` (peak resident memory of the large one above the small one's; the target is 200),
`small_mb`, `large_mb`, `small_seconds`, `large_seconds` (of the whole process), `rows`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import arguments_of, resident, show

UPDATES, BATCH = 20, 32


def write(source: Path, out: Path, rows: int) -> None:
    """A manifest of so many rows, made of the rows of another."""
    import pandas as pd

    table = pd.read_csv(source, dtype=str, keep_default_na=False)
    table = table[table["split"] == "train"].reset_index(drop=True)
    repeated = table.loc[[i % len(table) for i in range(rows)]].reset_index(drop=True)
    repeated["id"] = [f"row-{i:07d}" for i in range(rows)]
    repeated["group"] = [f"person-{i // 50:05d}" for i in range(rows)]
    repeated = repeated.drop(columns="cluster")  # a file's rows are of one recording
    repeated["text"] = "someone says " + repeated["label"]
    repeated.to_csv(out, index=False)


def train(manifest: Path, rows: int, out: Path) -> float:
    """Train for `UPDATES` updates in this process: its peak resident memory, in MB."""
    from modalign.align.recipe_files import load_recipe
    from modalign.tasks.training import open_manifest
    from modalign.tasks.training import train as run

    settings = [f"training.epochs={UPDATES * BATCH / rows}", f"training.batch_size={BATCH}", "training.workers=0"]
    recipe = load_recipe("audio", [*settings, "training.evaluate_every=100"])
    run(recipe, open_manifest(recipe, manifest), out, untrained=False)
    return resident("VmHWM")


def measure(data: Path, rows: int) -> dict[str, Any]:
    """Both sizes, one after the other."""
    from modalign.datasets.registry import get_dataset

    found: dict[str, Any] = {"rows": rows}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        get_dataset("fsdd").prepare(data / "audio_fsdd600", folder / "fsdd.csv")
        for size, count in (("small", 1000), ("large", rows)):
            manifest = folder / f"{size}.csv"
            write(folder / "fsdd.csv", manifest, count)
            manifest.with_suffix(".meta.yaml").write_text((folder / "fsdd.meta.yaml").read_text())
            own = [sys.executable, "-m", "benchmarks.large_manifest", "--own", str(manifest), "--rows", str(count)]
            started = time.perf_counter()
            done = subprocess.run(own, check=True, capture_output=True, text=True)
            found[f"{size}_seconds"] = time.perf_counter() - started
            found[f"{size}_mb"] = float(done.stdout.splitlines()[-1])
    found["difference_mb"] = found["large_mb"] - found["small_mb"]
    return found


def main() -> None:
    """Measure, and print."""
    parser = arguments_of(__doc__, data=True, rows=1_000_000)
    parser.add_argument("--own", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.own:
        with tempfile.TemporaryDirectory() as out:
            print(train(arguments.own, arguments.rows, Path(out)))
        return
    show(measure(arguments.data, arguments.rows), arguments.json)


if __name__ == "__main__":
    main()
