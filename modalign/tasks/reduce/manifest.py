"""A manifest without the slices that are nearly others of their volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import torch
from torch import Tensor

from modalign.align.embed import check_finite
from modalign.align.manifest import Manifest, Row, read_manifest, read_sidecar
from modalign.align.mode import in_eval
from modalign.align.model import AlignmentModel
from modalign.datasets.manifest import write_manifest
from modalign.errors import ManifestError, RecipeError, suggest
from modalign.modalities.base import Signal
from modalign.modalities.registry import get_modality, list_modalities
from modalign.tasks.plain import plain_table
from modalign.tasks.reduce.distances import DISTANCES, Kind
from modalign.tasks.reduce.keeper import greedy_keep


@runtime_checkable
class Sliced(Protocol):
    """What a modality adds whose recordings have slices, or are slices."""

    slice_field: str
    """The manifest's field that names the slices of a recording that are kept; "": each row is one slice."""

    def slices(self, signal: Signal) -> Tensor:
        """(S, H, W)."""

    def one_slice(self, signal: Signal, number: int) -> Signal:
        """A slice, as the modality's encoders take it."""


@dataclass(frozen=True)
class Reduction:
    """What was kept.

    Attributes:
        path: of the manifest that was written.
        volumes: a row a volume: `volume`, `slices`, `kept`.
        threshold: in the distance's unit.
        split: the rows that were reduced; those of other splits stay as they were.
    """

    path: Path
    volumes: pd.DataFrame
    threshold: float
    split: str

    @property
    def share(self) -> float:
        """Of the slices that are kept: about the share of time that an epoch over slices takes now."""
        return float(self.volumes["kept"].sum() / self.volumes["slices"].sum())


def open_slices(path: Path, modality: str, allow_outside: bool = False) -> Manifest:
    """Read a manifest whose column `modality` holds slices, or volumes of them.

    Raises:
        RecipeError: the modality has no slices.
        ManifestError: the manifest cannot be read.
    """
    _sliced(modality)
    return read_manifest(path, {name: get_modality(name) for name in list_modalities()}, allow_outside=allow_outside)


def rows_to_reduce(manifest: Manifest, modality: str, split: str | None = None) -> tuple[str, list[int]]:
    """The split that is reduced (None: train, if the manifest has it, else all), and the positions of its rows.

    Raises:
        ManifestError: no row of the split has the modality.
    """
    split = split or ("train" if manifest.has("train") else "all")
    manifest.split(split)  # it has rows
    chosen = [i for i, row in enumerate(manifest.rows) if split in ("all", row.split) and modality in row.sources]
    if not chosen:
        raise ManifestError(f"{manifest.path}: no row of split {split!r} has a {modality}; give another --split")
    return split, chosen


def reduce_manifest(
    manifest: Manifest,
    out: Path,
    modality: str,
    *,
    distance: str = "hash",
    threshold: float | None = None,
    model: AlignmentModel | None = None,
    split: str | None = None,
    advance: Callable[[int], None] | None = None,
) -> Reduction:
    """Drop the slices that are within a threshold of an earlier one that stays, volume by volume.

    Where a row is a volume (ct), its slices that stay are named in a field (`ct.slices`), and no row goes. Where a row
    is a slice (xray), rows of one `cluster`, or else of one `group`, are a volume in their order, and rows go.

    Args:
        manifest: as `open_slices` reads it.
        out: the .csv to write.
        modality: the column of the slices; with `model`, its tower of this name.
        distance: a key of `DISTANCES`.
        threshold: None for the published one, if there is one.
        model: for the distance that needs one.
        split: see `rows_to_reduce`.
        advance: called with 1 after each row.

    Raises:
        RecipeError: options do not go together.
        ManifestError: the manifest does not say which slices are of one volume.
        ReadError: a source cannot be read.
        ModelError: no such tower, or its features are not finite.
    """
    kind, limit = _kind(distance, threshold, model)
    reader = _sliced(modality)
    split, chosen = rows_to_reduce(manifest, modality, split)
    table, said = plain_table(manifest), []
    keeper = _Keeper(reader, kind, limit, model, modality)
    if reader.slice_field:
        column = f"{modality}.{reader.slice_field}"
        cells = [str(cell) for cell in table[column]] if column in table else [""] * len(table)
        for i in chosen:
            row = manifest.rows[i]
            count, kept = keeper([_load(reader, row, modality, advance)])
            before = row.fields[modality].get(reader.slice_field) or range(count)
            cells[i] = ", ".join(str(before[k]) for k in kept) if len(kept) < count else cells[i]
            said.append((row.id, count, len(kept)))
        table[column] = cells
    else:
        drop: set[int] = set()
        for name, members in _volumes([(i, manifest.rows[i]) for i in chosen], manifest).items():
            count, kept = keeper([_load(reader, manifest.rows[i], modality, advance) for i in members])
            drop |= set(members) - {members[k] for k in kept}
            said.append((name, count, len(kept)))
        table = table.drop(index=sorted(drop)).reset_index(drop=True)
    path = Path(manifest.path)
    sidecar = read_sidecar(path)
    about = f"{sidecar.about or path.name}; slices reduced by {distance} at {limit:g} ({kind.unit}), split {split}"
    written = write_manifest(
        table, out, path.parent / sidecar.root, about, modality, defaults=sidecar.defaults,
        descriptions=sidecar.descriptions, official_split=sidecar.official_split, synthetic=sidecar.synthetic,
    )  # fmt: skip
    return Reduction(written, pd.DataFrame(said, columns=["volume", "slices", "kept"]), limit, split)


def _load(reader: Any, row: Row, modality: str, advance: Callable[[int], None] | None) -> Signal:
    signal: Signal = reader.load(row.sources[modality], **row.fields[modality])
    if advance is not None:
        advance(1)
    return signal


def _kind(distance: str, threshold: float | None, model: AlignmentModel | None) -> tuple[Kind, float]:
    if distance not in DISTANCES:
        raise RecipeError(f"--distance {distance!r}: {suggest(distance, DISTANCES)}")
    kind = DISTANCES[distance]
    limit = kind.threshold if threshold is None else threshold
    if limit is None:
        raise RecipeError(f"--threshold is missing: none is published for {distance!r} ({kind.unit})")
    if kind.needs_model and model is None:
        raise RecipeError(f"--model is missing: the distance {distance!r} compares a model's features")
    if not kind.needs_model and model is not None:
        raise RecipeError(f"--model goes with --distance embedding, and {distance!r} needs none")
    return kind, limit


def _sliced(name: str) -> Any:
    """A modality that is `Sliced`."""
    found = get_modality(name)
    if not isinstance(found, Sliced):
        known = [other for other in list_modalities() if isinstance(get_modality(other), Sliced)]
        raise RecipeError(f"--modality {name}: it has no slices; those that have: {', '.join(known)}")
    return found


@dataclass(frozen=True)
class _Keeper:
    """The slices of one volume -> how many there are, and which stay."""

    modality: Any
    kind: Kind
    threshold: float
    model: AlignmentModel | None
    tower: str

    def __call__(self, signals: Sequence[Signal]) -> tuple[int, list[int]]:
        stacks = [self.modality.slices(signal) for signal in signals]
        count = sum(len(stack) for stack in stacks)
        compared = self._features(signals, stacks) if self.model is not None else self._alike(stacks)
        return count, greedy_keep(count, self.kind.of(compared), self.threshold)

    @torch.no_grad()
    def _features(self, signals: Sequence[Signal], stacks: Sequence[Tensor]) -> Tensor:
        assert self.model is not None
        part = self.model.tower(self.tower)
        single = [self.modality.one_slice(s, k) for s, stack in zip(signals, stacks) for k in range(len(stack))]
        with in_eval(part):
            features = part.encode_whole(single).float().cpu()
        return check_finite(features, [f"slice {k}" for k in range(len(single))], self.tower)

    @staticmethod
    def _alike(stacks: Sequence[Tensor]) -> Tensor:
        sizes = {tuple(stack.shape[1:]) for stack in stacks}
        if len(sizes) == 1:
            return torch.cat(list(stacks))
        # Pictures of one volume that were cut differently are compared at the size of the smallest.
        size = (min(s[0] for s in sizes), min(s[1] for s in sizes))
        return torch.cat([torch.nn.functional.adaptive_avg_pool2d(s[:, None].float(), size)[:, 0] for s in stacks])


def _volumes(rows: Sequence[tuple[int, Row]], manifest: Manifest) -> dict[str, list[int]]:
    """Cluster, or group -> positions of its rows."""
    which = next((key for key in ("cluster", "group") if any(getattr(row, key) for _, row in rows)), None)
    if which is None:
        raise ManifestError(
            f"{manifest.path}: rows are slices, and nothing says of which volume; name it in the column 'cluster'"
        )
    volumes: dict[str, list[int]] = {}
    for i, row in rows:
        name = getattr(row, which)
        if not name:
            raise ManifestError(f"{manifest.path}: row {row.id!r} has no {which}; name the volume of every slice")
        volumes.setdefault(name, []).append(i)
    return volumes
