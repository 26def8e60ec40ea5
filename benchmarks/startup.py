"""How long `import modalign` and `modalign --help` take, in fresh processes.

    python -m benchmarks.startup [--json]

JSON keys: `import_seconds` and `help_seconds` (medians over `runs` alternating fresh processes, the time of a bare
interpreter taken off the import), `bare_seconds`, `torch_loaded` (whether either loaded torch; must be false).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

BARE = [sys.executable, "-c", "pass"]
IMPORT = [sys.executable, "-c", "import modalign"]
HELP = [sys.executable, "-m", "modalign", "--help"]
PROBE = """
import sys
sys.argv = ["modalign", "--help"]
try:
    import modalign.__main__
except SystemExit:
    print("torch" in sys.modules)
"""


def seconds(command: list[str]) -> float:
    """Wall seconds of one fresh process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def measure(runs: int = 9) -> dict[str, float | bool | int]:
    """Medians of alternating runs, after one warm-up each."""
    commands = {"bare": BARE, "import": IMPORT, "help": HELP}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            elapsed = seconds(command)
            if run:
                times[name].append(elapsed)
    median = {name: statistics.median(values) for name, values in times.items()}
    probe = subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True)
    return {
        "import_seconds": median["import"] - median["bare"],
        "help_seconds": median["help"],
        "bare_seconds": median["bare"],
        "torch_loaded": probe.stdout.strip().endswith("True"),
        "runs": runs,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    figures = measure()
    if parser.parse_args().json:
        print(json.dumps(figures))
    else:
        print(f"import modalign   {figures['import_seconds']:.3f} s (target: under 0.15)")
        print(f"modalign --help   {figures['help_seconds']:.3f} s (target: under 0.40)")
        print(f"torch loaded      {figures['torch_loaded']}")
