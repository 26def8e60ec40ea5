"""What benchmarks share: alternating runs, their arguments, and how figures are printed."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def alternate(work: Mapping[str, Callable[[], Any]], runs: int, own_clock: bool = False) -> dict[str, float]:
    """Median seconds of each, one after the other, `runs` times; with `own_clock` those that each returns."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(runs):
        for name, run in work.items():
            started = time.perf_counter()
            returned = run()
            times[name].append(returned if own_clock else time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in times.items()}


def resident(key: str) -> float:
    """Megabytes of resident memory: now (VmRSS) or at the peak (VmHWM)."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(key))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10)


def arguments_of(doc: str | None, *, data: bool = False, **defaults: int) -> argparse.ArgumentParser:
    """A parser with `--json`, `--data` where it is asked for, and a whole number for each default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        parser.add_argument("--data", type=Path, default=Path(os.environ.get("MODALIGN_DATA", "../shared/data")))
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", action="store_true")
    return parser


def show(figures: Mapping[str, Any], as_json: bool) -> None:
    """Print the figures, a line each or as JSON."""
    if as_json:
        print(json.dumps(figures))
        return
    for key, value in figures.items():
        print(f"{key:24s} {value:,.4g}")
