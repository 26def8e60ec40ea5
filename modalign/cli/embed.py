"""`modalign embed`: embeddings of a manifest's rows as Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, ManifestArgument, ModelArgument


def command(
    model: ModelArgument,
    manifest: ManifestArgument,
    modality: Annotated[str, typer.Option("--modality", help="The tower to embed with.")],
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    split: Annotated[str, typer.Option("--split", help="train, val, test or all.")] = "all",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Rows encoded at a time.")] = 64,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Embed the rows that have the modality: a Parquet file with id, split, label and the unit vector.

    Example:

      modalign embed runs/one/model windows.csv --modality motion --out windows.parquet
    """
    import pandas as pd

    from modalign.align.embed import embed_split
    from modalign.cli._common import bar, load
    from modalign.tasks.evaluate import dataset_of
    from modalign.tasks.training import open_manifest

    loaded = load(model)
    rows = open_manifest(loaded.source, manifest, allow_outside=allow_outside).split(split)
    dataset = dataset_of(loaded, rows)
    loaded.tower(modality)
    with bar("embedding", len(rows.rows)) as advance:
        embedded = embed_split(loaded, dataset, modality, batch_size, advance=advance)
    kept = [rows.rows[i] for i in embedded.rows]
    table = pd.DataFrame(
        {
            "id": [row.id for row in kept],
            "split": [row.split for row in kept],
            "label": [";".join(row.labels) for row in kept],
            "embedding": list(embedded.embeddings.numpy()),
        }
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.part")
    table.to_parquet(staged, index=False)
    staged.replace(out)
    print(f"Wrote {len(table):,} embeddings of {loaded.dim} dimensions to {out}")
