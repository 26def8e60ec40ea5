"""`modalign data`: public data sets as manifests, simulated ones, and manifests made of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli import pair, reduce, simulate

group = typer.Typer(help="Public data sets as manifests.", no_args_is_help=True, rich_markup_mode=None)
group.add_typer(simulate.group, name="simulate")
group.command("reduce")(reduce.command)
group.command("pair")(pair.command)


@group.command("list")
def list_command() -> None:
    """List the data sets, their options, and where their owners offer them."""
    from modalign.datasets.registry import list_datasets

    for dataset in list_datasets():
        print(f"{dataset.name:18s} {dataset.about}\n{'':18s} {dataset.url}")
        for option, said in dataset.options.items():
            print(f"{'':18s} --option {option}=...  {said}")


@group.command("prepare")
def prepare_command(
    name: Annotated[str, typer.Argument(help="One of 'modalign data list'.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write (.csv).")],
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder with the data set's files; without it they are downloaded.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="See 'modalign data list'.")
    ] = None,
) -> None:
    """Write the manifest of a public data set, from a local copy or from the owner's download.

    Example:

      modalign data prepare esc50 --root ESC-50-master --out esc50.csv
    """
    from modalign.datasets.registry import prepare
    from modalign.errors import ReadError, RecipeError

    if root is not None and not root.is_dir():
        raise ReadError(f"--root {root}: no such folder")
    options = {}
    for text in option or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"--option {text!r}: write it as key=value")
        options[key.strip()] = value.strip()
    out.parent.mkdir(parents=True, exist_ok=True)
    written = prepare(name, root, out, options)
    print(f"Wrote {written}")
