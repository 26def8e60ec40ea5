"""What several commands share: loading a model and its untrained twin, and a bar for rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def pairs(option: str, said: Sequence[str] | None, example: str) -> dict[str, str]:
    """What a repeated option such as `--field key=value` says.

    Raises:
        RecipeError: one has no "=".
    """
    from modalign.errors import RecipeError

    found = [one.partition("=") for one in said or ()]
    bare = next((key + equals + value for key, equals, value in found if not equals or not key.strip()), None)
    if bare is not None:
        raise RecipeError(f"{option} {bare!r}: write it as key=value, for example {example}")
    return {key.strip(): value.strip() for key, _, value in found}


def numbers(option: str, text: str, whole: bool = False) -> list[float]:
    """The numbers of an option such as `1,2,4`.

    Raises:
        RecipeError: one is none.
    """
    from modalign.errors import RecipeError

    try:
        return [int(part) if whole else float(part) for part in text.split(",")]
    except ValueError:
        kind = "whole numbers" if whole else "numbers"
        raise RecipeError(f'{option} {text!r}: give {kind} with "," between them') from None


def words(option: str, text: str, known: Sequence[str] = ()) -> list[str]:
    """The words of an option such as `a,b`; an empty one has none.

    Raises:
        RecipeError: one is not among those known.
    """
    from modalign.errors import RecipeError, suggest

    found = [part.strip() for part in text.split(",") if part.strip()]
    strange = [word for word in found if known and word not in known]
    if strange:
        raise RecipeError(f"{option}: {strange[0]!r} is not one of those; {suggest(strange[0], known)}")
    if known and not found:
        raise RecipeError(f"{option} is empty; give one of {', '.join(known)}")
    return found
