"""`modalign evaluate`: classification of a manifest by prompts, beside chance and baselines, as files and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import (
    AllowOutsideOption,
    DescriptionsOption,
    ManifestArgument,
    ModelArgument,
    SplitOption,
    TemplateOption,
)
from modalign.cli._prompting import (
    EnsembleOption,
    GammaOption,
    HierarchyOption,
    LabelSetOption,
    MultiLabelOption,
    NegativesOption,
    RejectOption,
    RuleOption,
    TemplatesOption,
    check_rule,
    prompting_of,
    tree_of,
)


def command(
    context: typer.Context,
    model: ModelArgument,
    manifest: ManifestArgument,
    modality: Annotated[str, typer.Option("--modality", help="The tower to classify with.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for metrics.json, predictions.parquet, report.html.")],
    split: SplitOption = "test",
    descriptions: DescriptionsOption = None,
    template: TemplateOption = None,
    templates: TemplatesOption = None,
    multi_label: MultiLabelOption = None,
    negatives: NegativesOption = None,
    ensemble: EnsembleOption = "mean_embedding",
    gamma: GammaOption = 0.0,
    debias: Annotated[bool, typer.Option("--debias", help="Subtract the mean embedding of --fit-on's rows.")] = False,
    reject_rate: RejectOption = None,
    fit_on: Annotated[
        str, typer.Option("--fit-on", help="val or train; for --debias also test, which is transductive.")
    ] = "val",
    label_set: LabelSetOption = None,
    hierarchy: HierarchyOption = None,
    rule: RuleOption = "children",
    by: Annotated[
        str, typer.Option("--by", help="Columns for subgroups, e.g. sex,age,site; bins of one's own: age=40,60.")
    ] = "",
    allow_outside: AllowOutsideOption = False,
    examples: Annotated[
        int | None,
        typer.Option(min=0, help="Recordings of each kind to show in the report; unasked, none of patients."),
    ] = None,
    map_: Annotated[str, typer.Option("--map", help="The map of embeddings: pca or umap.")] = "pca",
    card: Annotated[bool, typer.Option("--card", help="Write the figures into the model folder's card too.")] = False,
) -> None:
    """Classify a manifest's split by prompts and write metrics.json, predictions.parquet and report.html.

    Examples:

      modalign evaluate runs/one/model windows.csv --modality motion --out runs/one/evaluation

      modalign evaluate runs/one/model other.csv --modality motion --split all --descriptions my_words.yaml --out check

      modalign evaluate runs/ecg/model ecgs.csv --modality ecg --by sex,age=40,60,site --out check

      modalign evaluate runs/ecg/model ecgs.csv --modality ecg --multi-label pairs --label-set ptb-xl-sub --out check

      modalign evaluate runs/ecg/model ecgs.csv --modality ecg --out check --examples 4 --map umap --card
    """
    from modalign.align.privacy import without_paths
    from modalign.cli._common import bar, command_line, load, load_untrained
    from modalign.errors import RecipeError
    from modalign.tasks.card import check_card, update_card
    from modalign.tasks.evaluate import evaluate_zero_shot, rows_to_embed
    from modalign.tasks.report import gallery, write_report
    from modalign.tasks.report.examples import check_plot
    from modalign.tasks.report.maps import check_projection
    from modalign.tasks.subgroups import split_by
    from modalign.tasks.table import print_table
    from modalign.tasks.training import open_manifest

    check_projection(map_)
    if examples:
        check_plot()
    loaded = load(model)
    card_file = check_card(loaded.base) if card else None
    rows = open_manifest(loaded.source, manifest, allow_outside=allow_outside)
    untrained = load_untrained(loaded)
    asked = prompting_of(
        loaded.text, template, templates, descriptions, multi_label, negatives, ensemble,
        gamma, debias=debias, reject_rate=reject_rate,
    )  # fmt: skip
    tree = tree_of(label_set, hierarchy, loaded.tower(modality).modality)
    check_rule(rule, tree)
    fitted_on = fit_on if debias or reject_rate is not None else ""
    if fit_on != "val" and not fitted_on:
        raise RecipeError("--fit-on is what --debias and --reject-rate learn from; give one of them, or leave it out")
    with bar("embedding", rows_to_embed(rows, split, modality, 2 if untrained else 1, fitted_on)) as advance:
        evaluation = evaluate_zero_shot(
            loaded,
            rows,
            modality,
            split,
            templates=asked.templates,
            descriptions=asked.descriptions,
            text=asked.text,
            untrained=untrained,
            advance=advance,
            by=split_by(by),
            options=asked.options,
            fit_on=fit_on,
            tree=tree,
            rule=rule,  # type: ignore[arg-type]
        )
    print_table(evaluation)
    evaluation.save(out, {"model": Path(model).name, "manifest": manifest.name})
    settings = [("model", Path(model).name), ("manifest", manifest.name), ("split", split)]
    write_report(
        out / "report.html",
        evaluation.title,
        [evaluation],
        settings,
        command=command_line(context),
        recipe=without_paths((loaded.record or {}).get("recipe")),
        projection=map_,
        examples=gallery(evaluation, loaded.tower(modality).modality, modality, examples),
    )
    print(f"Wrote {out / 'metrics.json'}, {out / 'predictions.parquet'}, {out / 'report.html'}")
    if card_file is not None:
        update_card(card_file, evaluation, manifest.stem, split)
        print(f"Wrote the figures into {card_file}")
