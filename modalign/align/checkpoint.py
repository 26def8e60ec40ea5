"""Checkpoints that are whole or not there: staged aside, hashed, flushed, and renamed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from modalign.align.files import flush
from modalign.align.storage import check_checksums, write_checksums
from modalign.errors import ModelError

STAGING = ".staging"
NAME = re.compile(r"^checkpoint-(\d+)$")


def commit(staged: Path, final: Path) -> None:
    """Hash, flush and rename a staged folder to its final name; one of that name is replaced."""
    write_checksums(staged)
    for path in staged.rglob("*"):
        flush(path)
    flush(staged)
    if final.exists():
        shutil.rmtree(final)
    os.replace(staged, final)
    flush(final.parent)


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    found = [(int(match[1]), path) for path in run.glob("checkpoint-*") if (match := NAME.match(path.name))]
    return [path for _, path in sorted(found)]


def last_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint whose hashes are right, or None where there is no checkpoint at all.

    Raises:
        ModelError: there are checkpoints, and every one is damaged.
    """
    problem: ModelError | None = None
    for path in reversed(checkpoints(run)):
        try:
            check_checksums(path)
            return path
        except ModelError as error:
            problem = error
    if problem is not None:
        raise problem
    return None
