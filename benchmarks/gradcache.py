"""GradCache on a text tower: its memory beside that of its micro-batch, and its time beside sentence-transformers'.

    python -m benchmarks.gradcache [--batch 2048] [--micro 64] [--runs 5] [--threads 2] [--json]

JSON keys: `memory_ratio` (peak of the whole batch by micro-batches / peak of one plain step on a micro-batch: resident
memory of a process of its own, all of it), `added_memory_ratio` (the same of what is above the loaded model),
`time_ratio` (CachedMultipleNegativesRankingLoss, both directions / ours; medians of alternating steps on the same
encoder, texts and micro-batches), `loss_difference` (between the two, without dropout), and what they are made of.

The encoder is the offline MiniLM (22 M parameters), or with `--small` a random one. Texts are 8 to 40 words long.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor, nn

from benchmarks.infonce import resident
from modalign.align.config import ModelConfig
from modalign.align.gradcache import gradcache
from modalign.align.losses import infonce
from modalign.align.model import AlignmentModel, AlignmentOutput
from modalign.modalities.base import Signal
from modalign.modalities.text.offline import minilm_folder

TOWERS = ("query", "answer")
WORDS = [
    "a",
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "patient",
    "sound",
    "person",
    "with",
    "rhythm",
    "walks",
    "heart",
    "left",
    "right",
    "normal",
    "chest",
    "shows",
    "no",
    "signs",
    "dog",
    "barks",
    "rain",
    "falls",
    "slowly",
    "while",
    "low",
    "high",
    "pitch",
    "signal",
    "steady",
    "runs",
    "stairs",
    "sits",
    "wave",
    "lung",
    "mild",
    "acute",
    "chronic",
]


def texts(batch: int) -> dict[str, list[str]]:
    """Two texts a row."""
    draw = random.Random(0)
    return {t: [" ".join(draw.choices(WORDS, k=draw.randint(8, 40))) for _ in range(batch)] for t in TOWERS}


def build() -> AlignmentModel:
    """Two towers of one encoder, whose features are the embeddings; the temperature is fixed, as is theirs."""
    towers = {
        name: {"modality": "text", "options": {"checkpoint": "minilm"}, "projection": {"kind": "identity"}}
        for name in TOWERS
    }
    model = AlignmentModel(ModelConfig(towers=towers, dim=384, temperature={"init": 0.05, "learnable": False}))
    model.tower("answer").encoder = model.tower("query").encoder
    return model.train()


def collated(model: AlignmentModel, rows: dict[str, list[str]], size: int) -> dict[str, list[dict[str, Tensor]]]:
    """As the trainer's collator makes it: each micro-batch padded to its own longest."""
    made = {}
    for name in TOWERS:
        processing = model.tower(name).processing
        items = [processing(Signal(torch.zeros(1), meta={"text": text})) for text in rows[name]]
        made[name] = [processing.collate(items[s : s + size]) for s in range(0, len(items), size)]
    return made


def loss_of(output: AlignmentOutput) -> Tensor:
    """Symmetric InfoNCE."""
    return infonce(*(output.embeddings[name] for name in TOWERS), output.scale)


def step(model: AlignmentModel, rows: dict[str, list[str]], size: int) -> float:
    """Tokens, gradients of the whole batch by micro-batches."""
    model.zero_grad()
    return float(gradcache(model, collated(model, rows, size), loss_of, size))


def plain(model: AlignmentModel, rows: dict[str, list[str]]) -> float:
    """The same in one piece."""
    model.zero_grad()
    inputs = {name: own[0] for name, own in collated(model, rows, len(rows["query"])).items()}
    loss = loss_of(model(inputs))
    loss.backward()
    return float(loss.detach())


def theirs(size: int) -> Callable[[dict[str, list[str]]], float]:
    """sentence-transformers' on the same checkpoint."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import CachedMultipleNegativesRankingLoss

    model = SentenceTransformer(str(minilm_folder()), device="cpu").train()
    cached: nn.Module = CachedMultipleNegativesRankingLoss(
        model, mini_batch_size=size, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
    )

    def run(rows: dict[str, list[str]]) -> float:
        model.zero_grad()
        features = [model.preprocess(rows[name]) for name in TOWERS]
        loss = cached(features, torch.zeros(len(rows["query"])))
        loss.backward()
        return float(loss.detach())

    run.model = model  # type: ignore[attr-defined]
    return run


def without_dropout(module: nn.Module) -> None:
    """For the comparison of values."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0


def measure(batch: int, micro: int, runs: int, threads: int) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(threads)
    model, peer, rows = build(), theirs(micro), texts(batch)
    work = {"ours": partial(step, model, rows, micro), "theirs": partial(peer, rows)}
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(runs):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(taken) for name, taken in times.items()}
    few = {name: own[: 2 * micro] for name, own in rows.items()}
    without_dropout(model)
    without_dropout(peer.model)  # type: ignore[attr-defined]
    difference = abs(step(model, few, micro) - peer(few))
    memory = {which: peaks(which, batch, micro, threads) for which in ("whole", "micro")}
    return {
        "memory_ratio": memory["whole"]["peak"] / memory["micro"]["peak"],
        "added_memory_ratio": memory["whole"]["added"] / memory["micro"]["added"],
        "time_ratio": seconds["theirs"] / seconds["ours"],
        "loss_difference": difference,
        **{f"{name}_seconds": value for name, value in seconds.items()},
        **{f"{which}_{kind}_mb": value for which, own in memory.items() for kind, value in own.items()},
        "batch": batch,
        "micro": micro,
        "runs": runs,
        "threads": threads,
    }


def peaks(which: str, batch: int, micro: int, threads: int) -> dict[str, float]:
    """Median megabytes of three processes of their own."""
    command = [sys.executable, "-m", "benchmarks.gradcache", "--only", which, "--batch", str(batch)]
    command += ["--micro", str(micro), "--threads", str(threads)]
    found = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    return {kind: statistics.median(own[kind] for own in found) for kind in ("peak", "added")}


def peak_of(which: str, batch: int, micro: int, threads: int) -> dict[str, float]:
    """Megabytes at the peak of a training step, and how many of them are above the loaded model."""
    torch.set_num_threads(threads)
    model, rows = build(), texts(batch)
    before = resident("VmRSS")
    if which == "whole":
        step(model, rows, micro)
    else:
        plain(model, {name: own[:micro] for name, own in rows.items()})
    peak = resident("VmHWM")
    return {"peak": peak, "added": peak - before}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--micro", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=("whole", "micro"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(peak_of(args.only, args.batch, args.micro, args.threads)))
        sys.exit()
    figures = measure(args.batch, args.micro, args.runs, args.threads)
    if args.json:
        print(json.dumps(figures))
    else:
        print(f"memory  {figures['memory_ratio']:.2f} of a micro-batch's peak (target: at most 1.3)")
        print(f"        {figures['added_memory_ratio']:.2f} of what a micro-batch adds to the loaded model")
        print(f"time    sentence-transformers / ours {figures['time_ratio']:.2f} (target: 1)")
        print(f"loss    {figures['loss_difference']:.1e} apart")
