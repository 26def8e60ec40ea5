"""Files that a data set's own files are turned into, once, next to the manifest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from modalign.errors import RecipeError

MARK = ".modalign-files.json"


def unpack_once(out: Path, sources: Iterable[Path], options: Mapping[str, Any], write: Callable[[Path], None]) -> Path:
    """The folder `NAME.files` beside the manifest `NAME.csv`, filled by `write` unless it holds that already.

    It is written aside and renamed, so that a run that breaks off leaves nothing half there.

    Args:
        out: the manifest.
        sources: the data set's own files: when they or `options` change, everything is written again.
        options: what else decides the content.
        write: fills an empty folder.

    Raises:
        RecipeError: the folder is there and something else made it.

    Example:
        >>> unpack_once(Path("m.csv"), [Path("x.npz")], {}, lambda folder: None)   # doctest: +SKIP
        PosixPath('m.files')
    """
    folder = out.with_name(f"{out.stem}.files")
    key = {
        "options": {name: str(value) for name, value in options.items()},
        "sources": [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(sources)],
    }
    mark = folder / MARK
    if folder.exists():
        if not mark.is_file():
            raise RecipeError(f"{folder}: is in the way, and modalign did not make it; give another --out")
        if _read(mark) == key:
            return folder
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    try:
        write(staged)
        (staged / MARK).write_text(json.dumps(key, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        staged.replace(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def _read(mark: Path) -> Any:
    try:
        return json.loads(mark.read_text())
    except ValueError:
        return None
