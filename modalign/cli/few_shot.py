"""`modalign few-shot`: classification from a few labelled rows a class, beside prompts and baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, DescriptionsOption, ModelArgument, TemplateOption


def command(
    context: typer.Context,
    model: ModelArgument,
    manifest: Annotated[Path, typer.Argument(help="The manifest, with the splits train, test and best also val.")],
    modality: Annotated[str, typer.Option("--modality", help="The tower to classify with.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for metrics, predictions, report and plot.")],
    shots: Annotated[str, typer.Option("--shots", help="Labelled rows a class.")] = "1,2,4,8,16",
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Seeded draws of the labelled rows.")] = 20,
    methods: Annotated[
        str,
        typer.Option("--methods", help="gda, prototypes, cross-modal, tip-adapter, logistic; default: all that fit."),
    ] = "",
    features: Annotated[
        str, typer.Option("--features", help="aligned, tower (before the projection), or aligned,tower.")
    ] = "aligned",
    choose_on: Annotated[
        str,
        typer.Option(
            "--choose-on",
            help="few: as many val rows a class as shots; val: all of val; support: cross-validation without val.",
        ),
    ] = "few",
    seed: Annotated[int, typer.Option("--seed", help="Of the draws.")] = 0,
    descriptions: DescriptionsOption = None,
    template: TemplateOption = None,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Learn from a few train rows a class, choose parameters on val, and measure on test, over seeded episodes.

    Writes metrics.json, predictions.parquet (the episode nearest to the mean), episodes.parquet (all), report.html and
    shots.png.

    Examples:

      modalign few-shot runs/one/model windows.csv --modality motion --shots 1,2,4,8,16 --episodes 20 --out few

      modalign few-shot runs/one/model windows.csv --modality motion --methods gda,prototypes --features tower --out few
    """
    from modalign.align.manifest import read_descriptions
    from modalign.align.privacy import without_paths
    from modalign.cli._common import bar, command_line, load, load_untrained, numbers, words
    from modalign.errors import MissingExtraError
    from modalign.tasks.features import KINDS
    from modalign.tasks.few_shot.evaluate import check_options, evaluate_few_shot, few_shot_features
    from modalign.tasks.few_shot.plot import plot_shots
    from modalign.tasks.report import write_report
    from modalign.tasks.table import print_table
    from modalign.tasks.training import open_manifest

    wanted = [int(k) for k in numbers("--shots", shots, whole=True)]
    kinds = words("--features", features, KINDS)
    check_options(wanted, episodes, choose_on)
    said = read_descriptions(descriptions) if descriptions else None
    loaded = load(model)
    rows = open_manifest(loaded.source, manifest, allow_outside=allow_outside)
    loaded.tower(modality)
    twin = load_untrained(loaded)
    with bar("embedding", len(rows.rows) * (2 if twin else 1)) as advance:
        encoded = few_shot_features(loaded, rows, modality, kinds, twin, advance)
    with bar("episodes", episodes) as ran:
        evaluation = evaluate_few_shot(
            loaded,
            rows,
            modality,
            wanted,
            episodes,
            methods=words("--methods", methods),
            kinds=kinds,
            choose_on=choose_on,
            seed=seed,
            templates=template,
            descriptions=said,
            text=loaded.text,
            untrained=twin,
            features=encoded,
            ran=ran,
        )
    print_table(evaluation)
    evaluation.save(out, {"model": Path(model).name, "manifest": manifest.name, "seed": seed})
    settings = [("model", Path(model).name), ("manifest", manifest.name), ("shots", shots), ("choose on", choose_on)]
    write_report(
        out / "report.html",
        evaluation.title,
        [evaluation],
        [*settings, ("seed", str(seed))],
        command=command_line(context),
        recipe=without_paths((loaded.record or {}).get("recipe")),
    )
    written = ["metrics.json", "predictions.parquet", "episodes.parquet", "report.html"]
    try:
        plot_shots(evaluation, out / "shots.png")
        written.append("shots.png")
    except MissingExtraError as error:
        print(f"No plot: {error}")
    print(f"Wrote {', '.join(str(out / name) for name in written)}")
