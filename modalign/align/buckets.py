"""Batches of rows of similar length, so that little of a batch is padding; and how much of it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from modalign.align.data import AlignmentDataset
from modalign.align.sampler import EpochBatchSampler, generator_for


def row_lengths(dataset: AlignmentDataset, towers: Sequence[str]) -> dict[str, Tensor]:
    """Tower -> (rows,) length of each row's processed input, 0 where it has none; towers of one length are left out.

    Every row is read and processed once for it, as in an epoch without augmentation; of several captions it is the
    first that counts, and of a recording that is longer than its window one crop.
    """
    found: dict[str, Tensor] = {}
    for tower in towers:
        processing = dataset.processing[tower]
        lengths = []
        for i in range(len(dataset)):
            options = dataset.options_of(i, tower)
            if not options:
                lengths.append(0)
                continue
            generator = generator_for(dataset.seed, 0, dataset.manifest.rows[i].id, tower)
            inputs = processing(processing.crop(dataset.signal(i, tower, options[0]), generator))
            lengths.append(next(iter(inputs.values())).shape[-1])
        if len({n for n in lengths if n}) > 1:
            found[tower] = torch.tensor(lengths)
    return found


class BucketSampler(EpochBatchSampler):
    """Shuffled batches of rows of similar length, in shuffled order: a function of (seed, epoch), as without buckets.

    Rows are divided into classes of equal size by length, shuffled within their class, and cut into batches one class
    after another. The batch that is not full, and the row that would be alone, may be of any length.

    Args:
        lengths: tower -> (rows,); a row's length is the sum over towers, each as a share of its longest.
        buckets: how many classes.
        batch_size: rows a batch.
        seed: the run's seed.
    """

    def __init__(self, lengths: Mapping[str, Tensor], buckets: int, batch_size: int, seed: int) -> None:
        shares = torch.stack([own / own.max() for own in lengths.values()]).sum(0)
        super().__init__(len(shares), batch_size, seed)
        order = shares.argsort(stable=True)
        self.classes = torch.empty(self.n, dtype=torch.long)
        self.classes[order] = torch.arange(self.n) * buckets // self.n

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.n, generator=generator)
        order = order[self.classes[order].argsort(stable=True)]
        full, rest = divmod(self.n, self.batch_size)
        sizes = [self.batch_size] * full
        sizes.insert(int(torch.randint(full + 1, (), generator=generator)), rest)
        batches = [part.tolist() for part in order.split(sizes) if len(part) >= 2]  # type: ignore[no-untyped-call]
        for k in torch.randperm(len(batches), generator=generator).tolist():
            yield [(self.epoch, i) for i in batches[k]]


def padding_share(sampler: EpochBatchSampler, lengths: Tensor) -> float:
    """Which share of the batches of an epoch is padding, for a tower with these lengths (rows,).

    Example:
        >>> padding_share(EpochBatchSampler(4, 4, seed=0), torch.tensor([1, 1, 1, 5]))
        0.6
    """
    real = whole = 0
    for batch in sampler:
        own = lengths[[i for _, i in batch]]
        real += int(own.sum())
        whole += int(own.max()) * int((own > 0).sum())
    return 1 - real / max(whole, 1)


def sampler_for(
    dataset: AlignmentDataset, towers: Sequence[str], buckets: int, batch_size: int, seed: int
) -> tuple[EpochBatchSampler, list[str]]:
    """The sampler of a training, and what the user should be told of the padding.

    Args:
        dataset: the training rows.
        towers: those whose inputs are padded and not cached.
        buckets: classes of length; 0: none.
        batch_size: rows a batch.
        seed: the run's seed.
    """
    plain = EpochBatchSampler(len(dataset), batch_size, seed)
    if not buckets:
        return plain, []
    lengths = row_lengths(dataset, towers)
    if not lengths:
        return plain, ["buckets: no tower has inputs of different lengths, so they change nothing"]
    sampler = BucketSampler(lengths, buckets, batch_size, seed)
    shares = {tower: (padding_share(sampler, own), padding_share(plain, own)) for tower, own in lengths.items()}
    notes = [f"{n}: {a:.1%} of a batch is padding; without buckets {b:.1%}" for n, (a, b) in shares.items()]
    return sampler, notes
