"""From rows to items: choosing a caption, reading, augmenting and processing."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from operator import and_
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from modalign.align.cache import FeatureTable
from modalign.align.config import Pair
from modalign.align.hard_captions import hard_captions
from modalign.align.manifest import Manifest, Row
from modalign.align.model import Tower
from modalign.align.sampler import choice_for, generator_for
from modalign.align.signal_cache import SignalCache, load_prepared
from modalign.errors import ManifestError, ReadError
from modalign.modalities.base import Augmentation, Processing, Signal, augment

Key = tuple[Any, ...]
"""Which item: the text, or the source and what the manifest says of it."""


@dataclass(frozen=True)
class Item:
    """One row, ready to be batched.

    Attributes:
        row: its position in the manifest.
        keys: tower -> which item (of its captions) this is.
        contents: tower -> what makes it equal to another row's item: the text, or the signal's hash.
        inputs: tower -> processed inputs, or None where the tower's features are cached.
        labels: of the row.
        captions: tower -> "hard" and "parts" -> further captions of the row, for losses that take them.
        said: (tower, caption) -> processed inputs of these, or None.
    """

    row: int
    keys: Mapping[str, Key]
    contents: Mapping[str, str]
    inputs: Mapping[str, dict[str, Tensor] | None]
    labels: tuple[str, ...] = ()
    captions: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    said: Mapping[tuple[str, str], dict[str, Tensor] | None] = field(default_factory=dict)


def captions_of(
    row: Row, tower: str, manifest: Manifest, templates: Sequence[str], known: Mapping[str, Sequence[str]] | None = None
) -> tuple[str, ...]:
    """The captions of a row, any of which may be drawn: its own; else its labels' descriptions; else the templates.

    `known` are descriptions to take where the manifest has none of a label: what prompts are made of later.
    """
    own = row.sources.get(tower)
    if own is not None:
        return tuple(own)
    if not row.labels:
        return ()
    described = [
        sentence
        for label in row.labels
        for sentence in manifest.descriptions.get(label) or (known or {}).get(label) or ()
    ]
    if described:
        return tuple(described)
    label = ", ".join(row.labels).replace("_", " ")  # as prompts are written
    return tuple(template.replace("{label}", label) for template in templates)


class AlignmentDataset(Dataset[Item]):
    """The rows of a manifest as `Item`s. Indexed by (epoch, row), so that every random choice is a function of them.

    Args:
        manifest: one split.
        towers: tower name -> Tower.
        seed: the run's seed.
        train: augment and sample captions; otherwise the first caption and no augmentation.
        templates: tower -> templates that turn the label of a row without a caption into one: those of the text's own
            tower, else those of the recordings that the row has; a modality's own where a tower has none here.
        cache: where signals whose preparation is costly are kept, or None.
        modality_dropout: chance that a training row goes without one of its modalities, while a pair is left to it.
        pairs: of the recipe; None: any two towers are one.
        captions: further captions that the losses take: "hard", "parts".
        rules: by which hard captions are made, beside the manifest's (`align/hard_captions.py`).
    """

    def __init__(
        self,
        manifest: Manifest,
        towers: Mapping[str, Tower],
        seed: int = 0,
        train: bool = False,
        templates: Mapping[str, Sequence[str]] | None = None,
        cache: SignalCache | None = None,
        modality_dropout: float = 0.0,
        pairs: Sequence[Pair] | None = None,
        captions: Collection[str] = (),
        rules: Sequence[str] = (),
    ) -> None:
        self.manifest = manifest
        self.cache = cache
        ends = combinations(towers, 2) if pairs is None else [(pair.a, pair.b) for pair in pairs]
        self.edges = [frozenset(pair) for pair in ends]
        self.captions, self.rules = sorted(captions), list(rules)
        self.modality_dropout = modality_dropout
        self.seed = seed
        self.train = train
        # The towers' modules stay out, so that a worker process is not sent the weights.
        self.modalities = {name: tower.modality for name, tower in towers.items()}
        self.processing: dict[str, Processing] = {name: tower.processing for name, tower in towers.items()}
        self.augmentations: dict[str, list[Augmentation]] = {
            name: tower.modality.build_augmentations(tower.config.augment) if train else []
            for name, tower in towers.items()
        }
        # Towers whose inputs differ from epoch to epoch: a generator is made for these alone.
        self.random = {
            name: bool(self.augmentations[name]) or type(self.processing[name]).crop is not Processing.crop
            for name in towers
        }
        given = self.given = templates or {}
        self.templates: dict[str, Sequence[str]] = {
            name: given.get(name) or (modality.templates if modality.is_path else ())
            for name, modality in self.modalities.items()
        }
        self.cached: set[str] = set()
        self.tables: dict[str, FeatureTable] = {}  # of towers that are cached, or were in rows that these are part of
        self._signals: dict[Key, Signal] = {}
        self._contents: dict[Key, str] = {}
        self._towers: dict[int, tuple[str, ...]] = {}
        self.budget = 1 << 29  # bytes of signals kept in memory

    def with_manifest(self, manifest: Manifest) -> AlignmentDataset:
        """The same towers over other rows, without augmentation."""
        other = copy.copy(self)
        other.manifest, other.train = manifest, False
        other.augmentations = {name: [] for name in self.augmentations}
        other._towers = {}
        other.cached, other._signals = set(), {}  # what is known of an item's content holds for any rows
        return other

    def __len__(self) -> int:
        return len(self.manifest.rows)

    def options_of(self, index: int, tower: str) -> tuple[Key, ...]:
        """Every key that this row can have in this tower: its captions, or its one source."""
        row = self.manifest.rows[index]
        if not self.modalities[tower].is_path:
            templates = self._templates_for(row, tower)
            known = self._known_for(row, tower)
            return tuple((caption,) for caption in captions_of(row, tower, self.manifest, templates, known))
        if tower not in row.sources:
            return ()
        said = repr(sorted(row.fields[tower].items()))
        # Two modalities may read one file, and each makes another signal of it.
        return ((_source_key(row.sources[tower]), said, self.modalities[tower].name),)

    def captions_for(self, index: int, tower: str, key: Key) -> dict[str, tuple[str, ...]]:
        """Further captions of a row whose caption is `key`, as far as losses take them: see `Item.captions`."""
        if not self.captions or self.modalities[tower].is_path:
            return {}
        said = self.manifest.rows[index].fields.get(tower, {})
        found = {kind: tuple(said.get(kind, ())) for kind in self.captions}
        if "hard" in found:
            found["hard"] = tuple(dict.fromkeys((*found["hard"], *hard_captions(key[0], self.rules))))
        return {kind: captions for kind, captions in found.items() if captions}

    def keys_of(self, index: int, tower: str) -> tuple[Key, ...]:
        """Every key that can be needed of this row in this tower: its own, and those of its further captions."""
        own = self.options_of(index, tower)
        further = [(c,) for key in own for said in self.captions_for(index, tower, key).values() for c in said]
        return tuple(dict.fromkeys((*own, *further)))

    def _recordings(self, row: Row) -> list[str]:
        return [name for name, kind in self.modalities.items() if kind.is_path and name in row.sources]

    def _known_for(self, row: Row, tower: str) -> Mapping[str, Sequence[str]]:
        """What the recording's modality knows of labels, unless the recipe gives templates: as prompts are made."""
        recordings = self._recordings(row)
        if any(self.given.get(name) for name in (tower, *recordings)):
            return {}
        return self.modalities[recordings[0]].descriptions if recordings else {}

    def _templates_for(self, row: Row, tower: str) -> Sequence[str]:
        if self.templates[tower]:
            return self.templates[tower]
        recordings = self._recordings(row)
        said = dict.fromkeys(template for name in recordings for template in self.templates[name])
        return tuple(said) or self.modalities[tower].templates

    def signal(self, index: int, tower: str, key: Key, keep: bool = True) -> Signal:
        """Read and prepare the item, or take it from memory or the cache; `keep` it in memory while there is room.

        Raises:
            ReadError: names the row too.
        """
        kept = self._signals.get(key)
        if kept is not None:
            return kept
        row = self.manifest.rows[index]
        modality = self.modalities[tower]
        source = key[0] if not modality.is_path else row.sources[tower]
        try:
            signal = load_prepared(self.cache, source, row.fields.get(tower, {}), modality, self.processing[tower])
        except ReadError as error:
            raise ReadError(f"{self.manifest.path}: row {row.id!r}: {error}") from error.__cause__
        # Two recordings with the same samples are the same item, whatever their files are called.
        if modality.is_path:
            self._contents[key] = digest(signal.data)
        size = signal.data.numel() * 4 + 512
        if keep and size < self.budget:
            self.budget -= size
            self._signals[key] = signal
        return signal

    def content(self, key: Key) -> str:
        """What makes an item that was read (or encoded) before equal to others: its text, or its samples' hash."""
        if len(key) == 1:
            return str(key[0])
        if key not in self._contents:
            known = [table.content(key) for table in self.tables.values() if key in table]
            return next(content for content in known if content is not None)
        return self._contents[key]

    def __getitem__(self, index: int | tuple[int, int]) -> Item:
        epoch, i = index if isinstance(index, tuple) else (0, index)
        row = self.manifest.rows[i]
        keys: dict[str, Key] = {}
        contents: dict[str, str] = {}
        inputs: dict[str, dict[str, Tensor] | None] = {}
        captions: dict[str, dict[str, tuple[str, ...]]] = {}
        said: dict[tuple[str, str], dict[str, Tensor] | None] = {}
        dropped = self._dropped(epoch, i)
        for tower in self.modalities:
            options = self.options_of(i, tower)
            if not options or tower in dropped:
                continue
            pick = choice_for(self.seed, epoch, row.id, f"{tower}.caption", len(options)) if self.train else 0
            key = keys[tower] = options[pick]
            captions[tower] = self.captions_for(i, tower, key)
            for caption in (c for several in captions[tower].values() for c in several):
                known = tower in self.cached
                said[tower, caption] = None if known else self.processing[tower](self.signal(i, tower, (caption,)))
            if tower in self.cached:
                contents[tower] = self.content(key)
                inputs[tower] = None
                continue
            signal = self.signal(i, tower, key)
            contents[tower] = self.content(key)
            if self.train and self.random[tower]:
                generator = generator_for(self.seed, epoch, row.id, tower)
                signal = augment(self.processing[tower].crop(signal, generator), self.augmentations[tower], generator)
            inputs[tower] = self.processing[tower](signal)
        return Item(i, keys, contents, inputs, row.labels, captions, said)

    def towers_of(self, epoch: int, i: int) -> tuple[str, ...]:
        """The towers that the row has in an epoch, as its `Item` has them, without reading it."""
        if i not in self._towers:
            self._towers[i] = tuple(tower for tower in self.modalities if self.options_of(i, tower))
        dropped = self._dropped(epoch, i)
        return tuple(tower for tower in self._towers[i] if tower not in dropped)

    def _dropped(self, epoch: int, i: int) -> set[str]:
        """The modalities that the row goes without in this epoch: a pair at least is left to it."""
        if not (self.train and self.modality_dropout):
            return set()
        row = self.manifest.rows[i]
        present = [tower for tower in self.modalities if self.options_of(i, tower)]
        generator = generator_for(self.seed, epoch, row.id, "modality dropout")
        chance = torch.rand(len(present), generator=generator)
        kept = set(present)
        for k in chance.argsort().tolist():  # the likeliest to go first
            left = kept - {present[k]}
            if chance[k] < self.modality_dropout and any(pair <= left for pair in self.edges):
                kept = left
        return set(present) - kept


def digest(data: Tensor) -> str:
    """A hash of a signal's samples and shape."""
    content = data.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.blake2b(str(tuple(data.shape)).encode() + content, digest_size=16).hexdigest()


def _source_key(source: Any) -> str:
    return digest(torch.as_tensor(source)) if hasattr(source, "shape") else str(source)


def count_pairs(dataset: AlignmentDataset, pairs: Sequence[Pair]) -> dict[tuple[str, str], int]:
    """(a, b) -> how many rows have both."""
    rows = range(len(dataset))
    has = {name: bytearray(bool(dataset.options_of(i, name)) for i in rows) for name in dataset.modalities}
    return {(pair.a, pair.b): sum(map(and_, has[pair.a], has[pair.b])) for pair in pairs}


def check_captions(dataset: AlignmentDataset, pairs: Sequence[Pair]) -> dict[tuple[str, str], int]:
    """Count each pair's rows.

    Raises:
        ManifestError: a pair has fewer than two rows, so nothing could be contrasted.
    """
    counts = count_pairs(dataset, pairs)
    for pair in pairs:
        n = counts[pair.a, pair.b]
        if n < 2:
            raise ManifestError(
                f"{dataset.manifest.path}: {n} rows have both {pair.a} and {pair.b}; a pair needs two or more. "
                f"Fill the columns {pair.a!r} and {pair.b!r} (a text may also come from label and descriptions)"
            )
    return counts
