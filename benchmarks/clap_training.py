"""Training from files, beside a plain loop over `transformers.ClapModel` and its feature extractor.

    python -m benchmarks.clap_training [--data FOLDER] [--clips 64] [--batch 16] [--epochs 2] [--runs 5] [--json]

Both train the same random ClapModel's towers whole, with AdamW and the symmetric loss, on ESC-10's clips of 5 s with a
caption each. The plain loop reads, resamples and extracts a batch, then takes a step, as the library's examples do;
ours is the trainer of `modalign train`, without evaluation. Both read each file from the disk at first; ours keeps the
decoded signals for the next epoch, which is part of what is measured: give `--epochs 1` to leave it out.

JSON keys: `ratio` (our samples a second / theirs; medians of alternating runs), `ours_per_second`, `theirs_per_second`,
`samples` (of a run), `batch`.
"""

from __future__ import annotations

import os
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from benchmarks.clap_zero_shot import DIM, PROMPT, RATE, esc10, save_checkpoint
from benchmarks.measuring import alternate, arguments_of, show
from modalign import AlignmentTrainer, build_model, get_modality
from modalign.align.manifest import parse_table
from modalign.align.recipe_files import parse_recipe

WIDTH = 16
"""Of the audio tower's first stage, 128 at its end. The larger the net, the nearer are the two: it is the same net."""


def rows_of(data: Path, most: int) -> list[tuple[Path, str]]:
    """Clips of all classes in turn, and their captions."""
    return [(file, PROMPT.replace("{label}", label)) for file, label in esc10(data, most)]


def plain(folder: Path, rows: list[tuple[Path, str]], batch: int, epochs: int) -> float:
    """Seconds of a loop over the library's own model and extractor."""
    import soundfile
    import torchaudio.functional as audio
    from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

    model = ClapModel.from_pretrained(folder).train()
    extractor, tokenizer = ClapFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    started = time.perf_counter()
    for epoch in range(epochs):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch)).tolist()
        for start in range(0, len(rows), batch):
            chosen = [rows[i] for i in order[start : start + batch]]
            waves = []
            for file, _ in chosen:
                samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
                waves.append(audio.resample(torch.from_numpy(samples.mean(1)), rate, RATE).numpy())
            sound = extractor(waves, sampling_rate=RATE, return_tensors="pt")
            words = tokenizer([caption for _, caption in chosen], padding=True, return_tensors="pt")
            given = {**sound, "input_ids": words["input_ids"], "attention_mask": words["attention_mask"]}
            loss = model(**given, return_loss=True).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return time.perf_counter() - started


def ours(folder: Path, rows: list[tuple[Path, str]], batch: int, epochs: int, out: Path) -> float:
    """Seconds of the trainer's run."""
    import pandas as pd

    projection = {"kind": "mlp", "hidden": DIM}
    text = {"checkpoint": str(folder / "text"), "pooling": "pooler"}
    recipe = parse_recipe(
        {
            "dim": DIM,
            "towers": {
                "text": {"options": text, "projection": projection},
                "audio": {"encoder": "clap", "options": {"checkpoint": str(folder)}, "projection": projection},
            },
            "pairs": [["text", "audio"]],
            "training": {"epochs": epochs, "batch_size": batch, "learning_rate": 1e-4, "evaluate_every": 100},
        }
    )
    table = pd.DataFrame([{"id": i, "text": said, "audio": str(file)} for i, (file, said) in enumerate(rows)])
    manifest = parse_table(table, {name: get_modality(name) for name in recipe.towers}, allow_outside=True)
    trainer = AlignmentTrainer(build_model(recipe), recipe, manifest, None, out)
    started = time.perf_counter()
    trainer.train()
    return time.perf_counter() - started


def measure(data: Path, clips: int, batch: int, epochs: int, runs: int) -> dict[str, Any]:
    """Alternating runs."""
    rows = rows_of(data, clips)
    words = {word.strip(".").lower() for _, caption in rows for word in caption.split()} | {"."}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "clap"
        folder.mkdir()
        save_checkpoint(folder, words, WIDTH)
        number = count()
        work = {
            "theirs": lambda: plain(folder, rows, batch, epochs),
            "ours": lambda: ours(folder, rows, batch, epochs, Path(name) / str(next(number))),
        }
        seconds = alternate(work, runs, own_clock=True)
    samples = len(rows) * epochs
    return {
        "ratio": seconds["theirs"] / seconds["ours"],
        "ours_per_second": samples / seconds["ours"],
        "theirs_per_second": samples / seconds["theirs"],
        "samples": samples,
        "batch": batch,
    }


def main() -> None:
    """Measure, and print."""
    arguments = arguments_of(__doc__, data=True, clips=64, batch=16, epochs=2, runs=5, threads=2).parse_args()
    torch.set_num_threads(arguments.threads)
    given = arguments.clips, arguments.batch, arguments.epochs, arguments.runs
    show(measure(arguments.data, *given), arguments.json)


if __name__ == "__main__":
    main()
