"""`modalign zero-shot`: classify files among labels given by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modalign.cli._options import DescriptionsOption, FieldOption, ModelArgument, TemplateOption
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
    prompting_of,
    tree_of,
)

if TYPE_CHECKING:
    from modalign.align.model import AlignmentModel
    from modalign.modalities.base import Modality
    from modalign.tasks.hierarchy import Hierarchy
    from modalign.tasks.zero_shot import ZeroShotClassifier


def command(
    model: ModelArgument,
    files: Annotated[list[str], typer.Argument(help="Files to classify (for a text tower, the texts themselves).")],
    modality: Annotated[str, typer.Option("--modality", help="The tower to classify with.")],
    labels: Annotated[str | None, typer.Option("--labels", help='Labels with ";" between them.')] = None,
    label_set: LabelSetOption = None,
    hierarchy: HierarchyOption = None,
    rule: RuleOption = "children",
    template: TemplateOption = None,
    templates: TemplatesOption = None,
    descriptions: DescriptionsOption = None,
    multi_label: MultiLabelOption = None,
    negatives: NegativesOption = None,
    ensemble: EnsembleOption = "mean_embedding",
    scale: Annotated[
        str | None, typer.Option("--scale", help="Of the scores in p: model, or a number (pairs: 1 by default).")
    ] = None,
    gamma: GammaOption = 0.0,
    fit: Annotated[
        Path | None, typer.Option("--fit", help="A manifest whose val rows --debias and --reject-rate learn from.")
    ] = None,
    fit_split: Annotated[str, typer.Option("--fit-split", help="The split of --fit: val or train.")] = "val",
    debias: Annotated[bool, typer.Option("--debias", help="Subtract the mean embedding of --fit's rows.")] = False,
    reject_rate: RejectOption = None,
    field: FieldOption = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON line a file in place of a table.")] = False,
) -> None:
    """Classify files among labels and print a score for each.

    Scores are cosines (for pairs: the label's less its absence's); p is their softmax at the model's temperature, and
    is not calibrated.

    Examples:

      modalign zero-shot runs/one/model --modality motion --labels "walking;sitting" --field rate=50
        --field unit=g --field gyro_unit=rad/s walk.csv

      modalign zero-shot runs/one/model --modality motion --labels "walking;sitting" --json *.npy

      modalign zero-shot runs/audio/model --modality audio --label-set esc50 --fit clips.csv --reject-rate 0.05 new.wav

      modalign zero-shot runs/xray/model --modality xray --label-set chexpert --multi-label pairs chest.dcm
    """
    from modalign.cli._common import load, pairs
    from modalign.cli._prompting import check_rule
    from modalign.errors import RecipeError

    said = pairs("--field", field, "rate=50")
    loaded = load(model)
    names, tree = _labels(labels, label_set, hierarchy, loaded.tower(modality).modality)
    check_rule(rule, tree)
    record = loaded.record or {}
    asked = prompting_of(
        record.get("text", "text"), template, templates, descriptions, multi_label, negatives, ensemble, gamma,
        scale=_scale(scale), debias=debias, reject_rate=reject_rate,
    )  # fmt: skip
    classifier = asked.classifier(loaded, modality, names, record.get("descriptions"))
    if fit is not None and not debias and reject_rate is None:
        raise RecipeError("--fit is what --debias and --reject-rate learn from; give one of them, or leave it out")
    if debias or reject_rate is not None:
        _fit(classifier, loaded, modality, fit, fit_split)
    grouped = _grouped(classifier, tree, rule)
    for file in files:  # one by one, so that a bad file is named and the others before it are not lost
        found = _classify(classifier, grouped, file, said)
        if json_:
            print(json.dumps(found))
        else:
            _print_table(found)


def _labels(
    labels: str | None, label_set: str | None, hierarchy: Path | None, modality: Modality
) -> tuple[list[str], Hierarchy | None]:
    from modalign.errors import RecipeError

    if sum(x is not None for x in (labels, label_set, hierarchy)) != 1:
        raise RecipeError("give one of --labels, --label-set and --hierarchy")
    tree = tree_of(label_set, hierarchy, modality)
    if tree is not None:
        return tree.leaves, tree if tree.depth > 1 else None
    assert labels is not None
    names = [label.strip() for label in labels.split(";") if label.strip()]
    if len(names) < 2:
        raise RecipeError(f'--labels {labels!r}: give two labels or more with ";" between them, e.g. "walking;sitting"')
    return names, None


def _scale(scale: str | None) -> float | str | None:
    from modalign.errors import RecipeError

    if scale is None or scale == "model":
        return scale
    try:
        number = float(scale)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):  # a negative one would make the least likely label the likeliest
        raise RecipeError(f"--scale {scale!r}: give a number above 0, or model")
    return number


def _fit(
    classifier: ZeroShotClassifier, model: AlignmentModel, modality: str, manifest: Path | None, split: str
) -> None:
    from modalign.align.embed import embed_split
    from modalign.cli._common import bar
    from modalign.errors import RecipeError
    from modalign.tasks.evaluate import dataset_of
    from modalign.tasks.training import open_manifest

    if manifest is None:
        raise RecipeError("--debias and --reject-rate learn from rows; give a manifest with --fit")
    if split not in ("train", "val"):
        raise RecipeError(f"--fit-split {split!r}: train or val")
    rows = open_manifest(model.source, manifest).split(split)
    with bar("fitting", len(rows.rows)) as advance:
        embedded = embed_split(model, dataset_of(model, rows), modality, advance=advance)
    classifier.fit(embedded.embeddings, [rows.rows[i].labels for i in embedded.rows])


def _grouped(classifier: ZeroShotClassifier, tree: Hierarchy | None, rule: str) -> Any:
    from modalign.tasks.hierarchy import HierarchicalZeroShot

    return None if tree is None else HierarchicalZeroShot(classifier, tree, rule)  # type: ignore[arg-type]


def _classify(classifier: ZeroShotClassifier, grouped: Any, file: str, fields: dict[str, str]) -> dict[str, Any]:
    items = classifier.embed([file], **fields)
    scores = classifier.decision_function(items)[0]
    found: dict[str, Any] = {"file": file}
    if classifier.multi_label is None:
        found["label"] = classifier.predict(items)[0]
    elif classifier.multi_label == "pairs" or classifier.reject_rate is not None:
        found["labels"] = list(classifier.predict(items)[0])
    found["scores"] = dict(zip(classifier.labels, map(float, scores)))
    if classifier.multi_label != "cosine":
        found["p"] = dict(zip(classifier.labels, map(float, classifier.predict_proba(items)[0])))
    if grouped is not None:
        found["levels"] = [
            dict(zip(grouped.tree.level(k), map(float, grouped.level_scores(items, k)[0])))
            for k in range(1, grouped.tree.depth + 1)
        ]
    return found


def _print_table(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    said = found.get("label") or "; ".join(found.get("labels", ()))
    title = f"{found['file']}: {said}" if said else found["file"]
    table = Table()
    table.add_column("label")
    table.add_column("score" if "labels" in found else "cosine", justify="right")
    if "p" in found:
        table.add_column("p", justify="right")
    scores = found["scores"]
    for label in sorted(scores, key=lambda label: -scores[label]):
        table.add_row(escape(label), f"{scores[label]:.3f}", *([f"{found['p'][label]:.3f}"] if "p" in found else []))
    console = Console()
    console.print(escape(title), style="bold", soft_wrap=True)  # a table's title would be as narrow as the table
    console.print(table)
    for k, level in enumerate(found.get("levels", ())[:-1], 1):
        ranked = sorted(level, key=lambda name: -level[name])
        console.print(f"  level {k}: " + ", ".join(f"{escape(name)} {level[name]:.3f}" for name in ranked))
