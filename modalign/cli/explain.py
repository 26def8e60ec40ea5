"""`modalign explain`: what a score rests on, drawn over the signal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modalign.cli._options import DescriptionsOption, FieldOption, ModelArgument, TemplateOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modalign.align.model import AlignmentModel
    from modalign.tasks.explain import Explanation


def command(
    model: ModelArgument,
    file: Annotated[str, typer.Argument(help="The file to explain (for a text tower, the text itself).")],
    modality: Annotated[str, typer.Option("--modality", help="The tower of the file.")],
    out: Annotated[Path, typer.Option("--out", help="The picture to write (.png, .svg, .pdf).")],
    label: Annotated[str, typer.Option("--label", help="Explain this label's score; default: the nearest.")] = "",
    labels: Annotated[
        str, typer.Option("--labels", help='Candidate labels with ";" between them; default: those of training.')
    ] = "",
    text: Annotated[
        str, typer.Option("--text", help="Explain the similarity with this text, on both sides, in place of a label.")
    ] = "",
    method: Annotated[
        str,
        typer.Option("--method", help="attention, rollout, gradients, occlusion; auto: the first that suits."),
    ] = "auto",
    target: Annotated[
        str, typer.Option("--target", help="score: the cosine; margin: its lead over the nearest other label.")
    ] = "score",
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Write the relevance too: .npz or .csv; may be repeated.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Measure by deletion and insertion whether the relevance is faithful.")
    ] = False,
    template: TemplateOption = None,
    descriptions: DescriptionsOption = None,
    field: FieldOption = None,
) -> None:
    """Show where in a file the evidence for a label (or a text) lies: seconds and leads, frequencies, pixels, slices.

    Relevance says what the model's score rests on. It says neither that the model is right, nor what causes a finding.

    Examples:

      modalign explain runs/ecg ecg/00001.hea --modality ecg --label "atrial fibrillation" --out why.png

      modalign explain runs/audio dog.wav --modality audio --text "a dog barks twice" --out why.png --data why.npz

      modalign explain runs/xray chest.png --modality xray --labels "normal;pneumonia" --target margin
        --method occlusion --check --out why.png
    """
    from rich.console import Console
    from rich.table import Table

    from modalign.cli._common import load, pairs
    from modalign.errors import RecipeError
    from modalign.tasks.explain import deletion_insertion, draw
    from modalign.tasks.explain.explainer import read
    from modalign.tasks.explain.explanation import DATA, PICTURES, check_suffix

    if text and (label or labels):
        raise RecipeError("give --text or --label, not both: the first explains a pair, the second a class")
    if text and (target != "score" or template or descriptions):
        raise RecipeError("--target, --template and --descriptions are of labels; with --text leave them out")
    for path, known in [(out, PICTURES), *((one, DATA) for one in data or [])]:
        check_suffix(path, known)
    loaded = load(model)
    signal = read(loaded.tower(modality), file, **pairs("--field", field, "rate=50"))
    with Console(stderr=True).status("explaining"):
        if text:
            found = _pair(loaded, modality, signal, text, method)
        else:
            found = [_class(loaded, modality, signal, label, labels, method, target, template, descriptions)]
        areas = deletion_insertion(found[0]).areas if check else {}
    for one in found:
        print(f"{one.tower}: {one.legend()}")
    for path in data or []:
        print(f"Wrote {found[0].save(path)}")
    print(f"Wrote {draw(found, out)}")
    if areas:
        table = Table(title="Faithfulness: area under the score's curve", title_justify="left", title_style="bold")
        for column in ("", "by relevance", "random order", "better is"):
            table.add_column(column)
        for name, better in (("deletion", "lower"), ("insertion", "higher")):
            table.add_row(name, f"{areas[name]:.3f}", f"{areas['random_' + name]:.3f}", better)
        Console().print(table)


def _pair(model: AlignmentModel, modality: str, signal: Any, text: str, method: str) -> list[Explanation]:
    from modalign.tasks.explain import explain_pair

    words = model.text
    return list(explain_pair(model, (modality, signal), (words, text), method))


def _class(
    model: AlignmentModel,
    modality: str,
    signal: Any,
    label: str,
    labels: str,
    method: str,
    target: str,
    template: Sequence[str] | None,
    descriptions: Path | None,
) -> Explanation:
    from modalign.align.manifest import read_descriptions
    from modalign.errors import RecipeError
    from modalign.tasks.explain import Explainer

    record = model.record or {}
    names = [name.strip() for name in labels.split(";") if name.strip()] or list(record.get("labels", []))
    if label and label not in names:
        if labels:
            raise RecipeError(f"--label {label!r} is not among --labels {labels!r}; add it there")
        names = [label]
    if not names:
        raise RecipeError("nothing to explain: give --label, --labels or --text")
    known = read_descriptions(descriptions) if descriptions else {} if template else record.get("descriptions")
    text = record.get("text", "text")
    return Explainer(model, modality, names, method, target, template, known, text).explain(signal, label or None)
