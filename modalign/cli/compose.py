"""`modalign compose`: what a model knows of order, mixture and loudness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, ModelArgument, SplitOption, TemplateOption


def command(
    context: typer.Context,
    model: ModelArgument,
    manifest: Annotated[Path, typer.Argument(help="The manifest; its rows with one label are composed.")],
    modality: Annotated[str, typer.Option("--modality", help="The tower to test.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for metrics.json, predictions.parquet, report.html.")],
    split: SplitOption = "test",
    pairs: Annotated[int, typer.Option("--pairs", min=2, help="Compositions to draw.")] = 200,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.01, help="Of each recording; two must fit the encoder's window.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the drawing.")] = 0,
    template: TemplateOption = None,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Make pairs of recordings into mixtures and sequences, and ask which text is true of them.

    Examples:

      modalign compose runs/one/model clips.csv --modality audio --seconds 2.5 --out runs/one/composition
    """
    from modalign.cli._common import bar, command_line, load, load_untrained
    from modalign.tasks.composition import LADDER, evaluate_composition
    from modalign.tasks.report import write_report
    from modalign.tasks.table import print_table
    from modalign.tasks.training import open_manifest

    loaded = load(model)
    rows = open_manifest(loaded.source, manifest, allow_outside=allow_outside)
    loaded.tower(modality)
    twin = load_untrained(loaded)
    with bar("composing", len(LADDER) * (2 if twin else 1)) as advance:
        ladder = evaluate_composition(
            loaded,
            rows,
            modality,
            split,
            pairs=pairs,
            seed=seed,
            seconds=seconds,
            text=loaded.text,
            templates=template,
            untrained=twin,
            advance=advance,
        )
    evaluation = ladder.evaluation
    print_table(evaluation)
    ladder.save(out, {"model": Path(model).name, "manifest": manifest.name, "seed": seed})
    settings = [("model", Path(model).name), ("manifest", manifest.name), ("pairs", str(pairs)), ("seed", str(seed))]
    write_report(out / "report.html", evaluation.title, [evaluation], settings, command=command_line(context))
    print(f"Wrote {', '.join(str(out / name) for name in ('metrics.json', 'predictions.parquet', 'report.html'))}")
