"""Near-duplicates: recordings that a data set holds twice, and those that cross its splits."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.align.embed import Advance, embed_split
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel
from modalign.tasks.evaluate import dataset_of

SHARE = 0.05
"""A pair is near where its distance is under this share of the usual distance to the nearest neighbour."""


@dataclass(frozen=True)
class Duplicates:
    """Pairs of near-duplicates.

    Attributes:
        pairs: id a, id b, cosine, equal samples, same group, splits, most alike first.
        threshold: the cosine from which pairs are listed.
        rows: how many recordings were compared.
    """

    pairs: pd.DataFrame
    threshold: float
    rows: int

    @property
    def crossing(self) -> pd.DataFrame:
        """The pairs whose halves are in different splits: what leaks from train into test."""
        return self.pairs[self.pairs["split a"] != self.pairs["split b"]]


def find_duplicates(
    model: AlignmentModel,
    manifest: Manifest,
    tower: str,
    threshold: float | None = None,
    advance: Advance | None = None,
) -> Duplicates:
    """Compare all recordings of a manifest by the encoder's features, centred on their mean.

    The features are those before the projection: the shared space is made to forget what captions do not say.

    Args:
        model: the model.
        manifest: all rows.
        tower: the modality.
        threshold: a cosine; None: 1 - 0.05 (1 - m), m the median over recordings of the cosine with the nearest one.
        advance: called with the rows embedded.

    Raises:
        ModelError: no such tower.
        ReadError: a source cannot be read.
    """
    model.tower(tower)
    embedded = embed_split(model, dataset_of(model, manifest), tower, advance=advance)
    features = F.normalize(embedded.pooled - embedded.pooled.mean(0), dim=-1)
    if threshold is None:
        threshold = 1 - SHARE * (1 - _nearest(features).median().item()) if len(features) > 1 else 1.0
    rows = [manifest.rows[i] for i in embedded.rows]
    found = dict(_near(features, threshold))
    # Equal samples are a pair whatever the features say: rounding may tell them apart by a digit.
    seen: dict[str, list[int]] = {}
    for n, content in enumerate(embedded.contents):
        for other in seen.setdefault(content, []):
            found.setdefault((other, n), float(features[other] @ features[n]))
        seen[content].append(n)
    lines = [
        {
            "id a": rows[a].id,
            "id b": rows[b].id,
            "cosine": cosine,
            "equal samples": embedded.contents[a] == embedded.contents[b],
            "same group": bool(rows[a].group) and rows[a].group == rows[b].group,
            "same label": rows[a].labels == rows[b].labels,
            "split a": rows[a].split,
            "split b": rows[b].split,
        }
        for (a, b), cosine in sorted(found.items(), key=lambda pair: -pair[1])
    ]
    columns = ["id a", "id b", "cosine", "equal samples", "same group", "same label", "split a", "split b"]
    return Duplicates(pd.DataFrame(lines, columns=columns), threshold, len(rows))


def _nearest(features: Tensor, chunk: int = 1024) -> Tensor:
    """(N,) cosine of each row with the nearest other."""
    best = []
    for start in range(0, len(features), chunk):
        scores = features[start : start + chunk] @ features.T
        rows = torch.arange(len(scores))
        scores[rows, start + rows] = -torch.inf
        best.append(scores.amax(1))
    return torch.cat(best)


def _near(features: Tensor, threshold: float, chunk: int = 1024) -> list[tuple[tuple[int, int], float]]:
    found = []
    for start in range(0, len(features), chunk):
        scores = features[start : start + chunk] @ features.T
        for a, b in (scores >= threshold).nonzero().tolist():
            if start + a < b:
                found.append(((start + a, b), scores[a, b].item()))
    return found
