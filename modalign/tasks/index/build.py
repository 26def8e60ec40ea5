"""Building an index from a manifest, and bringing it up to date: only what is new is encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modalign.align.data import AlignmentDataset
from modalign.align.embed import Advance, check_finite
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError, ModelError, RecipeError, suggest
from modalign.tasks.evaluate import dataset_of
from modalign.tasks.index.identity import identity_of
from modalign.tasks.index.kinds import KINDS, faiss, kind_for
from modalign.tasks.index.store import ABOUT, Pending, read_about, read_index, write_index

BATCH = 256


@dataclass(frozen=True)
class Built:
    """What a build did: items in the index, of them encoded now, taken over, and items that the manifest dropped."""

    items: int
    encoded: int
    kept: int
    dropped: int
    kind: str


def build_index(
    model: AlignmentModel,
    manifest: Manifest,
    tower: str,
    folder: str | Path,
    kind: str = "auto",
    name: str = "",
    advance: Advance | None = None,
) -> Built:
    """Index every row that has the tower's modality. Rows whose content is in the index already are not encoded again.

    Every recording is read, so that a changed file is noticed; what is costly, encoding, is done for new content alone.
    Stopped half-way, the next call goes on with the batches that are done. The index is replaced in one step, at last.

    Args:
        model: the model.
        manifest: the rows.
        tower: the tower's name.
        folder: the index's folder, made where it is missing.
        kind: flat, hnsw, ivfpq, or auto (by the number of items).
        name: of the model, for messages.
        advance: called with the rows done.

    Raises:
        MissingExtraError: FAISS is not installed.
        ModelError: the folder holds another model's or tower's index.
        ManifestError: no row has the modality.
        RecipeError: the kind is not known, or learns from more items than there are.
    """
    faiss()
    if kind not in (*KINDS, "auto"):
        raise RecipeError(f"--kind {kind!r}: {suggest(kind, (*KINDS, 'auto'))}")
    folder = Path(folder)
    identity = identity_of(model)
    dataset = dataset_of(model, manifest)
    rows = [i for i in range(len(manifest.rows)) if dataset.options_of(i, tower)]
    if not rows:
        raise ManifestError(f"{manifest.path}: no row has {tower}; nothing to index")
    before = _known(folder, identity, tower)
    pending = Pending(folder, identity)
    known = {content: vector for content, (_, vector) in before.items()} | pending.load()
    contents: list[str] = []
    encoded = 0
    for batch, new in _batches(dataset, rows, tower, known):
        contents += batch
        if new:
            signals = [dataset.signal(i, tower, key) for i, key in new.values()]
            names = [manifest.rows[i].id for i, _ in new.values()]
            vectors = check_finite(model.embed(tower, signals, BATCH), names, tower).numpy()
            pending.add(list(new), vectors)
            known |= dict(zip(new, vectors))
            encoded += len(new)
        if advance:
            advance(len(batch))
    embeddings = np.stack([known[content] for content in contents]).astype(np.float32)
    chosen = kind_for(len(rows)) if kind == "auto" else kind
    items = _items(manifest, rows, contents)
    about = {"model": identity, "model_name": name, "tower": tower, "kind": chosen, "dim": model.dim}
    write_index(folder, about, KINDS[chosen](embeddings), embeddings, items)
    pending.clear()
    kept = set(items["id"])
    dropped = len({one for one, _ in before.values()} - kept)
    return Built(len(rows), encoded, len(rows) - encoded, dropped, chosen)


def _known(folder: Path, identity: str, tower: str) -> dict[str, tuple[str, NDArray[np.float32]]]:
    """Content -> (id, embedding) of the index that is there already."""
    if not (folder / ABOUT).is_file():
        return {}
    about = read_about(folder)
    if about["model"] != identity or about["tower"] != tower:
        raise ModelError(
            f"{folder}: holds an index of another model or tower ({about['model_name']}, {about['tower']}); give "
            "another --out, or remove it"
        )
    stored = read_index(folder)
    return {
        content: (str(one), vector)
        for one, content, vector in zip(stored.items["id"], stored.items["content"], np.asarray(stored.embeddings))
    }


def _batches(
    dataset: AlignmentDataset, rows: Sequence[int], tower: str, known: dict[str, Any]
) -> Iterator[tuple[list[str], dict[str, tuple[int, Any]]]]:
    """The contents of a batch of rows, and what of them is new: content -> (row, key)."""
    for start in range(0, len(rows), BATCH):
        contents, new = [], {}
        for i in rows[start : start + BATCH]:
            key = dataset.options_of(i, tower)[0]
            dataset.signal(i, tower, key)
            content = dataset.content(key)
            contents.append(content)
            if content not in known:
                new[content] = (i, key)
        yield contents, new


def _items(manifest: Manifest, rows: Sequence[int], contents: Sequence[str]) -> pd.DataFrame:
    table = manifest.table.iloc[list(rows)].reset_index(drop=True).astype(str)
    table = table.drop(columns=[c for c in ("id", "content", "score") if c in table])
    table.insert(0, "id", [manifest.rows[i].id for i in rows])
    table.insert(1, "content", list(contents))
    return table
