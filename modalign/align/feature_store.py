"""Features of a frozen tower on disk: append-only, memory-mapped, and only ever whole.

A folder holds the features of one encoder with one processing (`signature`): its weights, options, parameters, files
and the versions of what computes them name the folder, so that nothing is found when any of them changes. A shard is
one safetensors file, written aside and renamed, its content hashed: a run that is broken off keeps its finished shards,
two processes that write at once only store some items twice, and a damaged shard is encoded again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from modalign.align.adapter import base_hash
from modalign.align.cache import FeatureTable
from modalign.align.files import flush, sha256_of
from modalign.align.model import Tower

FORMAT = 1
DTYPES = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}
Ids = NDArray[np.bytes_]
"""(N,) of 16 bytes each."""


def signature(tower: Tower) -> str:
    """What the features of a frozen tower depend on beside the item: 32 hexadecimal digits."""
    processing, encoder = tower.processing, tower.encoder
    with tempfile.TemporaryDirectory() as folder:
        processing.save_assets(Path(folder))
        files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
        assets = [(p.relative_to(folder).as_posix(), sha256_of(p)) for p in files]
    said = [
        FORMAT,
        [version(name) for name in ("modalign", "torch", "transformers")],
        tower.modality.name,
        tower.projection.mean.device.type,
        [type(encoder).__qualname__, tower.saved_config().options, base_hash(encoder.state_dict(), set())],
        [type(processing).__qualname__, processing.parameters(), assets],
    ]
    return hashlib.blake2b(json.dumps(said, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def hashed(*parts: object) -> bytes:
    """16 bytes for what identifies something."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


def ids_of(parts: Sequence[bytes]) -> Ids:
    """16-byte hashes as an array."""
    return np.frombuffer(b"".join(parts), dtype="S16") if parts else np.zeros(0, "S16")


class Shard:
    """Arrays of one file, memory-mapped: features (N, width), and ids, contents, samples (N, 16), cut (N,)."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], seconds: float, path: Path | None = None) -> None:
        self.path = path
        self.features = arrays["features"]
        self.ids, self.contents = (np.ascontiguousarray(arrays[n]).view("S16")[:, 0] for n in ("ids", "contents"))
        self.samples, self.cut = arrays["samples"], np.array(arrays["cut"], dtype=bool)
        self.seconds = seconds / max(len(self.ids), 1)

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> Any:
        """A worker process opens the file again, and is not sent what it holds."""
        return (read_shard, (self.path,)) if self.path else object.__reduce_ex__(self, 2)


class FeatureStore:
    """The shards of a folder.

    Args:
        folder: of one `signature`; made when the first shard is written.
        width: of the features.

    Attributes:
        unsaved: shards that the disk refused; they are kept in memory.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width
        self.unsaved = 0
        self.shards: list[Shard] = []
        # Named by time: an item that two processes stored keeps the value it had first.
        for path in sorted(folder.glob("*.safetensors")):
            shard = read_shard(path, width)
            if shard is not None:
                self.shards.append(shard)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
        self._sort()

    def _sort(self) -> None:
        self.starts = np.cumsum([0, *(len(s) for s in self.shards)])
        self._indices = {name: _index([getattr(s, name) for s in self.shards]) for name in ("ids", "contents")}

    def __len__(self) -> int:
        return int(self.starts[-1])

    def find(self, ids: Ids, by: str = "ids") -> NDArray[np.int64]:
        """Where items stand, by `ids` or by `contents`; -1 where they do not."""
        return _find(*self._indices[by], ids)

    def write(self, arrays: Mapping[str, Tensor], seconds: float) -> None:
        """Add a shard; see `Shard` for its arrays."""
        path = self.folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}.safetensors"
        written = read_shard(path, self.width) if write_shard(path, arrays, seconds) else None
        self.unsaved += written is None
        self.shards.append(written or Shard({name: t.numpy() for name, t in arrays.items()}, seconds))
        self._sort()

    def gather(self, rows: NDArray[np.int64], name: str = "features") -> NDArray[Any]:
        """Rows of one of the shards' arrays, by where they stand."""
        which = np.searchsorted(self.starts, rows, side="right") - 1
        first = getattr(self.shards[0], name) if self.shards else np.zeros((0, self.width), np.float32)
        out = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for k in np.unique(which):
            here = which == k
            out[here] = getattr(self.shards[k], name)[rows[here] - self.starts[k]]
        return out

    def seconds(self, rows: NDArray[np.int64]) -> float:
        """How long reading and encoding these took."""
        each = np.array([s.seconds for s in self.shards])
        return float(each[np.searchsorted(self.starts, rows, side="right") - 1].sum()) if len(rows) else 0.0


class MappedTable(FeatureTable):
    """The features of a run's items, left on the disk until they are taken. In memory: 24 bytes an item.

    Args:
        store: where they are.
        keys: `hashed(key)` of every item.
        rows: where each stands in the store.
    """

    def __init__(self, store: FeatureStore, keys: Ids, rows: NDArray[np.int64]) -> None:
        super().__init__(store.width)
        self.store = store
        order = np.argsort(keys)
        self._keys, self._rows = keys[order], rows[order]

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: Hashable) -> bool:
        return bool(self._where([key])[0] >= 0)

    def _where(self, keys: Sequence[Hashable]) -> NDArray[np.int64]:
        return _find(self._keys, self._rows, ids_of([hashed(key) for key in keys]))

    def add(self, keys: Sequence[Hashable], features: Tensor) -> None:
        """Refused: what is on the disk is written by `encode_frozen` alone."""
        raise TypeError("a table on the disk takes no features; use FeatureTable")

    @property
    def features(self) -> Tensor:
        """All features, read into memory."""
        return torch.cat([torch.zeros(0, self.width), *self.chunks()])

    def chunks(self, size: int = 8192) -> Iterator[Tensor]:
        """All features, `size` rows at a time, in the order of the disk."""
        rows = np.sort(self._rows)
        for start in range(0, len(rows), size):
            yield torch.from_numpy(self.store.gather(rows[start : start + size]))

    def take(self, keys: Sequence[Hashable]) -> Tensor:
        """The features of these keys, (len(keys), width).

        Raises:
            KeyError: one is not in the table.
        """
        rows = self._where(keys)
        if (rows < 0).any():
            raise KeyError(keys[int((rows < 0).argmax())])
        return torch.from_numpy(self.store.gather(rows))

    def content(self, key: Hashable) -> str | None:
        """The hash of the samples that an item was encoded from."""
        return bytes(self.store.gather(self._where([key]), "samples")[0]).hex()

    def cut(self) -> int:
        """How many items are longer than what the encoder takes."""
        return int(self.store.gather(self._rows, "cut").sum()) if len(self) else 0


def write_shard(path: Path, arrays: Mapping[str, Tensor], seconds: float) -> bool:
    """Write a shard whole or not at all. False where the disk refuses: the run goes on."""
    aside = path.with_name(f".{path.stem}-{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = _digest({name: tensor.numpy() for name, tensor in arrays.items()})
        save_file(dict(arrays), aside, {"hash": digest, "seconds": repr(seconds)})
        flush(aside)
        aside.replace(path)
    except (OSError, SafetensorError):
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        return False
    return True


def read_shard(path: Path, width: int | None = None) -> Shard | None:
    """A shard, memory-mapped; None where it is damaged, or of another width. Without a width it is not checked."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        said = header.pop("__metadata__")
        arrays = {
            name: np.memmap(path, DTYPES[a["dtype"]], "r", 8 + length + a["data_offsets"][0], tuple(a["shape"]))
            for name, a in header.items()
        }
        if width is not None and (arrays["features"].shape[1:] != (width,) or _digest(arrays) != said["hash"]):
            return None
        return Shard(arrays, float(said["seconds"]), path)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return None


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=32)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        for start in range(0, len(array), 4096):
            digest.update(np.ascontiguousarray(array[start : start + 4096]).data)
    return digest.hexdigest()


def _index(parts: Sequence[Ids]) -> tuple[Ids, NDArray[np.int64]]:
    """Hashes in order, and where each stands first."""
    found, first = np.unique(np.concatenate([np.zeros(0, "S16"), *parts]), return_index=True)
    return found, first.astype(np.int64)


def _find(ordered: Ids, places: NDArray[np.int64], ids: Ids) -> NDArray[np.int64]:
    if not len(ordered):
        return np.full(len(ids), -1, np.int64)
    at = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
    return np.where(ordered[at] == ids, places[at], -1)
