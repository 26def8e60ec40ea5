"""`modalign retrieve`: how well one modality finds another, or itself."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from modalign.cli._options import AllowOutsideOption, ManifestArgument, ModelArgument, SplitOption


class Same(StrEnum):
    """What counts as found."""

    item = "item"
    label = "label"
    group = "group"


def command(
    context: typer.Context,
    model: ModelArgument,
    manifest: ManifestArgument,
    source: Annotated[str, typer.Option("--from", help="The tower of the queries.")],
    target: Annotated[str, typer.Option("--to", help="The tower that is searched; may be the same.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for metrics.json, ranks as Parquet, report.html.")],
    split: SplitOption = "test",
    same: Annotated[Same, typer.Option("--same", help="What is relevant: the same item, label or group.")] = Same.item,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Search a split in both directions: R@1, R@5, R@10, MRR, median rank and mAP@10, beside chance.

    Examples:

      modalign retrieve runs/one/model pairs.csv --from text --to ecg --out runs/one/retrieval

      modalign retrieve runs/one/model windows.csv --from motion --to motion --same label --out alike
    """
    from modalign.cli._common import bar, command_line, load, load_untrained
    from modalign.tasks.report import write_report
    from modalign.tasks.retrieval import evaluate_retrieval, save_retrieval
    from modalign.tasks.table import print_table
    from modalign.tasks.training import open_manifest

    loaded = load(model)
    rows = open_manifest(loaded.source, manifest, allow_outside=allow_outside)
    twin = load_untrained(loaded)
    with bar("embedding", len(rows.split(split).rows) * (1 if source == target else 2) * (2 if twin else 1)) as advance:
        directions = evaluate_retrieval(
            loaded, rows, source, target, split, same=same.value, untrained=twin, advance=advance
        )
    for direction in directions:
        print_table(direction.evaluation)
    save_retrieval(out, directions, {"model": Path(model).name, "manifest": manifest.name})
    settings = [
        ("model", Path(model).name),
        ("manifest", manifest.name),
        ("split", split),
        ("relevant", f"same {same}"),
    ]
    title, shown = f"Retrieval: {source} and {target}", [direction.evaluation for direction in directions]
    write_report(out / "report.html", title, shown, settings, command=command_line(context))
    written = ["metrics.json", *(f"{d.name}_ranks.parquet" for d in directions), "report.html"]
    print(f"Wrote {', '.join(str(out / name) for name in written)}")
