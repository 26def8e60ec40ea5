"""Embedding whole splits, without augmentation and in a fixed order, and the retrieval figures of their pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

import torch
from torch import Tensor

from modalign.align.cache import FeatureTable
from modalign.align.config import Pair
from modalign.align.data import AlignmentDataset
from modalign.align.metrics import recall_at_k
from modalign.align.mode import in_eval
from modalign.align.model import POOLED, AlignmentModel, AlignmentOutput
from modalign.align.objective import Objective
from modalign.align.pairs import pair_batch, views_of
from modalign.errors import ModelError

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Embedded:
    """The rows of a split that have a modality.

    Attributes:
        rows: positions in the manifest.
        contents: what makes two of them equal.
        embeddings: (len(rows), dim) unit rows, on the CPU.
        pooled: (len(rows), width) the encoder's features that they were projected from, on the CPU.
    """

    rows: list[int]
    contents: list[str]
    embeddings: Tensor
    pooled: Tensor


def check_finite(embeddings: Tensor, names: Sequence[str], tower: str) -> Tensor:
    """The embeddings (N, dim) as they are.

    A NaN would be taken for the first class, and for the best of all that is searched.

    Raises:
        ModelError: one is not finite; names it.
    """
    bad = (~embeddings.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise ModelError(
            f"{len(bad):,} of {len(embeddings):,} embeddings of {tower} are not finite, the first that of "
            f"{names[bad[0]]!r}: the recording is out of all bounds, or the model's training came apart"
        )
    return embeddings


@torch.no_grad()
def embed_split(
    model: AlignmentModel,
    dataset: AlignmentDataset,
    tower: str,
    batch_size: int = 256,
    table: FeatureTable | None = None,
    advance: Advance | None = None,
) -> Embedded:
    """Embed every row that has this tower's modality (its first caption, for text).

    Args:
        model: the model; its mode is put back afterwards.
        dataset: a split, built with `train=False`.
        tower: the tower's name.
        batch_size: rows encoded at a time.
        table: the tower's cached features, if it is frozen; None: those that the dataset has.
        advance: called with the number of rows done, for a progress bar.

    Raises:
        ReadError: a source cannot be read.
    """
    part = model.tower(tower)
    if table is None and part.frozen and tower in dataset.cached:
        table = dataset.tables[tower]
    present = [i for i in range(len(dataset)) if dataset.options_of(i, tower)]
    contents: list[str] = []
    chunks: list[Tensor] = []
    features: list[Tensor] = []
    with in_eval(part):
        for start in range(0, len(present), batch_size):
            rows = present[start : start + batch_size]
            keys = [dataset.options_of(i, tower)[0] for i in rows]
            if table is not None:
                pooled = table.take(keys).to(model.device)
            else:
                pooled = part.encode_whole([dataset.signal(i, tower, k) for i, k in zip(rows, keys)], batch_size)
            chunks.append(part({POOLED: pooled}).float().cpu())
            features.append(pooled.float().cpu())
            contents.extend(dataset.content(k) for k in keys)
            if advance:
                advance(len(rows))
    if not chunks:
        return Embedded(present, contents, torch.zeros(0, model.dim), torch.zeros(0, part.width))
    return Embedded(present, contents, torch.cat(chunks), torch.cat(features))


@torch.no_grad()
def evaluate_pairs(
    model: AlignmentModel,
    dataset: AlignmentDataset,
    pairs: Sequence[Pair],
    objective: Objective,
    tables: Mapping[str, FeatureTable],
    batch_size: int = 256,
    loss_rows: int = 4096,
    look: Callable[[Pair, Tensor, Tensor, Sequence[Sequence[str]]], Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """The loss and R@1/5/10 of each pair over the whole split, both directions, and their mean R@1.

    The loss is that of one batch of the whole split (of `loss_rows` rows at most, averaged beyond that), so it is
    comparable between epochs but not with the training loss of another batch size; InfoNCE stands for a loss that
    knows the training rows alone. `look` gives further figures of each pair's rows and items.
    """
    needed = {name for pair in pairs for name in (pair.a, pair.b)}
    embedded = {name: embed_split(model, dataset, name, batch_size, tables.get(name)) for name in sorted(needed)}
    metrics: dict[str, float] = {}
    firsts = []
    for pair in pairs:
        a, b = embedded[pair.a], embedded[pair.b]
        place_a, place_b = ({row: k for k, row in enumerate(e.rows)} for e in (a, b))
        shared = [row for row in a.rows if row in place_b]
        if len(shared) < 2:
            continue
        index_a, index_b = [place_a[r] for r in shared], [place_b[r] for r in shared]
        x, y = a.embeddings[index_a], b.embeddings[index_b]
        items_a, items_b = [a.contents[i] for i in index_a], [b.contents[i] for i in index_b]
        for name, queries, gallery in ((f"{pair.a}_to_{pair.b}", x, y), (f"{pair.b}_to_{pair.a}", y, x)):
            # A caption that several recordings share finds any of them, and they find any of its copies.
            recalls = recall_at_k(queries, gallery, (1, 5, 10), items_a, queries=items_b)
            metrics |= {f"{name}_R@{k}": value for k, value in recalls.items()}
            firsts.append(recalls[1])
        if look is not None:
            metrics |= look(pair, x, y, (items_a, items_b))
    if firsts:
        metrics["R@1"] = sum(firsts) / len(firsts)
        loss = _loss(model, embedded, pairs, objective, min(loss_rows, objective.most_rows or loss_rows))
        metrics |= {} if loss is None else {"loss": loss}
    return metrics


def _loss(
    model: AlignmentModel,
    embedded: Mapping[str, Embedded],
    pairs: Sequence[Pair],
    objective: Objective,
    loss_rows: int,
) -> float | None:
    scale, bias = (None if t is None else t.cpu() for t in (model.temperature(), model.temperature.bias))
    assert scale is not None
    output = AlignmentOutput({name: e.embeddings for name, e in embedded.items()}, scale, bias)
    numbers = {name: dict(zip(e.rows, _numbers(e.contents))) for name, e in embedded.items()}
    places = {name: {row: k for k, row in enumerate(e.rows)} for name, e in embedded.items()}
    several = sorted(row for row, n in Counter(row for e in embedded.values() for row in e.rows).items() if n > 1)
    losses, counts = [], []
    for start in range(0, len(several), loss_rows):
        rows = several[start : start + loss_rows]
        place, identity = (
            {name: {i: of[row] for i, row in enumerate(rows) if row in of} for name, of in which.items()}
            for which in (places, numbers)
        )
        found = [pair_batch(pair, place, identity, rows) for pair in pairs]
        batch: dict[str, Any] = {"pairs": [vars(p) for p in found if p is not None]}
        if objective.uses_views:
            batch["views"] = [vars(view) for view in views_of(place, identity, rows)]
        if any(batch.values()):
            losses.append(float(objective(output, batch, None)))
            counts.append(len(rows))
    return sum(map(mul, losses, counts)) / sum(counts) if losses else None


def _numbers(items: Sequence[str]) -> list[int]:
    seen: dict[str, int] = {}
    return [seen.setdefault(item, len(seen)) for item in items]
