"""`modalign demo`: from recordings inside a wheel to a trained, saved, evaluated model, offline, on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option("--out", help="Folder for the data, the model and the report.")] = Path(
        "modalign-demo"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the weights, the order and the captions.")] = 0,
) -> None:
    """Align a smartwatch with text on real shoulder exercises, and classify people whom training never saw.

    Example:

      modalign demo --out modalign-demo
    """
    from modalign.cli._demo import run

    run(out, seed)
