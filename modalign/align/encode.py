"""Work not done twice: a frozen tower's items are encoded once, in fixed batches, and kept on the disk."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modalign.align.cache import FeatureTable
from modalign.align.data import AlignmentDataset, Key, digest
from modalign.align.feature_store import FeatureStore, Ids, MappedTable, hashed, ids_of, signature
from modalign.align.mode import in_eval
from modalign.align.model import AlignmentModel, Tower
from modalign.align.signal_cache import identity
from modalign.modalities.base import Signal

BATCH = 64
"""Windows encoded at a time, whatever the training's batches are."""
BLOCK, BLOCK_BYTES = 2048, 1 << 28
"""Items that are read, ordered by length, encoded and stored together: so many, or of so many bytes at most."""


def encode_frozen(
    model: AlignmentModel, datasets: Sequence[AlignmentDataset], tower: str
) -> tuple[list[FeatureTable], list[str]]:
    """Encode every distinct item of a frozen tower that is not known yet, once.

    Items go in the order of their hashes, in blocks; within a block, windows of equal length go together, 64 at a time.
    So a set of items has the same features whatever the rows' order and the training's batches, and an item that is
    added later has them within rounding of float32, as batches only differ in which items stand beside it.

    Args:
        model: its mode is put back.
        datasets: the splits; their signal cache says where the features are kept (`features` in its folder). Without
            one they are kept in memory.
        tower: the tower's name.

    Returns:
        A table for each split, and what the user should be told.

    Raises:
        ReadError: an item cannot be read.
    """
    part = model.tower(tower)
    wanted = [_wanted(dataset, tower) for dataset in datasets]
    cache = datasets[0].cache
    if cache is None:
        return [_in_memory(part, dataset, tower, items) for dataset, items in zip(datasets, wanted)], []
    store = FeatureStore(cache.folder / "features" / f"{part.modality.name}-{signature(part)}", part.width)
    tables: list[FeatureTable] = []
    missing, saved, total, cut = 0, 0.0, 0, 0
    for dataset, items in zip(datasets, wanted):
        ids = ids_of([_source(dataset, tower, items.row[k], key) for k, key in items.keys(dataset, tower)])
        found = store.find(ids)
        saved += store.seconds(found[found >= 0])
        new = np.flatnonzero(found < 0)
        missing, total = missing + len(new), total + len(ids)
        for block in _blocks(dataset, tower, items, new[np.argsort(ids[new])]):
            _encode_block(part, store, dataset, block, ids)
        table = MappedTable(store, items.hashes, store.find(ids))
        cut += table.cut()
        tables.append(table)
    notes = [f"{total - missing:,} embeddings from the cache, {missing:,} made and kept in {store.folder.parent}"]
    if saved >= 1:
        notes[0] += f"; saved about {saved:.0f} s"
    if store.unsaved:
        notes[0] += f"; {store.unsaved:,} files could not be written there"
    if cut and not part.processing.notes():
        notes.append(f"{cut:,} of {total:,} items are longer than the encoder takes, and are cut")
    return tables, notes


@dataclass(frozen=True)
class Wanted:
    """The distinct items of a split: hash of the key, and a row and number of its keys where each stands first."""

    hashes: Ids
    row: NDArray[np.int64]
    option: NDArray[np.int64]

    def keys(
        self, dataset: AlignmentDataset, tower: str, which: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Key]]:
        """(position, key) of all items, or of those at `which`."""
        for k in range(len(self.hashes)) if which is None else which:
            yield k, dataset.keys_of(int(self.row[k]), tower)[self.option[k]]


def _wanted(dataset: AlignmentDataset, tower: str) -> Wanted:
    hashes, places = bytearray(), array("q")  # flat: rows may be millions
    for i in range(len(dataset)):
        for option, key in enumerate(dataset.keys_of(i, tower)):
            hashes += hashed(key)
            places.extend((i, option))
    found, first = np.unique(np.frombuffer(bytes(hashes), "S16"), return_index=True)
    at = np.frombuffer(places, dtype=np.int64).reshape(-1, 2)[first]
    return Wanted(found, at[:, 0], at[:, 1])


def _source(dataset: AlignmentDataset, tower: str, row: int, key: Key) -> bytes:
    """What an item is known by before it is read: its text; its file's path, size and time; its samples."""
    if len(key) == 1:
        return hashed(key)
    source = dataset.manifest.rows[row].sources[tower]
    if not isinstance(source, (str, Path)):
        return hashed(key)
    return hashed(str(Path(source).resolve()), identity(Path(source)), key[1:])


@dataclass
class Block:
    """Items read and processed together: positions, signals' hashes, and windows of each."""

    at: list[int]
    contents: list[bytes]
    samples: list[bytes]
    cut: list[bool]
    windows: list[list[dict[str, Tensor]]]
    seconds: float


def _blocks(dataset: AlignmentDataset, tower: str, items: Wanted, which: NDArray[np.int64]) -> Iterator[Block]:
    processing = dataset.processing[tower]
    block, size, started = Block([], [], [], [], [], 0.0), 0, time.perf_counter()
    for k, key in items.keys(dataset, tower, which.tolist()):
        signal = dataset.signal(int(items.row[k]), tower, key, keep=False)
        windows = [processing(window) for window in processing.segments(signal)]
        samples = b"" if len(key) == 1 else bytes.fromhex(digest(signal.data))
        block.at.append(k)
        block.contents.append(_content(signal, samples, key))
        block.samples.append(samples.ljust(16, b"\0"))
        block.cut.append(processing.cuts(signal))
        block.windows.append(windows)
        size += sum(t.numel() * t.element_size() for window in windows for t in window.values())
        if len(block.at) >= BLOCK or size >= BLOCK_BYTES:
            block.seconds = time.perf_counter() - started
            yield block
            block, size, started = Block([], [], [], [], [], 0.0), 0, time.perf_counter()
    if block.at:
        block.seconds = time.perf_counter() - started
        yield block


def _content(signal: Signal, samples: bytes, key: Key) -> bytes:
    """What the processing sees of an item: one that was moved or copied keeps its features."""
    if not samples:
        return hashed(key)
    said = json.dumps([signal.rate, signal.channels, dict(signal.meta)], sort_keys=True, default=str)
    return hashed(samples, said)


def _encode_block(part: Tower, store: FeatureStore, dataset: AlignmentDataset, block: Block, ids: Ids) -> None:
    """Encode and store a block; what is known by its content is only stored again under its new name."""
    started = time.perf_counter()
    known = store.find(ids_of(block.contents), "contents")
    features = torch.zeros(len(block.at), part.width)
    old = np.flatnonzero(known >= 0)
    features[torch.from_numpy(old)] = torch.from_numpy(store.gather(known[old]))
    new = np.flatnonzero(known < 0).tolist()
    features[new] = encode_windows(part, [block.windows[k] for k in new])
    arrays = {
        "features": features,
        "ids": _bytes([bytes(ids[k : k + 1].tobytes()) for k in block.at]),
        "contents": _bytes(block.contents),
        "samples": _bytes(block.samples),
        "cut": torch.tensor(block.cut, dtype=torch.uint8),
    }
    store.write(arrays, block.seconds + time.perf_counter() - started)


@torch.no_grad()
def encode_windows(part: Tower, windows: Sequence[Sequence[dict[str, Tensor]]]) -> Tensor:
    """Mean feature (N, width) of each item's windows, float32, on the CPU; windows of equal length share batches."""
    flat = [(n, window) for n, several in enumerate(windows) for window in several]
    order = sorted(range(len(flat)), key=lambda k: [tuple(t.shape) for t in flat[k][1].values()])
    found = torch.zeros(len(windows), part.width, dtype=torch.float64)
    with in_eval(part):
        for start in range(0, len(order), BATCH):
            which = order[start : start + BATCH]
            batch = part.processing.collate([flat[k][1] for k in which])
            device = part.projection.mean.device
            pooled = part.encode({name: t.to(device) for name, t in batch.items()}).double().cpu()
            found.index_add_(0, torch.tensor([flat[k][0] for k in which]), pooled)
    return (found / torch.tensor([[max(len(w), 1)] for w in windows]).reshape(-1, 1)).float()


def _in_memory(part: Tower, dataset: AlignmentDataset, tower: str, items: Wanted) -> FeatureTable:
    table = FeatureTable(part.width)
    for block in _blocks(dataset, tower, items, np.arange(len(items.hashes))):
        keys = [key for _, key in items.keys(dataset, tower, block.at)]
        table.add(keys, encode_windows(part, block.windows))
    return table


def _bytes(parts: Sequence[bytes]) -> Tensor:
    return torch.frombuffer(bytearray(b"".join(parts)), dtype=torch.uint8).reshape(-1, 16)
