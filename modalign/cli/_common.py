"""What several commands share: loading a model and its untrained twin, and a bar for rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from modalign.align.embed import Advance
    from modalign.align.model import AlignmentModel


def load(model: str) -> AlignmentModel:
    """A model by folder or Hub id, on the GPU where there is one; a run's folder stands for its `model`."""
    import logging

    import torch

    from modalign.align.model import AlignmentModel

    logging.getLogger("transformers").setLevel(logging.ERROR)
    path = Path(model)
    if not (path / "config.json").is_file() and (path / "model" / "config.json").is_file():
        path = path / "model"
    loaded = AlignmentModel.from_pretrained(str(path))
    return loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def load_untrained(model: AlignmentModel) -> AlignmentModel | None:
    """The untrained twin beside a run's model, if training made one."""
    twin = Path(model.base or "").parent / "untrained"
    return load(str(twin)) if (twin / "config.json").is_file() else None


@contextmanager
def bar(description: str, total: int) -> Iterator[Advance]:
    """A progress bar on stderr that is advanced by rows done."""
    from modalign.align.progress import make_progress

    with make_progress() as progress:
        task = progress.add_task(description, total=total, note="")
        yield lambda rows: progress.advance(task, rows)


def command_line(context: typer.Context) -> str:
    """The command that runs, for a report: what differs from the defaults, and of each path its last part."""
    import shlex

    from modalign.align.privacy import without_paths

    words = ["modalign", str(context.info_name)]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if value is None or value == parameter.default:
            continue
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if parameter.param_type_name == "argument":
                words.append(str(without_paths(one)))
            elif isinstance(one, bool):
                words.append((parameter.opts if one else parameter.secondary_opts)[0])
            else:
                words += [parameter.opts[0], str(without_paths(one))]
    return shlex.join(words)
