"""`modalign zero-shot`: classify files among labels given on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[str, typer.Argument(help="A model folder or Hub id.")],
    files: Annotated[list[Path], typer.Argument(help="Files to classify.")],
    modality: Annotated[str, typer.Option("--modality", help="The tower to classify with.")],
    labels: Annotated[str, typer.Option("--labels", help='Labels with ";" between them.')],
    template: Annotated[
        list[str] | None, typer.Option("--template", help="A prompt template with {label}; may be repeated.")
    ] = None,
    descriptions: Annotated[
        Path | None, typer.Option("--descriptions", help="YAML: label -> list of sentences to use as prompts.")
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="KEY=VALUE", help="What a file cannot say, e.g. rate=50; may be repeated."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON line a file in place of a table.")] = False,
) -> None:
    """Classify files among labels and print a score for each.

    Scores are cosines; p is their softmax at the model's temperature, and is not calibrated.

    Examples:

      modalign zero-shot runs/one/model --modality motion --labels "walking;sitting" --field rate=50
        --field unit=g --field gyro_unit=rad/s walk.csv

      modalign zero-shot runs/one/model --modality motion --labels "walking;sitting" --json *.npy
    """
    import json

    from modalign.align.manifest import read_descriptions
    from modalign.cli._common import fields, load
    from modalign.errors import RecipeError
    from modalign.tasks.zero_shot import ZeroShotClassifier

    names = [label.strip() for label in labels.split(";") if label.strip()]
    if len(names) < 2:
        raise RecipeError(f'--labels {labels!r}: give two labels or more with ";" between them, e.g. "walking;sitting"')
    said = fields(field)
    prompts = read_descriptions(descriptions) if descriptions else None
    loaded = load(model)
    text = (loaded.record or {}).get("text", "text")
    known = prompts if prompts is not None else {} if template else (loaded.record or {}).get("descriptions")
    classifier = ZeroShotClassifier(loaded, modality, names, template, known, text)
    for file in files:  # one by one, so that a bad file is named and the others before it are not lost
        scores = classifier.decision_function([file], **said)[0]
        p = classifier.predict_proba([file], **said)[0]
        if json_:
            found = {"file": str(file), "label": names[int(scores.argmax())]}
            print(
                json.dumps(
                    {**found, "scores": dict(zip(names, map(float, scores))), "p": dict(zip(names, map(float, p)))}
                )
            )
        else:
            _print_table(file, names, scores.tolist(), p.tolist())


def _print_table(file: Path, names: list[str], scores: list[float], p: list[float]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(str(file)), title_justify="left", title_style="bold")
    table.add_column("label")
    table.add_column("cosine", justify="right")
    table.add_column("p", justify="right")
    for k in sorted(range(len(names)), key=lambda k: -scores[k]):
        table.add_row(escape(names[k]), f"{scores[k]:.3f}", f"{p[k]:.3f}")
    Console().print(table)
