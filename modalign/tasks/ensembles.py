"""How several prompts of a class become one score: a registry of small functions.

Each takes items (N, dim) and, for each class, its prompts (P_c, dim), all unit rows, and returns scores (N, C).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.errors import RecipeError, suggest

Ensemble = Callable[[Tensor, Sequence[Tensor]], Tensor]


def mean_embedding(items: Tensor, prompts: Sequence[Tensor]) -> Tensor:
    """Cosine with the normalised mean of a class's prompts: CLIP's and open_clip's ensemble."""
    return items @ F.normalize(torch.stack([own.mean(0) for own in prompts]), dim=-1).T


def mean_score(items: Tensor, prompts: Sequence[Tensor]) -> Tensor:
    """Mean of the cosines with a class's prompts: classes whose prompts disagree score lower than by their mean."""
    return items @ torch.stack([own.mean(0) for own in prompts]).T


def maximum(items: Tensor, prompts: Sequence[Tensor]) -> Tensor:
    """The highest cosine with any of a class's prompts, as MoRE's zero-shot code does; unfair to classes with fewer."""
    return torch.stack([(items @ own.T).amax(1) for own in prompts], dim=1)


ENSEMBLES: dict[str, Ensemble] = {"mean_embedding": mean_embedding, "mean_score": mean_score, "max": maximum}
"""Name -> function; add yours to use it by name."""


def get_ensemble(name: str) -> Ensemble:
    """An ensemble by name.

    Raises:
        RecipeError: there is none.
    """
    if name not in ENSEMBLES:
        raise RecipeError(f"no ensemble {name!r}; {suggest(name, ENSEMBLES)}")
    return ENSEMBLES[name]
