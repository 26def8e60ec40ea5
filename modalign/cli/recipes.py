"""`modalign recipes`: the recipes that come with the package, and the YAML of one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@group.callback()
def list_command(context: typer.Context) -> None:
    """List the recipes with their modalities, sizes and what they are, or show one.

    Examples:

      modalign recipes

      modalign recipes show clap > my.yaml

      modalign train clap --set size=tiny --data clips.csv --out runs/clap
    """
    if context.invoked_subcommand is not None:
        return
    rows = table()
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, modalities, said in rows:
        print(f"{name:{first}s}  {modalities:{second}s}  {said}")


@group.command("show")
def show_command(name: Annotated[str, typer.Argument(help="A recipe's name, or a YAML file.")]) -> None:
    """Print a recipe's YAML with its comments.

    Example:

      modalign recipes show clap
    """
    from modalign.align.recipe_files import recipe_text

    print(recipe_text(name), end="")


def table() -> list[tuple[str, str, str]]:
    """(name, modalities, description and sizes) of every recipe."""
    import yaml

    from modalign.align.recipe_files import list_recipes, recipe_text
    from modalign.align.sizes import sizes_of

    rows = []
    for name in list_recipes():
        tree: dict[str, Any] = yaml.safe_load(recipe_text(name))
        modalities = dict.fromkeys(str(tower.get("modality") or key) for key, tower in tree["towers"].items())
        sizes = ", ".join(sizes_of(tree, name))
        said = str(tree.get("description", "")) + (f" [size={sizes}]" if sizes else "")
        rows.append((name, ", ".join(modalities), said))
    return rows
