"""Runs the benchmarks one after another, prints their figures beside the targets, and writes `docs/benchmarks.md`.

    python -m benchmarks.all [--only NAME ...] [--table]

Each runs in a process of its own, and prints the same alone with `--json`; all take about an hour on two cores. What
was measured before is kept in `docs/benchmarks.json`. A target that is missed stays in the table. `--table` writes the
page again from what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class Figure:
    """One figure of a benchmark's JSON.

    Attributes:
        key: in the JSON.
        what: in words.
        target: what it should be; None: shown without one.
        at_least: whether the target bounds it from below.
    """

    key: str
    what: str
    target: float | None = None
    at_least: bool = True

    def row(self, value: float) -> str:
        """Its cells in the table."""
        if self.target is None:
            return f"{self.what} | {value:,.4g} | – | "
        met = value >= self.target if self.at_least else value <= self.target
        sign = "≥" if self.at_least else "≤"
        return f"{self.what} | {value:,.4g} | {sign} {self.target:,.4g} | {'yes' if met else '**no**'}"


def most(key: str, what: str, target: float) -> Figure:
    """A figure with a bound from above."""
    return Figure(key, what, target, at_least=False)


def loss_figures(judged: bool) -> tuple[Figure, ...]:
    """Those of a tiled loss; the targets are for B = 16384."""
    return (
        Figure("time_ratio", "time, open_clip / ours", 1.7 if judged else None),
        Figure("memory_ratio", "additional memory, open_clip / ours", 15 if judged else None),
        Figure("floor_ratio", "time, ours / four matrix products", 1.2 if judged else None, at_least=False),
        most("max_grad_rel_err", "largest relative difference of a gradient", 1e-3),
    )


BENCHMARKS: dict[str, tuple[str, tuple[Figure, ...]]] = {
    **{f"InfoNCE, B = {n}": (f"infonce --batch {n}", loss_figures(n == 16384)) for n in (4096, 8192, 16384)},
    "SigLIP, B = 16384": ("infonce --batch 16384 --loss siglip", loss_figures(True)),
    "GradCache, 2048 by 64": (
        "gradcache",
        (
            most("memory_ratio", "peak memory, the whole batch / one micro-batch", 1.3),
            Figure("time_ratio", "time, sentence-transformers' cached loss / ours", 1.0),
        ),
    ),
    "Locked text tower": (
        "locked_text",
        (
            Figure("time_ratio", "an epoch, encoding anew / encoded once", 5.0),
            most("loss_difference", "difference of the final loss", 1e-4),
        ),
    ),
    "Training from files": (
        "clap_training",
        (Figure("ratio", "samples a second, ours / a loop over transformers.ClapModel", 1.3),),
    ),
    "Zero-shot classification": (
        "clap_zero_shot",
        (
            Figure("ratio", "time, transformers' pipeline / ours", 2.0),
            most("max_score_difference", "largest difference of a probability", 1e-4),
        ),
    ),
    "Two processes": ("two_processes", (Figure("ratio", "samples a second, two processes / one", 1.6),)),
    "A million rows": (
        "large_manifest",
        (most("difference_mb", "peak memory above that of a thousand rows, MB", 200),),
    ),
    "CLAP's front end": (
        "audio_frontend",
        (
            Figure("ratio", "time, ClapFeatureExtractor / ours"),
            Figure("max_abs_db", "largest difference, dB"),
        ),
    ),
    "Start": (
        "startup",
        (Figure("import_seconds", "import modalign, s"), Figure("help_seconds", "modalign --help, s")),
    ),
}
MEMORY = "infonce --memory"


def run(command: str) -> dict[str, Any]:
    """The JSON of a benchmark."""
    module, *arguments = command.split()
    own = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--json"]
    done = subprocess.run(own, check=False, capture_output=True, text=True, cwd=DOCS.parent)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def page(measured: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Markdown."""
    yield "# Benchmarks"
    yield ""
    yield "Written by `make bench` (`python -m benchmarks.all`): ratios of medians, the peer alternating in the same"
    yield "run, on two CPU cores. Nothing here was run on a GPU."
    yield ""
    yield "| benchmark | figure | measured | target | met | command |"
    yield "|---|---|---:|---:|---|---|"
    for name, (command, figures) in BENCHMARKS.items():
        if name not in measured:
            continue
        for figure in figures:
            row = figure.row(float(measured[name][figure.key]))
            yield f"| {name} | {row} | `python -m benchmarks.{command}` |"
    if MEMORY in measured:
        yield ""
        yield "Additional memory of InfoNCE, forward and backward, D = 512:"
        yield ""
        sizes = measured[MEMORY]["memory"]
        yield f"| B | {' | '.join(str(size) for size in sizes)} |"
        yield f"|---|{'---:|' * len(sizes)}"
        yield f"| MB | {' | '.join(f'{value:,.0f}' for value in sizes.values())} |"
    notes = DOCS / "benchmarks_notes.md"
    if notes.is_file():
        yield ""
        yield notes.read_text().strip()
    yield ""
    yield f"Machine: {measured.get('machine', {}).get('said', '')}."


def main() -> None:
    """Run those asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=[*BENCHMARKS, MEMORY])
    parser.add_argument("--table", action="store_true", help="write the page from what was measured before")
    arguments = parser.parse_args()
    kept = DOCS / "benchmarks.json"
    measured: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    commands = {**{name: command for name, (command, _) in BENCHMARKS.items()}, MEMORY: MEMORY}
    for name, command in {} if arguments.table else commands.items():
        if arguments.only and name not in arguments.only:
            continue
        started = time.perf_counter()
        measured[name] = run(command)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        for figure in BENCHMARKS.get(name, ("", ()))[1]:
            print(f"  {figure.row(float(measured[name][figure.key]))}", flush=True)
        versions = f"Python {platform.python_version()}, torch {version('torch')}"
        measured["machine"] = {"said": f"{platform.machine()}, {os.cpu_count()} cores, {versions}"}
        kept.write_text(json.dumps(measured, indent=1) + "\n")
    (DOCS / "benchmarks.md").write_text("\n".join(page(measured)) + "\n")


if __name__ == "__main__":
    main()
