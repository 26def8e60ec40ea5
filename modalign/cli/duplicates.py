"""`modalign duplicates`: recordings that a data set holds twice, and those that cross its splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, ManifestArgument, ModelArgument

SHOWN = 20


def command(
    model: ModelArgument,
    manifest: ManifestArgument,
    modality: Annotated[str, typer.Option("--modality", help="The tower to compare with.")],
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=-1, max=1, help="List pairs from this cosine; default: by the data."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write all pairs to this .csv file.")] = None,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """List near-duplicates, most alike first, and count those whose halves are in different splits.

    Examples:

      modalign duplicates runs/one/model records.csv --modality ecg

      modalign duplicates runs/one/model clips.csv --modality audio --threshold 0.99 --out pairs.csv
    """
    from rich.console import Console

    from modalign.cli._common import bar, load
    from modalign.tasks.duplicates import find_duplicates
    from modalign.tasks.table import further_table, table_of
    from modalign.tasks.training import open_manifest

    loaded = load(model)
    rows = open_manifest(loaded.source, manifest, allow_outside=allow_outside)
    loaded.tower(modality)
    with bar("embedding", len(rows.rows)) as advance:
        found = find_duplicates(loaded, rows, modality, threshold, advance)
    title = f"{len(found.pairs):,} pairs of {found.rows:,} recordings with a cosine of {found.threshold:.4f} or more"
    Console().print(further_table(table_of(title, found.pairs.head(SHOWN))))
    if len(found.pairs) > SHOWN:
        print(f"... and {len(found.pairs) - SHOWN:,} more")
    print(
        f"{int(found.pairs['equal samples'].sum()):,} pairs have equal samples; {len(found.crossing):,} cross splits, "
        f"{int((~found.crossing['same group'].astype(bool)).sum()):,} of these between different groups."
    )
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        found.pairs.to_csv(out, index=False)
        print(f"Wrote {out}")
