"""GradCache on a text tower: its memory beside that of its micro-batch, and its time beside sentence-transformers'.

    python -m benchmarks.gradcache [--batch 2048] [--micro 64] [--runs 5] [--threads 1] [--json]

JSON keys: `memory_ratio` (peak of the whole batch by micro-batches / peak of one plain step on a micro-batch: resident
memory of a process of its own, all of it), `added_memory_ratio` (the same of what is above the loaded model),
`time_ratio` (CachedMultipleNegativesRankingLoss, both directions / ours; medians of alternating steps on the same
encoder, texts and micro-batches), `loss_difference` (between the two, without dropout), and what they are made of.

The encoder is a random BERT of two layers, 128 wide, with MiniLM's tokenizer. Texts are 8 to 40 words long.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor, nn

from benchmarks.measuring import alternate, resident
from modalign.align.collate import micro_batches
from modalign.align.config import ModelConfig
from modalign.align.gradcache import gradcache
from modalign.align.losses import infonce
from modalign.align.model import AlignmentModel, AlignmentOutput
from modalign.modalities.base import Signal
from modalign.modalities.text.offline import minilm_folder

TOWERS = ("query", "answer")
WIDTH = 128
WORDS = """a the of and to in is patient sound person with rhythm walks heart left right normal chest shows no signs dog
barks rain falls slowly while low high pitch signal steady runs stairs sits wave lung mild acute chronic"""


def texts(batch: int) -> dict[str, list[str]]:
    """Two texts a row."""
    draw = random.Random(0)
    return {t: [" ".join(draw.choices(WORDS.split(), k=draw.randint(8, 40))) for _ in range(batch)] for t in TOWERS}


def checkpoint(folder: Path) -> Path:
    """The encoder in the format of sentence-transformers."""
    from transformers import BertConfig, BertModel

    shutil.copytree(minilm_folder(), folder, ignore=shutil.ignore_patterns("model.safetensors"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30522, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=4 * WIDTH
    )
    BertModel(config).save_pretrained(folder)
    return folder


def build(folder: Path) -> AlignmentModel:
    """Two towers of one encoder, whose features are the embeddings; the temperature is fixed, as is theirs."""
    towers = {
        name: {"modality": "text", "options": {"checkpoint": str(folder)}, "projection": {"kind": "identity"}}
        for name in TOWERS
    }
    model = AlignmentModel(ModelConfig(towers=towers, dim=WIDTH, temperature={"init": 0.05, "learnable": False}))
    model.tower("answer").encoder = model.tower("query").encoder
    return model.train()


def loss_of(output: AlignmentOutput, places: dict[str, Tensor]) -> Tensor:
    """Symmetric InfoNCE."""
    return infonce(*(output.embeddings[name][places[name]] for name in TOWERS), output.scale)


def collated(
    model: AlignmentModel, rows: dict[str, list[str]], size: int
) -> tuple[dict[str, list[dict[str, Tensor]]], dict[str, Tensor]]:
    """As the trainer's collator makes it: texts of like length together, each micro-batch padded to its own longest."""
    made, places = {}, {}
    for name in TOWERS:
        processing = model.tower(name).processing
        items = [processing(Signal(torch.zeros(1), meta={"text": text})) for text in rows[name]]
        made[name], order = micro_batches(items, size, processing.collate)
        places[name] = torch.tensor(order).argsort()
    return made, places


def step(model: AlignmentModel, rows: dict[str, list[str]], size: int) -> float:
    """Tokens, gradients of the whole batch by micro-batches."""
    model.zero_grad()
    inputs, places = collated(model, rows, size)
    return float(gradcache(model, inputs, lambda output: loss_of(output, places), size))


def plain(model: AlignmentModel, rows: dict[str, list[str]]) -> float:
    """The same in one piece."""
    model.zero_grad()
    inputs, places = collated(model, rows, len(rows["query"]))
    loss = loss_of(model({name: own[0] for name, own in inputs.items()}), places)
    loss.backward()
    return float(loss.detach())


def theirs(folder: Path, size: int) -> Callable[[dict[str, list[str]]], float]:
    """sentence-transformers' on the same checkpoint."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    model = SentenceTransformer(str(folder), device="cpu").train()
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


def measure(folder: Path, batch: int, micro: int, runs: int, threads: int) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(threads)
    model, peer, rows = build(folder), theirs(folder, micro), texts(batch)
    seconds = alternate({"ours": partial(step, model, rows, micro), "theirs": partial(peer, rows)}, runs)
    few = {name: own[: 2 * micro] for name, own in rows.items()}
    without_dropout(model)
    without_dropout(peer.model)  # type: ignore[attr-defined]
    difference = abs(step(model, few, micro) - peer(few))
    memory = {which: peaks(folder, which, batch, micro, threads) for which in ("whole", "micro")}
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


def peaks(folder: Path, which: str, batch: int, micro: int, threads: int) -> dict[str, float]:
    """Median megabytes of three processes of their own."""
    command = [sys.executable, "-m", "benchmarks.gradcache", "--only", which, "--batch", str(batch)]
    command += ["--micro", str(micro), "--threads", str(threads), "--folder", str(folder)]
    found = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    return {kind: statistics.median(own[kind] for own in found) for kind in ("peak", "added")}


def peak_of(folder: Path, which: str, batch: int, micro: int, threads: int) -> dict[str, float]:
    """Megabytes at the peak of a training step, and how many of them are above the loaded model."""
    torch.set_num_threads(threads)
    model, rows = build(folder), texts(batch)
    # What libraries set up at the first call is neither's.
    plain(model, {name: own[:2] for name, own in rows.items()})
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
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=("whole", "micro"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(peak_of(args.folder, args.only, args.batch, args.micro, args.threads)))
        sys.exit()
    with tempfile.TemporaryDirectory() as made:
        figures = measure(checkpoint(Path(made) / "bert"), args.batch, args.micro, args.runs, args.threads)
    if args.json:
        print(json.dumps(figures))
    else:
        print(f"memory  {figures['memory_ratio']:.2f} of a micro-batch's peak (target: at most 1.3)")
        print(f"        {figures['added_memory_ratio']:.2f} of what a micro-batch adds to the loaded model")
        print(f"time    sentence-transformers / ours {figures['time_ratio']:.2f} (target: 1)")
        print(f"loss    {figures['loss_difference']:.1e} apart")
