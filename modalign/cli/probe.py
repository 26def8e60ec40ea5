"""`modalign probe`: linear and MLP probes on frozen features, at shares of the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, ModelArgument


def command(
    context: typer.Context,
    model: ModelArgument,
    manifest: Annotated[Path, typer.Argument(help="The manifest, with the splits train and test.")],
    modality: Annotated[str, typer.Option("--modality", help="The tower to probe.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for metrics, predictions and report.")],
    fractions: Annotated[str, typer.Option("--fractions", help="Shares of the train rows.")] = "0.01,0.1,1",
    target: Annotated[
        str | None,
        typer.Option("--target", help="A column to learn in place of the labels; regression if it holds numbers."),
    ] = None,
    probes: Annotated[str, typer.Option("--probes", help="linear, mlp, or linear,mlp.")] = "linear,mlp",
    features: Annotated[
        str, typer.Option("--features", help="tower (before the projection), aligned, or tower,aligned.")
    ] = "tower,aligned",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Subsets of each fraction below 1.")] = 3,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Fit linear and MLP probes on frozen features of train rows, and measure them on test.

    Writes metrics.json, predictions.parquet (the first probe), runs.parquet (all) and report.html.

    Examples:

      modalign probe runs/one/model windows.csv --modality motion --fractions 0.01,0.1,1 --out probed

      modalign probe runs/one/model records.csv --modality ecg --target age --probes linear --out age
    """
    from modalign.align.privacy import without_paths
    from modalign.cli._common import bar, command_line, load, load_untrained, numbers, words
    from modalign.tasks.features import KINDS
    from modalign.tasks.probe.evaluate import check_options, evaluate_probe, probe_features, with_target
    from modalign.tasks.probe.fits import PROBES
    from modalign.tasks.report import write_report
    from modalign.tasks.table import print_table
    from modalign.tasks.training import open_manifest

    shares = numbers("--fractions", fractions)
    kinds, names = words("--features", features, KINDS), words("--probes", probes, list(PROBES))
    check_options(shares, names)
    loaded = load(model)
    rows = open_manifest(loaded.source, manifest, allow_outside=allow_outside)
    loaded.tower(modality)
    named, targets = with_target(rows, target)
    twin = load_untrained(loaded)
    with bar("embedding", len(rows.rows) * (2 if twin else 1)) as advance:
        encoded = probe_features(loaded, named, modality, targets, kinds, twin, advance)
    with bar("subsets", sum(seeds if f < 1 else 1 for f in shares)) as ran:
        evaluation = evaluate_probe(
            loaded,
            rows,
            modality,
            shares,
            probes=names,
            kinds=kinds,
            target=target,
            seeds=seeds,
            features=encoded,
            ran=ran,
        )
    print_table(evaluation)
    evaluation.save(out, {"model": Path(model).name, "manifest": manifest.name})
    settings = [("model", Path(model).name), ("manifest", manifest.name), ("target", target or "label")]
    write_report(
        out / "report.html",
        evaluation.title,
        [evaluation],
        [*settings, ("fractions", fractions)],
        command=command_line(context),
        recipe=without_paths((loaded.record or {}).get("recipe")),
    )
    written = ("metrics.json", "predictions.parquet", "runs.parquet", "report.html")
    print(f"Wrote {', '.join(str(out / name) for name in written)}")
