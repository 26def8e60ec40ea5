"""From items to a batch: equal items once, and which rows of it belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
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
    also says which rows have which towers. With `micro_batch` a tower's inputs are a list of batches of so many items
    of about the same size, each padded to its own longest.
    """

    def __init__(
        self,
        dataset: AlignmentDataset,
        pairs: Sequence[Pair],
        tables: Mapping[str, FeatureTable],
        by_label: bool = False,
        views: bool = False,
        micro_batch: int | None = None,
    ) -> None:
        self.processing = dataset.processing
        self.augmented = {name for name, random in dataset.random.items() if random and dataset.train}
        self.pairs = list(pairs)
        self.tables = tables
        self.by_label = by_label
        self.views = views
        self.micro_batch = micro_batch

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """Batch the items."""
        return self.batch(items)[0]

    def batch(self, items: Sequence[Item]) -> tuple[dict[str, Any], Places]:
        """The batch, and where in it each item is: tower -> position in the batch -> row of the tower's inputs."""
        inputs: dict[str, dict[str, Tensor] | list[dict[str, Tensor]]] = {}
        place: Places = {}
        identity: Places = {}  # tower -> position in the batch -> number of the item, the same in every process
        further: dict[str, Further] = {}
        for tower in self.processing:
            present = [n for n, item in enumerate(items) if tower in item.contents]
            identity[tower] = {n: stable_number(items[n].contents[tower]) for n in present}
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
                given = [own for _, own in entries if own is not None]
                if self.micro_batch is None:
                    inputs[tower] = self.processing[tower].collate(given)
                    continue
                inputs[tower], order = micro_batches(given, self.micro_batch, self.processing[tower].collate)
                where = {k: n for n, k in enumerate(order)}
                place[tower] = {n: where[k] for n, k in place[tower].items()}
                further[tower] = {
                    kind: {n: [where[k] for k in own] for n, own in of.items()} for kind, of in further[tower].items()
                }
        rows = [item.row for item in items]
        labels = label_numbers([item.labels for item in items], rows) if self.by_label else None
        have = getattr(items, "have", None)  # see `processes.Share`
        pairs = [pair_batch(pair, place, identity, rows, labels, further, have) for pair in self.pairs]
        batch: dict[str, Any] = {"inputs": inputs, "pairs": [vars(p) for p in pairs if p is not None]}
        if self.views:
            batch["views"] = [vars(view) for view in views_of(place, identity, rows, labels, have)]
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


def micro_batches(
    given: Sequence[dict[str, Tensor]], size: int, collate: Callable[[Sequence[dict[str, Tensor]]], dict[str, Tensor]]
) -> tuple[list[dict[str, Tensor]], list[int]]:
    """Batches of `size` items, large ones first, so that little is padded; and the items' order in them.

    Memory that the large ones leave serves the small ones, and what does not fit fails at once.
    """
    order = sorted(range(len(given)), key=lambda k: -sum(value.numel() for value in given[k].values()))
    batches = [collate([given[k] for k in order[start : start + size]]) for start in range(0, len(given), size)]
    return batches, order


@lru_cache(maxsize=1 << 16)
def stable_number(content: str) -> int:
    """63 bits of a text's hash: equal in every process where the texts are.

    Example:
        >>> stable_number("a low tone")
        21740415948319500
    """
    return int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "little") >> 1


def label_numbers(labels: Sequence[tuple[str, ...]], rows: Sequence[int]) -> list[int]:
    """A number for each row's set of labels; rows without labels share theirs with none.

    Example:
        >>> a, both, none, again, other = label_numbers([("a",), ("b", "a"), (), ("a", "b"), ()], range(5))
        >>> both == again, a == both, none, other
        (True, False, -3, -5)
    """
    return [stable_number("\0".join(sorted(set(own)))) if own else -1 - row for own, row in zip(labels, rows)]
