"""`modalign index`: embed a manifest's items into an index on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, ManifestArgument, ModelArgument


def command(
    model: ModelArgument,
    manifest: ManifestArgument,
    modality: Annotated[str, typer.Option("--modality", help="The tower whose items are indexed.")],
    out: Annotated[Path, typer.Option("--out", help="The index's folder; one that is there is brought up to date.")],
    kind: Annotated[str, typer.Option("--kind", help="flat (exact), hnsw, ivfpq, or auto: by the number.")] = "auto",
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Build an index for 'modalign search', or bring it up to date: only new or changed items are encoded.

    It holds the manifest's columns too, so share it only as you would share the manifest.

    Examples:

      modalign index runs/one/model clips.csv --modality audio --out clips.index

      modalign index runs/one/model archive.parquet --modality ecg --kind hnsw --out archive.index
    """
    from modalign.cli._common import bar, load
    from modalign.tasks.index import build_index
    from modalign.tasks.training import open_manifest

    loaded = load(model)
    loaded.tower(modality)
    rows = open_manifest(loaded.source, manifest, allow_outside=allow_outside)
    with bar("indexing", sum(modality in row.sources for row in rows.rows)) as advance:
        built = build_index(loaded, rows, modality, out, kind, Path(model).name, advance)
    print(
        f"{out}: {built.items:,} items ({built.kind}); {built.encoded:,} encoded now, {built.kept:,} there already or "
        f"equal, {built.dropped:,} dropped"
    )
