"""Arguments and options that several commands take, each worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelArgument = Annotated[str, typer.Argument(help="A model folder or Hub id.")]
ManifestArgument = Annotated[Path, typer.Argument(help="The manifest.")]
SplitOption = Annotated[str, typer.Option("--split", help="test, val, train or all.")]
AllowOutsideOption = Annotated[
    bool, typer.Option("--allow-outside", help="Admit paths that leave the manifest's folder.")
]
FieldOption = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="KEY=VALUE", help="What a file cannot say, e.g. rate=50; may be repeated."),
]
TemplateOption = Annotated[
    list[str] | None, typer.Option("--template", help="A prompt template with {label}; may be repeated.")
]
DescriptionsOption = Annotated[
    Path | None, typer.Option("--descriptions", help="YAML: label -> list of sentences to use as prompts.")
]
CaptionsOption = Annotated[
    Path | None, typer.Option("--descriptions", help="YAML: label -> list of sentences, for rows without captions.")
]
