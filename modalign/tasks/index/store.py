"""The files of an index. They are written aside, and one rename of `index.json` makes them the index.

index.json                what it is of (model, tower, kind) and the SHA-256 of the files below
vectors-HASH.faiss        the FAISS index
embeddings-HASH.npy       (N, dim) float32 unit rows
items-HASH.parquet        id, content and the manifest's columns, row by row
pending/                  batches of a build that was stopped, taken up by the next one
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modalign.align.files import flush, sha256_of
from modalign.errors import ModelError
from modalign.tasks.index.kinds import faiss

ABOUT = "index.json"
VERSION = 1


@dataclass(frozen=True)
class Stored:
    """What an index's folder holds.

    Attributes:
        about: the content of `index.json`.
        vectors: the FAISS index.
        embeddings: (N, dim), mapped from disk.
        items: N rows.
    """

    about: dict[str, Any]
    vectors: Any
    embeddings: NDArray[np.float32]
    items: pd.DataFrame


def write_index(
    folder: Path, about: Mapping[str, Any], vectors: Any, embeddings: NDArray[np.float32], items: pd.DataFrame
) -> None:
    """Write all files, flush them, then put `index.json` in place and let go of what it no longer names."""
    folder.mkdir(parents=True, exist_ok=True)
    staged = {part: folder / f".{part}.part" for part in ("vectors.faiss", "embeddings.npy", "items.parquet")}
    faiss().write_index(vectors, str(staged["vectors.faiss"]))
    with staged["embeddings.npy"].open("wb") as file:
        np.save(file, embeddings, allow_pickle=False)
    items.to_parquet(staged["items.parquet"], index=False)
    files = {}
    for part, path in staged.items():
        sha256 = sha256_of(path)
        stem, suffix = part.split(".")
        name = f"{stem}-{sha256[:12]}.{suffix}"
        flush(path)
        path.replace(folder / name)
        files[stem] = {"name": name, "sha256": sha256}
    tree = {"version": VERSION, **about, "count": len(items), "files": files}
    written = folder / f".{ABOUT}.part"
    written.write_text(json.dumps(tree, indent=1))
    flush(written)
    written.replace(folder / ABOUT)
    flush(folder)
    kept = {entry["name"] for entry in files.values()}
    for stem in files:
        for path in folder.glob(f"{stem}-*"):
            if path.name not in kept:
                path.unlink()


def read_index(folder: Path) -> Stored:
    """Read an index whose files have the hashes that it was written with; nothing is parsed before that is known.

    Raises:
        ModelError: it is none, is damaged, or was made by a later version.
    """
    about = read_about(folder)
    paths = {}
    for stem in ("vectors", "embeddings", "items"):
        entry = about["files"].get(stem) or {}
        path = folder / Path(str(entry.get("name", ""))).name
        if not path.is_file():
            raise ModelError(f"{folder}: {stem} is missing; build the index again with 'modalign index'")
        if sha256_of(path) != entry.get("sha256"):
            raise ModelError(
                f"{path}: its content is not what was written; build the index again with 'modalign index'"
            )
        paths[stem] = path
    embeddings = np.load(paths["embeddings"], mmap_mode="r", allow_pickle=False)
    return Stored(about, faiss().read_index(str(paths["vectors"])), embeddings, pd.read_parquet(paths["items"]))


def read_about(folder: Path) -> dict[str, Any]:
    """The content of `index.json`.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise ModelError(
            f"{folder}: no index is here; make one with 'modalign index MODEL MANIFEST --out {folder.name}'"
        )
    try:
        about = json.loads(path.read_text())
        known = about["version"] == VERSION and isinstance(about["files"], dict)
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{path}: damaged; build the index again with 'modalign index'") from None
    if not known:
        raise ModelError(f"{path}: written by another version of modalign; build the index again")
    return dict(about)


class Pending:
    """Batches that are encoded already, so that a build which was stopped does not begin again.

    Args:
        folder: the index's.
        model: the hash of the model; batches of another one are thrown away.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder / "pending"
        owner = self.folder / "model"
        if self.folder.is_dir() and (not owner.is_file() or owner.read_text() != model):
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        owner.write_text(model)

    def load(self) -> dict[str, NDArray[np.float32]]:
        """Content -> embedding, of every whole batch."""
        found: dict[str, NDArray[np.float32]] = {}
        for path in sorted(self.folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as batch:
                found |= dict(zip(batch["contents"].tolist(), batch["embeddings"]))
        return found

    def add(self, contents: list[str], embeddings: NDArray[np.float32]) -> None:
        """Keep a batch: written aside, then renamed."""
        name = hashlib.blake2b("".join(contents).encode(), digest_size=8).hexdigest()
        part = self.folder / f".{name}.part"
        with part.open("wb") as file:
            np.savez(file, contents=np.array(contents), embeddings=embeddings)
        part.replace(self.folder / f"{name}.npz")

    def clear(self) -> None:
        """Let go of them: the index has them."""
        shutil.rmtree(self.folder)
