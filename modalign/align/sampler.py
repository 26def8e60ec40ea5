"""Which rows in which order, and every random choice, as pure functions of (seed, epoch, row id, view)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


def generator_for(seed: int, epoch: int, row: str, view: str) -> torch.Generator:
    """A generator whose state depends on nothing but these four, whatever the workers, processes or resume.

    Example:
        >>> a, b = (generator_for(0, 3, "row-7", "motion") for _ in range(2))
        >>> bool(torch.rand((), generator=a) == torch.rand((), generator=b))
        True
    """
    digest = hashlib.blake2b(f"{seed}\x1f{epoch}\x1f{row}\x1f{view}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def choice_for(seed: int, epoch: int, row: str, view: str, n: int) -> int:
    """One of n choices, drawn the same way (without the cost of a generator)."""
    digest = hashlib.blake2b(f"{seed}\x1f{epoch}\x1f{row}\x1f{view}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % n


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, row index), shuffled by (seed, epoch).

    The epoch travels with each index, so that workers that outlive an epoch still augment for the right one.
    A last batch of a single row is dropped: it has nothing to be contrasted with.

    Args:
        n: rows.
        batch_size: rows a batch.
        seed: the run's seed.
        drop_last: drop every last batch that is not full.
    """

    def __init__(self, n: int, batch_size: int, seed: int, drop_last: bool = False) -> None:
        self.n, self.batch_size, self.seed, self.drop_last = n, batch_size, seed, drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.n, self.batch_size)
        return full + (rest >= 2 and not self.drop_last)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.n, generator=generator)
        for b in range(len(self)):
            yield [(self.epoch, i) for i in order[b * self.batch_size : (b + 1) * self.batch_size].tolist()]
