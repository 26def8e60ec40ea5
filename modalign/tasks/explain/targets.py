"""What is explained: a number of an embedding. Each is a function (B, dim) -> (B,) with a name for the legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from modalign.errors import RecipeError, suggest
from modalign.tasks.explain.registry import Score

TARGETS = ("score", "margin")


class Target(NamedTuple):
    """A name, and unit embeddings (B, dim) -> (B,)."""

    name: str
    score: Score


def class_target(kind: str, classes: Tensor, labels: Sequence[str], label: str) -> Target:
    """The cosine with a class's embedding ("score"), or by how much it leads over the nearest other one ("margin").

    Args:
        kind: "score" or "margin".
        classes: (C, dim) unit rows.
        labels: C names.
        label: the class.

    Raises:
        RecipeError: the label is not among the labels, the kind is not known, or a margin has nothing to lead over.
    """
    if label not in labels:
        raise RecipeError(f"--label {label!r}: {suggest(label, labels)}")
    if kind not in TARGETS:
        raise RecipeError(f"--target {kind!r}: {suggest(kind, TARGETS)}")
    k = list(labels).index(label)
    if kind == "score":
        return Target(f"cosine with '{label}'", lambda embeddings: embeddings @ classes[k].to(embeddings))
    if len(labels) < 2:
        raise RecipeError("--target margin: needs two labels or more; give the others with --labels")
    others = torch.cat([classes[:k], classes[k + 1 :]])

    def margin(embeddings: Tensor) -> Tensor:
        return embeddings @ classes[k].to(embeddings) - (embeddings @ others.to(embeddings).T).amax(1)

    return Target(f"margin of '{label}' over the nearest of {len(labels) - 1} others", margin)


def similarity_target(other: Tensor, name: str) -> Target:
    """The cosine with another item's embedding (dim,)."""
    return Target(f"cosine with {name}", lambda embeddings: embeddings @ other.to(embeddings))


def split(relevance: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """The relevance of embeddings that were put side by side (..., sum of sizes) -> of each.

    Example:
        >>> [part.tolist() for part in split(torch.tensor([1.0, 2.0, 3.0]), [1, 2])]
        [[1.0], [2.0, 3.0]]

    Raises:
        ValueError: the sizes do not add up.
    """
    if relevance.shape[-1] != sum(sizes):
        raise ValueError(f"relevance of {relevance.shape[-1]} values does not split into {list(sizes)}")
    return list(torch.split(relevance, list(sizes), dim=-1))


def mean_fusion(classes: Tensor, label: int, count: int) -> Score:
    """The score of a class for the mean direction of `count` unit embeddings side by side (B, count * dim) -> (B,).

    The length of their sum is taken as it is: the cosine does not change with it, so that by the cosine's own slope
    the shares of the modalities would add up to nothing.
    """

    def score(embeddings: Tensor) -> Tensor:
        total = embeddings.view(len(embeddings), count, -1).sum(1)
        length = total.detach().norm(dim=-1, keepdim=True).clamp_min(1e-12)
        scores: Tensor = total / length @ classes[label].to(total)
        return scores

    return score
