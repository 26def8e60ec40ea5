"""Zero-shot classification of clips beside transformers' `zero-shot-audio-classification` pipeline.

    python -m benchmarks.clap_zero_shot [--clips 40] [--runs 5] [--threads 1] [--data FOLDER] [--json]

JSON keys: `ratio` (clips a second: ours / theirs; medians of alternating runs), `max_score_difference`, and what they
are made of. Both get the same arrays (ESC-10, 5 s at 48 kHz), ten labels, one template, and the same checkpoint: a
small random CLAP, saved to a folder. Ours encodes the prompts once, in the first run, which warms up; theirs does so for each clip.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.clap import RATE, TEMPLATE, data_folder, ours, save_checkpoint
from modalign.modalities.audio.resample import resample
from modalign.modalities.registry import get_modality
from modalign.tasks.zero_shot import ZeroShotClassifier


def clips(count: int, data: Path | None) -> tuple[list[NDArray[np.float32]], list[str]]:
    """Waveforms at 48 kHz, and the labels of all of them."""
    paths = sorted(data_folder(data).glob("*/*.ogg"))
    chosen = paths[:: max(1, len(paths) // count)][:count]
    signals = [get_modality("audio").load(path) for path in chosen]
    labels = sorted({path.parent.name.split("_-_")[1].replace("_", " ").lower() for path in paths})
    return [resample(s.data[0], s.rate or RATE, RATE).numpy() for s in signals], labels


def measure(count: int, runs: int, threads: int, data: Path | None) -> dict[str, Any]:
    """All figures."""
    from threadpoolctl import threadpool_limits
    from transformers import pipeline

    torch.set_num_threads(threads)
    waves, labels = clips(count, data)
    with tempfile.TemporaryDirectory() as made, threadpool_limits(threads):
        folder = save_checkpoint(Path(made) / "clap", f"{TEMPLATE} {' '.join(labels)}".replace(".", " . ").split())
        model = ours(folder).eval()
        classify = pipeline("zero-shot-audio-classification", model=str(folder), device="cpu")
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for run in range(runs + 1):
            start = time.perf_counter()
            classifier = ZeroShotClassifier(model, "audio", labels, [TEMPLATE.format("{label}")])
            found = classifier.predict_proba(waves, rate=RATE)
            middle = time.perf_counter()
            expected = classify(waves, candidate_labels=labels, hypothesis_template=TEMPLATE)
            end = time.perf_counter()
            if run:
                times["ours"].append(middle - start)
                times["theirs"].append(end - middle)
    scores = [[{s["label"]: s["score"] for s in one}[label] for label in labels] for one in expected]
    seconds = {name: statistics.median(taken) for name, taken in times.items()}
    return {
        "ratio": seconds["theirs"] / seconds["ours"],
        "max_score_difference": float(np.abs(found - np.array(scores)).max()),
        **{f"{name}_seconds": value for name, value in seconds.items()},
        **{f"{name}_clips_a_second": len(waves) / value for name, value in seconds.items()},
        "score_range": float(np.ptp(found)),
        "clips": len(waves),
        "labels": len(labels),
        "runs": runs,
        "threads": threads,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder of real files")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = measure(args.clips, args.runs, args.threads, args.data)
    if args.json:
        print(json.dumps(figures))
    else:
        print(f"pipeline   {figures['theirs_clips_a_second']:.1f} clips a second")
        print(f"modalign   {figures['ours_clips_a_second']:.1f}, {figures['ratio']:.2f} times as many (target: 2)")
        print(f"scores     {figures['max_score_difference']:.1e} apart (target: 1e-4)")
