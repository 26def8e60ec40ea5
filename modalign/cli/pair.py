"""`modalign data pair`: one manifest of two, by person and time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption


def command(
    first: Annotated[Path, typer.Argument(help="A manifest; its ids and splits are kept.")],
    second: Annotated[Path, typer.Argument(help="A manifest of another modality.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write (.csv).")],
    within: Annotated[str, typer.Option("--within", help="How far apart: 60d, 12h, 90min, ...")],
    time: Annotated[str, typer.Option("--time", help="The column of times (ISO 8601).")] = "time",
    time_b: Annotated[str | None, typer.Option("--time-b", help="The second's, where it has another name.")] = None,
    by: Annotated[str, typer.Option("--by", help="The column that says who; patient: group.")] = "patient",
    join: Annotated[bool, typer.Option("--join", help="Add both texts as one, with MoRE's prefixes.")] = False,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Pair each row with the same person's nearest one of another manifest: a row a pair, with both modalities.

    Example:

      modalign data pair xrays.csv ecgs.csv --by patient --within 60d --time date --join --out paired.csv
    """
    from modalign.tasks.pairing import pair_manifests, parse_window

    found = pair_manifests(
        first, second, out, within=parse_window(within), time=time, time_b=time_b, by=by, join=join,
        allow_outside=allow_outside,
    )  # fmt: skip
    print(f"{len(found.table):,} pairs; median {found.table['apart_days'].median():g} days apart")
    for why, count in found.alone.items():
        if count:
            print(f"{count:,} rows of {first.name} {why}: left out")
    if found.shared:
        print(f"{found.shared:,} rows of {second.name} are in several pairs")
    if found.moved:
        print(f"{found.moved:,} pairs have another split in {second.name}: that of {first.name} stands")
    print(f"Wrote {found.path}")
