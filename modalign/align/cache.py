"""Work not done twice: the features of a frozen tower, encoded once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import torch
from torch import Tensor


class FeatureTable:
    """Pooled features (N, width) by item key, float32, on the CPU.

    Example:
        >>> table = FeatureTable(2)
        >>> table.add(["a", "b"], torch.tensor([[1., 2.], [3., 4.]]))
        >>> table.take(["b"])
        tensor([[3., 4.]])
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._index: dict[Hashable, int] = {}
        self._chunks: list[Tensor] = []
        self._features = torch.zeros(0, width)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._index

    def add(self, keys: Sequence[Hashable], features: Tensor) -> None:
        """Add the features (len(keys), width) of keys that are not in the table yet."""
        for key in keys:
            self._index[key] = len(self._index)
        self._chunks.append(features.contiguous())

    @property
    def features(self) -> Tensor:
        """All features, in the order in which they were added."""
        if self._chunks:
            self._features = torch.cat([self._features, *self._chunks])
            self._chunks = []
        return self._features

    def take(self, keys: Sequence[Hashable]) -> Tensor:
        """The features of these keys, (len(keys), width)."""
        return self.features[torch.tensor([self._index[key] for key in keys])]

    def chunks(self, size: int = 8192) -> Iterator[Tensor]:
        """All features, `size` rows at a time."""
        yield from self.features.split(size)  # type: ignore[no-untyped-call]

    def content(self, key: Hashable) -> str | None:
        """The hash of the samples that an item was encoded from, where the table knows it."""
        return None
