"""`modalign data reduce`: a manifest without the slices that are nearly others of their volume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, ManifestArgument

SHOWN = 20


def command(
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option("--out", help="The manifest to write (.csv).")],
    modality: Annotated[str, typer.Option("--modality", help="ct (a row is a volume) or xray (a row is a slice).")],
    distance: Annotated[str, typer.Option("--distance", help="hash, embedding or mutual-information.")] = "hash",
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="A slice this near to one that stays goes; hash: 6 of 64 bits.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="A saved model, for --distance embedding.")] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Reduce these rows; default: train where there is one, else all.")
    ] = None,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Drop slices that are nearly others of their volume, so that training on slices takes less time.

    Of CT volumes the slices that stay are named in the column ct.slices; rows that are slices go or stay, within their
    cluster (or group). Rows of other splits stay as they are.

    Examples:

      modalign data reduce scans.csv --out reduced.csv --modality ct

      modalign data reduce slices.csv --out few.csv --modality xray --distance mutual-information --threshold 0.5
    """
    from modalign.cli._common import bar, load
    from modalign.tasks.reduce import DISTANCES, open_slices, reduce_manifest, rows_to_reduce

    loaded = None if model is None else load(model)
    opened = open_slices(manifest, modality, allow_outside)
    with bar("reducing", len(rows_to_reduce(opened, modality, split)[1])) as advance:
        found = reduce_manifest(
            opened, out, modality, distance=distance, threshold=threshold, model=loaded, split=split, advance=advance
        )
    volumes = found.volumes
    for volume, slices, kept in volumes.head(SHOWN).itertuples(index=False):
        print(f"{volume}: {kept:,} of {slices:,} slices kept")
    if len(volumes) > SHOWN:
        print(f"... and {len(volumes) - SHOWN:,} more volumes")
    print(
        f"{volumes['kept'].sum():,} of {volumes['slices'].sum():,} slices of {len(volumes):,} volumes kept "
        f"({found.share:.1%}), {distance} at {found.threshold:g} ({DISTANCES[distance].unit}), split {found.split}; an "
        f"epoch over slices takes about {found.share:.1%} of the time."
    )
    print(f"Wrote {found.path}")
