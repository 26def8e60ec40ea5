"""From items to a batch: equal items once, and which rows of it belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from modalign.align.cache import FeatureTable
from modalign.align.config import Pair
from modalign.align.data import AlignmentDataset, Item, Key
from modalign.align.model import POOLED
from modalign.align.pairs import Further, pair_batch, views_of

Places = dict[str, dict[int, int]]
"""Tower -> position in a batch -> a number."""


class Collator:
    """Items -> `{"inputs": ..., "pairs": ...}`: the mapping that the model and the loss take.

    An item that stands in several rows (a caption) is encoded once, unless its tower is augmented; either way its
    rows are positives of each other. With `by_label` so are rows with the same set of labels. With `views` the batch
    also says which rows have which towers.
    """

    def __init__(
        self,
        dataset: AlignmentDataset,
        pairs: Sequence[Pair],
        tables: Mapping[str, FeatureTable],
        by_label: bool = False,
        views: bool = False,
    ) -> None:
        self.processing = dataset.processing
        self.augmented = {name for name, random in dataset.random.items() if random and dataset.train}
        self.pairs = list(pairs)
        self.tables = tables
        self.by_label = by_label
        self.views = views

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """Batch the items."""
        return self.batch(items)[0]

    def batch(self, items: Sequence[Item]) -> tuple[dict[str, Any], Places]:
        """The batch, and where in it each item is: tower -> position in the batch -> row of the tower's inputs."""
        inputs: dict[str, dict[str, Tensor]] = {}
        place: Places = {}
        identity: Places = {}  # tower -> position in the batch -> number of the item
        further: dict[str, Further] = {}
        for tower in self.processing:
            present = [n for n, item in enumerate(items) if tower in item.contents]
            numbers: dict[str, int] = {}
            identity[tower] = {n: numbers.setdefault(items[n].contents[tower], len(numbers)) for n in present}
            entries: list[tuple[Key, dict[str, Tensor] | None]] = []
            at: dict[str, int] = {}  # content -> row of the tower's inputs
            place[tower] = {}
            for n in present:
                content = items[n].contents[tower]
                if content not in at or tower in self.augmented:
                    at[content] = len(entries)
                    entries.append((items[n].keys[tower], items[n].inputs[tower]))
                place[tower][n] = at[content]
            further[tower] = self._further(items, present, tower, at, entries)
            if not entries:
                continue
            if tower in self.tables:
                inputs[tower] = {POOLED: self.tables[tower].take([key for key, _ in entries])}
            else:
                inputs[tower] = self.processing[tower].collate([given for _, given in entries if given is not None])
        labels = label_numbers([item.labels for item in items]) if self.by_label else None
        rows = [item.row for item in items]
        pairs = [pair_batch(pair, place, identity, rows, labels, further) for pair in self.pairs]
        batch: dict[str, Any] = {"inputs": inputs, "pairs": [vars(p) for p in pairs if p is not None]}
        if self.views:
            batch["views"] = [vars(view) for view in views_of(place, identity, rows, labels)]
        return batch, place

    def _further(
        self,
        items: Sequence[Item],
        present: Sequence[int],
        tower: str,
        at: dict[str, int],
        entries: list[tuple[Key, dict[str, Tensor] | None]],
    ) -> Further:
        """Kind -> position in the batch -> rows of the tower's inputs that hold the row's further captions."""
        found: dict[str, dict[int, list[int]]] = {}
        for n in present:
            for kind, captions in items[n].captions.get(tower, {}).items():
                for caption in captions:
                    if caption not in at:
                        at[caption] = len(entries)
                        entries.append(((caption,), items[n].said[tower, caption]))
                    found.setdefault(kind, {}).setdefault(n, []).append(at[caption])
        return found


def label_numbers(labels: Sequence[tuple[str, ...]]) -> list[int]:
    """A number for each row's set of labels; rows without labels share theirs with none.

    Example:
        >>> label_numbers([("a",), ("b", "a"), (), ("a", "b"), ()])
        [0, 1, -3, 1, -5]
    """
    numbers: dict[frozenset[str], int] = {}
    return [numbers.setdefault(frozenset(own), len(numbers)) if own else -1 - n for n, own in enumerate(labels)]
