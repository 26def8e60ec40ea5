"""Training by two processes on two cores, a thread each, beside one process with one thread.

    python -m benchmarks.two_processes [--data FOLDER] [--batch 64] [--epochs 6] [--runs 5] [--json]

An audio tower (the small CNN, with LayerNorm) and a frozen text tower on FSDD's spoken digits, from files, by
`modalign train`; both train on the same batches of `--batch` rows.

JSON keys: `ratio` (median seconds of one process / of two, alternating runs; the loop of updates alone, as the command
prints it), `one_seconds`, `two_seconds`, `updates`, `samples_per_second` (of two).
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.measuring import alternate, arguments_of, show

SAID = re.compile(r"training: ([\d,]+) updates in ([\d.]+) s")


def launch(count: int, arguments: list[str]) -> tuple[int, float]:
    """Run `modalign train` in so many processes: (updates, seconds of them)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} if count > 1 else {}
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "modalign", "train", *arguments],
            env={**base, **group, **({"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    printed = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        raise SystemExit("\n".join(printed))
    found = next(match for text in printed if (match := SAID.search(text)))
    return int(found[1].replace(",", "")), float(found[2])


def measure(data: Path, batch: int, epochs: int, runs: int) -> dict[str, Any]:
    """Alternating runs."""
    from modalign.datasets.registry import get_dataset

    updates, number = 0, count()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        get_dataset("fsdd").prepare(data / "audio_fsdd600", folder / "fsdd.csv")
        settings = {"training.batch_size": batch, "training.epochs": epochs, "training.workers": 0}
        settings["towers.audio.options.norm"] = "layer"  # BatchNorm is refused: its statistics would be a share's
        said = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]

        def run(processes: int) -> float:
            nonlocal updates
            out = str(folder / str(next(number)))
            given = ["audio", "--data", str(folder / "fsdd.csv"), "--out", out, "--no-untrained", *said]
            updates, taken = launch(processes, given)
            return taken

        seconds = alternate({"one": partial(run, 1), "two": partial(run, 2)}, runs, own_clock=True)
    return {
        "ratio": seconds["one"] / seconds["two"],
        "one_seconds": seconds["one"],
        "two_seconds": seconds["two"],
        "updates": updates,
        "samples_per_second": updates * batch / seconds["two"],
    }


def main() -> None:
    """Measure, and print."""
    arguments = arguments_of(__doc__, data=True, batch=64, epochs=6, runs=5).parse_args()
    show(measure(arguments.data, arguments.batch, arguments.epochs, arguments.runs), arguments.json)


if __name__ == "__main__":
    main()
