"""The Typer application; each command's function lives in a file of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from modalign.cli import (
    compare,
    compose,
    crossval,
    data,
    demo,
    doctor,
    duplicates,
    embed,
    evaluate,
    explain,
    few_shot,
    finetune,
    held_out,
    index,
    init,
    labels,
    modalities,
    probe,
    recipes,
    retrieve,
    search,
    train,
    zero_shot,
)

app = typer.Typer(
    name="modalign",
    help="Align audio, motion, ECG, X-ray and CT with text in one embedding space, on your own paired data.",
    epilog="Start with: modalign demo",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("demo")(demo.command)
app.command("init")(init.command)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("crossval")(crossval.command)
app.command("compare")(compare.command)
app.command("zero-shot")(zero_shot.command)
app.command("labels")(labels.command)
app.command("held-out")(held_out.command)
app.command("few-shot")(few_shot.command)
app.command("retrieve")(retrieve.command)
app.command("index")(index.command)
app.command("search")(search.command)
app.command("duplicates")(duplicates.command)
app.command("compose")(compose.command)
app.command("probe")(probe.command)
app.command("finetune")(finetune.command)
app.command("explain")(explain.command)
app.command("labels")(labels.command)
app.command("held-out")(held_out.command)
app.command("embed")(embed.command)
app.command("doctor")(doctor.command)
app.add_typer(modalities.group, name="modalities")
app.add_typer(recipes.group, name="recipes")
app.add_typer(data.group, name="data")


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Align audio, motion, ECG, X-ray and CT with text in one embedding space, on your own paired data."""
    if version:
        from modalign import __version__

        print(__version__)
        raise typer.Exit
