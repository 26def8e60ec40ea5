"""`modalign finetune`: a head for classes or numbers on towers of a model, and its figures on test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modalign.cli._options import AllowOutsideOption, DescriptionsOption, ModelArgument


def command(
    context: typer.Context,
    model: ModelArgument,
    manifest: Annotated[Path, typer.Argument(help="The manifest, with the splits train, test and best also val.")],
    modality: Annotated[
        list[str], typer.Option("--modality", help="A tower to classify with; repeat it to fuse several.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the run, and for the evaluation on test.")],
    tune: Annotated[str | None, typer.Option("--tune", help="What of the encoders: full, lora or head.")] = None,
    head: Annotated[
        str | None, typer.Option("--head", help="classification, or regression (of the column --target).")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="A manifest column to learn in place of the labels.")
    ] = None,
    contrastive: Annotated[
        float | None, typer.Option("--contrastive", min=0, help="Weight of the contrastive loss as a regulariser.")
    ] = None,
    class_weights: Annotated[str | None, typer.Option("--class-weights", help="none or balanced.")] = None,
    fusion: Annotated[
        str | None, typer.Option("--fusion", help="Of several modalities: concat, mean or sequential (MultiModN).")
    ] = None,
    modality_dropout: Annotated[
        float | None,
        typer.Option("--modality-dropout", min=0, max=1, help="Chance that training leaves a modality out of a row."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="YAML with these and further keys.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a key, e.g. training.epochs=3.")
    ] = None,
    descriptions: DescriptionsOption = None,
    by: Annotated[str, typer.Option("--by", help="Columns for subgroups, e.g. sex,age=40,60.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")] = False,
    examples: Annotated[
        int | None,
        typer.Option(min=0, help="Recordings of each kind to show in the report; unasked, none of patients."),
    ] = None,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Fine-tune on train rows, choose the checkpoint on val, save OUT/model, and measure it on test.

    Writes OUT/model, and in OUT/evaluation metrics.json, predictions.parquet and report.html, if the manifest has test
    rows. Classes are the manifest's labels, one or several a row. Rows may lack modalities.

    Examples:

      modalign finetune runs/one/model windows.csv --modality motion --tune lora --contrastive 0.1 --out tuned

      modalign finetune runs/one/model records.csv --modality ecg --head regression --target age --tune full --out age

      modalign finetune runs/one/model patients.csv --modality ecg --modality xray --fusion sequential
        --modality-dropout 0.3 --tune head --set training.epochs=30 --out fused
    """
    from modalign.align.manifest import read_descriptions
    from modalign.cli._common import bar, command_line, load, load_untrained
    from modalign.tasks.finetune import evaluate_finetuned, fine_tune, finetune_config
    from modalign.tasks.finetune.config import read_config
    from modalign.tasks.finetune.evaluate import rows_to_encode
    from modalign.tasks.report import gallery, write_report
    from modalign.tasks.subgroups import split_by
    from modalign.tasks.table import print_table
    from modalign.tasks.training import open_manifest

    given = {
        "modalities": list(modality),
        "tune": tune,
        "head": head,
        "target": target,
        "contrastive": contrastive,
        "class_weights": class_weights,
    }
    joined = {"how": fusion, "modality_dropout": modality_dropout}
    tree: dict[str, Any] = read_config(config) if config else {}
    tree |= {key: value for key, value in given.items() if value is not None}
    if any(value is not None for value in joined.values()):
        tree["fusion"] = {**(tree.get("fusion") or {}), **{k: v for k, v in joined.items() if v is not None}}
    wanted = finetune_config(tree, set_ or ())
    said = read_descriptions(descriptions) if descriptions else None
    loaded = load(model)
    for name in wanted.modalities:
        loaded.tower(name)
    rows = open_manifest(loaded.source, manifest, said, allow_outside)
    tuned = fine_tune(loaded, rows, wanted, out, resume=resume)
    print(f"Saved {out / 'model'}")
    if not rows.has("test"):
        print("No row has split 'test', so nothing is measured.")
        return
    twin = load_untrained(loaded)
    with bar("encoding", rows_to_encode(tuned, rows, "test", 2 if twin else 1)) as advance:
        evaluation = evaluate_finetuned(
            tuned, rows, base=loaded, untrained=twin, advance=advance, by=split_by(by) if by else ()
        )
    print_table(evaluation)
    folder = out / "evaluation"
    evaluation.save(folder, {"model": Path(model).name, "manifest": manifest.name})
    settings = [("model", Path(model).name), ("manifest", manifest.name), ("split", "test"), ("tuned", wanted.tune)]
    single = len(wanted.modalities) == 1 and wanted.head == "classification"
    name = wanted.modalities[0]
    write_report(
        folder / "report.html",
        evaluation.title,
        [evaluation],
        settings,
        command=command_line(context),
        recipe=(tuned.record or {}).get("recipe", {}).get("finetune"),
        examples=gallery(evaluation, loaded.tower(name).modality, name, examples) if single else None,
    )
    print(f"Wrote {', '.join(str(folder / n) for n in ('metrics.json', 'predictions.parquet', 'report.html'))}")
