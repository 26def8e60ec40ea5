"""The `clap` front end beside transformers.ClapFeatureExtractor: how fast, and how far apart.

    python -m benchmarks.audio_frontend [--json] [--data FOLDER] [--clips N] [--runs N] [--threads N]

JSON keys: `ratio` (median seconds of theirs / median of ours, alternating runs on the same batch, the same threads for
torch and BLAS), `max_abs_db` (over every deterministic mode), `theirs_seconds`, `ours_seconds`, `clips`, `runs`,
`threads`, `real` (whether the clips are recordings: FOLDER, $MODALIGN_DATA or ../shared/data; else noise bursts).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from modalign.modalities.audio.frontends import FRONTENDS, features
from modalign.modalities.audio.processing import AudioProcessing
from modalign.modalities.audio.resample import resample
from modalign.modalities.base import Signal
from modalign.modalities.registry import get_modality

RATE, SAMPLES = 48_000, 480_000


def clips(count: int, folder: Path | None) -> tuple[list[torch.Tensor], bool]:
    """Waveforms of 10 s at 48 kHz, each made of real ones where there are any."""
    given = folder or Path(os.environ.get("MODALIGN_DATA") or Path(__file__).parents[1] / "../shared/data")
    paths = sorted((given / "audio_esc10").glob("*/*.ogg"))
    if not paths:
        generator = torch.Generator().manual_seed(0)
        bursts = torch.randn(count, SAMPLES, generator=generator) * torch.linspace(-5, 0, SAMPLES).exp()
        return list(bursts), False
    chosen = paths[:: max(1, len(paths) // count)][:count]
    signals = [get_modality("audio").load(path) for path in chosen]
    waves = [resample(s.data[0], s.rate or RATE, RATE) for s in signals]
    return [wave.repeat(SAMPLES // len(wave) + 1)[:SAMPLES] for wave in waves], True


def difference(waves: list[torch.Tensor]) -> float:
    """The largest difference in dB, over filling modes, both filterbanks and short clips."""
    from transformers import ClapFeatureExtractor

    worst = 0.0
    for longer in ("rand_trunc", "fusion"):
        for shorter in ("repeatpad", "repeat", "pad"):
            theirs = ClapFeatureExtractor(frequency_min=50, truncation=longer, padding=shorter)
            ours = AudioProcessing(frontend="clap", longer=longer, shorter=shorter)  # type: ignore[arg-type]
            for wave in (waves[0], *(w[:130_001] for w in waves)):
                values = ours.collate([ours(Signal(wave[None], float(RATE), ("mono",)))])["values"]
                expected = theirs(wave.numpy(), sampling_rate=RATE, return_tensors="np")["input_features"]
                worst = max(worst, float(np.abs(values.numpy() - expected).max()))
    return worst


def measure(count: int = 8, runs: int = 7, threads: int = 1, folder: Path | None = None) -> dict[str, Any]:
    """Medians of alternating runs over one batch, after a warm-up."""
    from threadpoolctl import threadpool_limits
    from transformers import ClapFeatureExtractor

    torch.set_num_threads(threads)
    waves, real = clips(count, folder)
    batch, arrays = torch.stack(waves), [wave.numpy() for wave in waves]
    extractor = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc")
    times: dict[str, list[float]] = {"theirs": [], "ours": []}
    with threadpool_limits(threads):
        for run in range(runs + 1):
            start = time.perf_counter()
            extractor(arrays, sampling_rate=RATE, return_tensors="np")
            middle = time.perf_counter()
            features(batch, FRONTENDS["clap"])
            end = time.perf_counter()
            if run:
                times["theirs"].append(middle - start)
                times["ours"].append(end - middle)
    theirs, ours = statistics.median(times["theirs"]), statistics.median(times["ours"])
    return {
        "ratio": theirs / ours,
        "max_abs_db": difference(waves),
        "theirs_seconds": theirs,
        "ours_seconds": ours,
        "clips": count,
        "runs": runs,
        "threads": threads,
        "real": real,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, help="folder of real files")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    figures = measure(given.clips, given.runs, given.threads, given.data)
    if given.json:
        print(json.dumps(figures))
    else:
        print(f"ClapFeatureExtractor  {figures['theirs_seconds']:.3f} s for {figures['clips']} clips of 10 s")
        print(
            f"modalign              {figures['ours_seconds']:.3f} s, {figures['ratio']:.1f} times as fast (target: 3)"
        )
        print(f"largest difference    {figures['max_abs_db']:.1e} dB (target: 1e-3)")
