"""`modalign compare`: two models on the same rows, with a paired test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    a: Annotated[Path, typer.Argument(help="predictions.parquet of the first model.")],
    b: Annotated[Path, typer.Argument(help="predictions.parquet of the second, of the same rows.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the figures to this .json.")] = None,
) -> None:
    """Compare two models on the same rows: differences with intervals, and permutation tests that swap whole groups.

    Examples:

      modalign compare runs/one/evaluation/predictions.parquet runs/two/evaluation/predictions.parquet

      modalign compare check/predictions.parquet check/predictions-linear.parquet --out check/against-linear.json
    """
    import json

    from rich.console import Console

    from modalign.cli._common import bar
    from modalign.tasks.compare import compare, comparison_table
    from modalign.tasks.predictions import from_table
    from modalign.tasks.table import print_further

    first, second = from_table(a), from_table(b)
    with bar("swapping", len(first.labels)) as advance:
        compared = compare(first, second, advance=advance)
    names = _names(a, b)
    print_further(comparison_table(compared, *names, first), Console())
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        said = {"a": names[0], "b": names[1], "figures": {n: c.as_dict() for n, c in compared.items()}}
        out.write_text(json.dumps(said, indent=1))
        print(f"Wrote {out}")


def _names(a: Path, b: Path) -> tuple[str, str]:
    """What to call the two: their files, else the folders that tell them apart."""
    if a.stem != b.stem:
        return a.stem, b.stem
    parts = zip(reversed(a.absolute().parts[:-1]), reversed(b.absolute().parts[:-1]))
    return next(((x, y) for x, y in parts if x != y), ("first", "second"))
