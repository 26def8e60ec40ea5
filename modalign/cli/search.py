"""`modalign search`: the items of an index that are nearest to a text, a file, or a mixture of both."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[str, typer.Argument(help="The model that the index was built with.")],
    index: Annotated[Path, typer.Argument(help="The index, as 'modalign index' wrote it.")],
    text: Annotated[list[str] | None, typer.Option("--text", help="What to look for; may be repeated.")] = None,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="[TOWER:]FILE", help="A file to look for, e.g. ecg:a.hea; may be repeated."),
    ] = None,
    minus: Annotated[list[str] | None, typer.Option("--minus", help="A text to take away from the query.")] = None,
    minus_file: Annotated[
        list[str] | None, typer.Option("--minus-file", metavar="[TOWER:]FILE", help="A file to take away.")
    ] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option(
            "--weight",
            min=0,
            help="As many as there are parts: of each --text, then --file, --minus, --minus-file. Default: 1 each.",
        ),
    ] = None,
    modality: Annotated[str, typer.Option("--modality", help="The tower that reads files that name none.")] = "",
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="[TOWER.]KEY=VALUE",
            help="What a file cannot say, e.g. rate=50 or motion.rate=50; may be repeated.",
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many to show.")] = 10,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE", help="Only items with this; may be repeated.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON line an item in place of a table.")] = False,
) -> None:
    """Show the nearest items of an index. --text and --file are added up, --minus and --minus-file taken away.

    Examples:

      modalign search runs/one/model clips.index --text "a dog barks"

      modalign search runs/one/model clips.index --file siren.wav --modality audio --minus "rain" --top 5

      modalign search runs/one/model clips.index --text "a dog barks" --minus "rain" --weight 1 --weight 0.5

      modalign search runs/one/model clips.index --file audio:siren.wav --file motion:run.csv --field motion.rate=50

      modalign search runs/one/model clips.index --text "a dog barks" --where split=test --json
    """
    from rich.console import Console

    from modalign.cli._common import load, pairs
    from modalign.errors import RecipeError
    from modalign.tasks.index import Index
    from modalign.tasks.retrieval import combine
    from modalign.tasks.table import further_table, table_of

    if not (text or file):
        raise RecipeError('nothing to look for; give --text "..." or --file with --modality')
    loaded = load(model)
    words = loaded.text
    named = [_place(one, modality, list(loaded.towers)) for one in (*(file or ()), *(minus_file or ()))]
    added = len(file or ())
    sources = [*((words, one) for one in text or ()), *named[:added]]
    signs = [1.0] * len(sources)
    sources += [*((words, one) for one in minus or ()), *named[added:]]
    signs += [-1.0] * (len(sources) - len(signs))
    if weight and len(weight) != len(sources):
        raise RecipeError(f"{len(weight)} --weight for {len(sources)} parts of the query; give one for each")
    parts = [(*source, sign * by) for source, sign, by in zip(sources, signs, weight or [1.0] * len(sources))]
    fields: dict[str, dict[str, str]] = {}
    for key, value in pairs("--field", field, "rate=50").items():
        tower, dot, rest = key.rpartition(".")
        fields.setdefault(tower if dot else modality, {})[rest] = value
    for tower in fields:
        if tower not in {name for name, _ in named}:
            raise RecipeError(f"--field: no file of the query is read by {tower!r}; write it as TOWER.KEY=VALUE")
    opened = Index.load(index, loaded)
    found = opened.search(combine(loaded, parts, **fields), top, pairs("--where", where, "split=test"))
    if not len(found[0]):
        raise RecipeError(f"--where: no item of the index has {' and '.join(where or ())}")
    if json_:
        print(found[0].to_json(orient="records", lines=True), end="")
        return
    shown = found[0].loc[:, [c for c in found[0] if c == "score" or (found[0][c].astype(str) != "").any()]]
    Console().print(further_table(table_of(f"{opened.tower}: the nearest of {len(opened):,} items", shown)))


def _place(file: str, modality: str, towers: Collection[str]) -> tuple[str, str]:
    """The tower and the path of TOWER:FILE, or of FILE where --modality says the tower."""
    from modalign.errors import RecipeError

    tower, colon, path = file.partition(":")
    if colon and tower in towers:
        return tower, path
    if not modality:
        raise RecipeError(f"--file {file!r} needs --modality, or TOWER:FILE: the tower that reads it")
    return modality, file
