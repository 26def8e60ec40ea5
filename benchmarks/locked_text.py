"""An epoch of the demo with its locked text tower: features encoded once, beside encoding every batch anew.

    python -m benchmarks.locked_text [--runs 5] [--threads 1] [--json]

JSON keys: `time_ratio` (anew / once; medians of alternating epochs from the same first weights, on the same batches),
`loss_difference` (of the last logged training loss), `encode_seconds` (what encoding every sentence once took, before
the epoch), and what they are made of. The recipe and data are the demo's (`shoulder`); nothing is evaluated or saved.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import yaml

from modalign.align.encode import encode_frozen
from modalign.align.manifest import Manifest
from modalign.align.model import build_model
from modalign.align.recipe_files import load_recipe
from modalign.align.trainer import AlignmentTrainer
from modalign.datasets.shoulder_exercises import write_manifest
from modalign.tasks.training import open_manifest

RECIPE = ("shoulder", ["training.epochs=1", "training.log_every=1"])


def trainer_for(manifest: Manifest, out: Path, anew: bool) -> AlignmentTrainer:
    """A trainer at the first weights; `anew`: without the features that it encoded."""
    recipe = load_recipe(*RECIPE)
    trainer = AlignmentTrainer(build_model(recipe), recipe, manifest, None, out)
    trainer.args.save_strategy = "no"
    if anew:
        trainer.tables = {"train": {}, "val": {}}
        trainer.train_rows.cached.clear()
    return trainer


def measure(runs: int, threads: int) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(threads)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    words = yaml.safe_load((files("modalign.datasets") / "shoulder_exercises.yaml").read_text(encoding="utf-8"))
    times: dict[str, list[float]] = {"once": [], "anew": []}
    losses: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_manifest(Path(folder) / "data", {label: sets["train"] for label, sets in words.items()})
        manifest = open_manifest(load_recipe(*RECIPE), path).split("train")
        for run in range(runs):
            for name, taken in times.items():
                trainer = trainer_for(manifest, Path(folder) / f"{name}-{run}", name == "anew")
                start = time.perf_counter()
                trainer.train()
                taken.append(time.perf_counter() - start)
                losses[name] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1]
        start = time.perf_counter()
        (table,), _ = encode_frozen(trainer.model, [trainer.train_rows], "text")
        encoding = time.perf_counter() - start
    seconds = {name: statistics.median(taken) for name, taken in times.items()}
    return {
        "time_ratio": seconds["anew"] / seconds["once"],
        "loss_difference": abs(losses["anew"] - losses["once"]),
        "encode_seconds": encoding,
        **{f"{name}_seconds": value for name, value in seconds.items()},
        **{f"{name}_loss": value for name, value in losses.items()},
        "rows": len(manifest.rows),
        "sentences": len(table),
        "runs": runs,
        "threads": threads,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = measure(args.runs, args.threads)
    if args.json:
        print(json.dumps(figures))
    else:
        print(f"epoch, sentences encoded once     {figures['once_seconds']:.2f} s ({figures['rows']} rows)")
        print(f"epoch, sentences encoded anew     {figures['anew_seconds']:.2f} s")
        print(f"ratio                             {figures['time_ratio']:.1f} (target: 5)")
        print(f"final losses apart                {figures['loss_difference']:.1e} (target: 1e-4)")
        print(f"{figures['sentences']} sentences encoded once in      {figures['encode_seconds']:.2f} s")
