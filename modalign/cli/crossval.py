"""`modalign crossval`: cross-validation by group, for sets of few people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, CaptionsOption


def command(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a YAML file (see 'modalign init').")],
    data: Annotated[Path, typer.Option("--data", help="The manifest; its own split is not used.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the folds, the figures and the report.")],
    folds: Annotated[int, typer.Option("--folds", help="Three or more; as many as groups: one a fold.")] = 5,
    modality: Annotated[
        str, typer.Option("--modality", help="The tower to classify with; unasked, the recipe's first but text.")
    ] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. training.epochs=3.")
    ] = None,
    descriptions: CaptionsOption = None,
    by: Annotated[
        str, typer.Option("--by", help="Columns for subgroups, e.g. sex,age,site; bins of one's own: age=40,60.")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on: folds that are done are not trained again.")] = False,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Train one model a fold by group, test each on the people it never saw, and put the scores together.

    With under ten people an interval over one test split says little of others: here each is tested once.

    Examples:

      modalign crossval motion --data windows.csv --folds 5 --out runs/folds

      modalign crossval my.yaml --data windows.csv --folds 10 --out runs/folds --set training.epochs=5 --resume
    """
    from modalign.align.manifest import read_descriptions
    from modalign.align.recipe_files import load_recipe
    from modalign.errors import RecipeError, suggest

    loaded = load_recipe(recipe, set_)
    said = read_descriptions(descriptions) if descriptions else None
    towers = [name for name in loaded.towers if name != loaded.text]
    tower = modality or next(iter(towers), "")
    if tower not in loaded.towers:
        raise RecipeError(f"--modality: the recipe has no tower {tower!r}; {suggest(tower, towers)}")
    from modalign.cli._common import bar, command_line
    from modalign.tasks.crossval import cross_validate
    from modalign.tasks.report import write_report
    from modalign.tasks.subgroups import split_by
    from modalign.tasks.table import print_table
    from modalign.tasks.training import open_manifest

    manifest = open_manifest(loaded, data, said, allow_outside)
    evaluation = cross_validate(loaded, manifest, out, tower, folds, resume=resume, by=split_by(by), bar=bar)
    print_table(evaluation)
    evaluation.save(out, {"recipe": loaded.name, "manifest": data.name})
    settings = [("recipe", loaded.name), ("manifest", data.name), ("folds", str(folds))]
    write_report(out / "report.html", evaluation.title, [evaluation], settings, command=command_line(context))
    print(f"Wrote {out / 'metrics.json'}, {out / 'predictions.parquet'}, {out / 'report.html'}")
