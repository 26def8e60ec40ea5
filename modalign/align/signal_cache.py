"""Prepared signals kept on disk, for modalities whose `Processing.prepare` is costly (CT).

MONAI's `PersistentDataset` does the same for its transforms, but stores pickles, and this package loads none: an entry
here is one safetensors file, whose header holds the rest of the signal as JSON. An entry is found by what it was made
from (path, sizes and times of all files, the manifest's fields, the parameters of `prepare`, this package's version),
is written beside and renamed, so that two processes may share a folder, and is made again where it is damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from modalign.errors import ReadError
from modalign.modalities.base import Processing, Signal


class SignalCache:
    """A folder of prepared signals.

    Args:
        folder: made when the first entry is written.

    Attributes:
        hits: signals taken from the folder.
        made: signals made, and written to it.
        unsaved: signals made that could not be written.
        saved: seconds that hits took less than making them had taken.

    Example:
        >>> cache = SignalCache(Path("runs/ct/cache"))                                        # doctest: +SKIP
        >>> signal = cache.take(path, {"unit": "HU"}, "ct", processing, read)                 # doctest: +SKIP
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.hits = self.made = self.unsaved = 0
        self.saved = 0.0

    def take(
        self,
        source: Any,
        fields: Mapping[str, Any],
        modality: str,
        processing: Processing,
        make: Callable[[], Signal],
    ) -> Signal:
        """The prepared signal of a source, from the folder or made now.

        Args:
            source: a path; anything else is made and not kept.
            fields: what the manifest says of it.
            modality: the registered name.
            processing: whose `prepare_parameters` the entry depends on.
            make: reads and prepares the source.

        Raises:
            ReadError: the source cannot be read. It is not asked for where there is an entry: an unchanged source was
                read before.
        """
        if not isinstance(source, (str, Path)):
            return make()
        key = self.key(Path(source), fields, modality, processing)
        if key is None:
            return make()
        started = time.perf_counter()
        found = read_entry(self.folder / f"{key}.safetensors")
        if found is not None:
            signal, seconds = found
            self.hits += 1
            self.saved += max(seconds - (time.perf_counter() - started), 0.0)
            return signal
        signal = make()
        if write_entry(self.folder / f"{key}.safetensors", signal, time.perf_counter() - started):
            self.made += 1
        else:
            self.unsaved += 1
        return signal

    def key(self, source: Path, fields: Mapping[str, Any], modality: str, processing: Processing) -> str | None:
        """What an entry is found by, or None where the source is not there."""
        files = identity(source)
        if files is None:
            return None
        said = [version("modalign"), modality, str(source.resolve()), files, sorted(map(str, fields.items()))]
        parameters = [type(processing).__qualname__, processing.prepare_parameters()]
        text = json.dumps([said, parameters], sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def report(self) -> str:
        """One line for the log."""
        text = f"{self.hits:,} recordings from the cache, {self.made:,} made and kept in {self.folder}"
        if self.saved >= 1:
            text += f"; saved about {self.saved:.0f} s"
        return text + (f"; {self.unsaved:,} could not be written there" if self.unsaved else "")


def identity(source: Path) -> list[tuple[str, int, int]] | None:
    """Name, size and time of change (ns) of a file, or of every file in a folder; None where there is none."""
    try:
        if source.is_dir():
            files = sorted(p for p in source.rglob("*") if p.is_file())
            return [(p.relative_to(source).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
        return [("", source.stat().st_size, source.stat().st_mtime_ns)]
    except OSError:
        return None


def write_entry(path: Path, signal: Signal, seconds: float) -> bool:
    """Write an entry whole or not at all. False where the disk refuses, or its meta is no JSON: the run goes on."""
    data = signal.data.detach().contiguous().cpu()
    aside = path.with_name(f".{path.stem}-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        about = json.dumps(
            {"rate": signal.rate, "channels": signal.channels, "meta": dict(signal.meta), "seconds": seconds}
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"data": data}, aside, {"signal": about, "hash": _hash(data, about)})
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    except (OSError, TypeError, SafetensorError):
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        return False
    return True


def read_entry(path: Path) -> tuple[Signal, float] | None:
    """An entry, and the seconds that making it took; None where there is none, or it is damaged.

    Lists in `meta` come back as tuples.
    """
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            data = file.get_tensor("data")
        if _hash(data, said["signal"]) != said["hash"]:
            return None
        about = json.loads(said["signal"])
        meta = {key: _tuples(value) for key, value in about["meta"].items()}
        return Signal(data, about["rate"], tuple(about["channels"]), meta), float(about["seconds"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _hash(data: Tensor, about: str) -> str:
    content = data.reshape(-1).view(torch.uint8).numpy()
    return hashlib.blake2b(f"{tuple(data.shape)}{data.dtype}{about}".encode() + content.tobytes()).hexdigest()


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    return value


def load_prepared(
    cache: SignalCache | None, source: Any, fields: Mapping[str, Any], modality: Any, processing: Processing
) -> Signal:
    """Read a source and do the costly part of its processing, or take both from the cache.

    Modalities whose processing has no such part are read as they are.

    Raises:
        ReadError: the source cannot be read.
    """

    def make() -> Signal:
        signal: Signal = modality.load(source, **fields)
        try:
            return processing.prepare(signal)
        except ReadError as error:
            raise ReadError(f"{source if isinstance(source, (str, Path)) else modality.name}: {error}") from error

    if cache is None or not processing.kept or type(processing).prepare is Processing.prepare:
        return make()
    return cache.take(source, fields, modality.name, processing, make)
