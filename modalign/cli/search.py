"""`modalign search`: the items of an index that are nearest to a text, a file, or a mixture of both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    model: Annotated[str, typer.Argument(help="The model that the index was built with.")],
    index: Annotated[Path, typer.Argument(help="The index, as 'modalign index' wrote it.")],
    text: Annotated[list[str] | None, typer.Option("--text", help="What to look for; may be repeated.")] = None,
    file: Annotated[list[Path] | None, typer.Option("--file", help="A file to look for; may be repeated.")] = None,
    minus: Annotated[list[str] | None, typer.Option("--minus", help="A text to take away from the query.")] = None,
    modality: Annotated[str, typer.Option("--modality", help="The tower that reads --file.")] = "",
    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="KEY=VALUE", help="What a file cannot say, e.g. rate=50; may be repeated."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many to show.")] = 10,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE", help="Only items with this; may be repeated.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON line an item in place of a table.")] = False,
) -> None:
    """Show the nearest items of an index. Several --text and --file are added up, --minus is taken away.

    Examples:

      modalign search runs/one/model clips.index --text "a dog barks"

      modalign search runs/one/model clips.index --file siren.wav --modality audio --minus "rain" --top 5

      modalign search runs/one/model clips.index --text "a dog barks" --where split=test --json
    """
    from rich.console import Console

    from modalign.cli._common import load
    from modalign.errors import RecipeError
    from modalign.tasks.index import Index
    from modalign.tasks.retrieval import combine
    from modalign.tasks.table import further_table, table_of

    if not (text or file):
        raise RecipeError('nothing to look for; give --text "..." or --file with --modality')
    if file and not modality:
        raise RecipeError("--file needs --modality: the tower that reads it")
    loaded = load(model)
    opened = Index.load(index, loaded)
    words = (loaded.record or {}).get("text", "text")
    parts: list[tuple[str, Any, float]] = [(words, one, 1.0) for one in text or ()]
    parts += [(modality, one, 1.0) for one in file or ()] + [(words, one, -1.0) for one in minus or ()]
    found = opened.search(
        combine(loaded, parts, **{modality or words: _pairs("--field", field)}), top, _pairs("--where", where)
    )
    if json_:
        print(found[0].to_json(orient="records", lines=True), end="")
        return
    shown = found[0].loc[:, [c for c in found[0] if c == "score" or (found[0][c].astype(str) != "").any()]]
    Console().print(further_table(table_of(f"{opened.tower}: the nearest of {len(opened):,} items", shown)))


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    from modalign.errors import RecipeError

    pairs = {}
    for one in given or ():
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise RecipeError(f"{option} {one!r}: write it as KEY=VALUE")
        pairs[key] = value
    return pairs
