"""`modalign held-out`: how well labels that training never saw are found among all labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, DescriptionsOption, TemplateOption
from modalign.cli._prompting import (
    EnsembleOption,
    MultiLabelOption,
    NegativesOption,
    TemplatesOption,
    prompting_of,
)


def command(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="A recipe to train by, or a model that lacks some of the labels.")],
    data: Annotated[Path, typer.Option("--data", help="The manifest.")],
    modality: Annotated[str, typer.Option("--modality", help="The tower to classify with.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for metrics.json, predictions.parquet, report.html.")],
    leave: Annotated[
        list[str] | None,
        typer.Option("--leave", help='Labels to leave out together, ";" between them; repeated. None: each in turn.'),
    ] = None,
    inner: Annotated[int, typer.Option("--inner", min=0, help="Trainings for each gamma; 0: no calibration.")] = 2,
    gamma: Annotated[
        float | None, typer.Option("--gamma", help="With a model: taken from the scores of labels it saw.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="With a model: test, val, train or all.")] = "test",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")
    ] = None,
    template: TemplateOption = None,
    templates: TemplatesOption = None,
    descriptions: DescriptionsOption = None,
    multi_label: MultiLabelOption = None,
    negatives: NegativesOption = None,
    ensemble: EnsembleOption = "mean_embedding",
    keep_models: Annotated[bool, typer.Option("--keep-models", help="Keep the models in OUT/runs.")] = False,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Train without labels (each in turn, or the sets given) and find them among all; gamma is chosen on val.

    With --inner 2 there are two trainings a set: one without it, and one without it and the next. Descriptions that
    are given serve as captions too, as in 'modalign train'.

    Examples:

      modalign held-out motion --data windows.csv --modality motion --out held --leave "jogging" --leave "sitting;lying"

      modalign held-out runs/six/model --data windows.csv --modality motion --out held --gamma 0.05
    """
    from modalign.align.recipe_files import load_recipe
    from modalign.cli._common import command_line, load
    from modalign.tasks.held_out import held_out_of, leave_classes_out
    from modalign.tasks.report import write_report
    from modalign.tasks.table import print_table
    from modalign.tasks.training import open_manifest

    said = (template, templates, descriptions, multi_label, negatives, ensemble)
    if _is_model(what):
        _refuse({"--leave": leave, "--set": set_, "--keep-models": keep_models}, "a recipe")
        model = load(what)
        asked = prompting_of(model.text, *said)
        manifest = open_manifest(model.source, data, allow_outside=allow_outside)
        evaluation = held_out_of(model, manifest, modality, split, gamma=gamma, prompting=asked)
    else:
        _refuse({"--gamma": gamma is not None, "--split": split != "test"}, "a model")
        recipe = load_recipe(what, set_)
        asked = prompting_of(recipe.text, *said)
        manifest = open_manifest(recipe, data, asked.descriptions, allow_outside)
        sets = [[label.strip() for label in own.split(";") if label.strip()] for own in leave or []]
        evaluation = leave_classes_out(
            recipe, manifest, modality, out / "runs", sets, inner=inner, prompting=asked, keep_models=keep_models
        )
    print_table(evaluation)
    evaluation.save(out, {"of": Path(what).name, "manifest": data.name})
    settings = [("of", Path(what).name), ("manifest", data.name)]
    write_report(out / "report.html", evaluation.title, [evaluation], settings, command=command_line(context))
    print(f"Wrote {out / 'metrics.json'}, {out / 'predictions.parquet'}, {out / 'report.html'}")


def _is_model(what: str) -> bool:
    """A folder that holds a model, or a Hub id: neither a recipe's name nor a file."""
    path = Path(what)
    if any((path / place / "config.json").is_file() for place in ("", "model")):
        return True
    return "/" in what and path.suffix not in (".yaml", ".yml") and not path.exists()


def _refuse(given: dict[str, object], needs: str) -> None:
    from modalign.errors import RecipeError

    for option, value in given.items():
        if value:
            raise RecipeError(f"{option} goes with {needs}")
