"""`modalign train`: train by a recipe on a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, CaptionsOption


def command(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name, a YAML file (see 'modalign init'), or a model to go on from.")
    ],
    data: Annotated[Path, typer.Option("--data", help="The manifest: .csv, .tsv, .jsonl or .parquet.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the run.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. training.epochs=3.")
    ] = None,
    descriptions: CaptionsOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")] = False,
    untrained: Annotated[
        bool, typer.Option(help="Also train the baseline with frozen random encoders, to compare with.")
    ] = True,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Train by a recipe on a manifest, choose the checkpoint on val, and save OUT/model.

    Examples:

      modalign train motion --data windows.csv --out runs/one

      modalign train my.yaml --data pairs.jsonl --out runs/two --set training.epochs=3 --set towers.text.tune=lora

      modalign train runs/one/model --data mine.csv --out runs/three --set towers.motion.tune=lora

      torchrun --nproc-per-node 2 -m modalign train motion --data windows.csv --out runs/four
    """
    from modalign.align.manifest import read_descriptions
    from modalign.align.recipe_files import load_recipe

    loaded = load_recipe(recipe, set_)
    said = read_descriptions(descriptions) if descriptions else None
    from modalign.align.processes import is_main
    from modalign.tasks.training import open_manifest, prepare_folder, train

    if is_main():
        prepare_folder(out, resume)
    manifest = open_manifest(loaded, data, said, allow_outside)
    train(loaded, manifest, out, resume=resume, untrained=untrained)
    if not is_main():
        return
    tower = next((name for name in loaded.towers if name != loaded.text), "")
    print(f"Saved {out / 'model'}. Try next:")
    print(f"  modalign evaluate {out / 'model'} {data} --modality {tower} --out {out / 'evaluation'}")
