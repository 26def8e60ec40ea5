"""Embeddings of prompts, each distinct prompt encoded once for as long as a model's text tower stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.align.cache import FeatureTable
from modalign.align.mode import in_eval
from modalign.align.model import POOLED, AlignmentModel, Tower


@dataclass
class _Kept:
    state: Any = None
    rows: dict[str, Tensor] = field(default_factory=dict)


_kept: WeakKeyDictionary[AlignmentModel, dict[str, _Kept]] = WeakKeyDictionary()


def embed_prompts(model: AlignmentModel, text: str, prompts: Sequence[str]) -> Tensor:
    """(P, dim) unit rows on the CPU; what was embedded before by this model, as it is now, is not encoded again.

    Args:
        model: the model. Its prompts are forgotten when a weight of the text tower changes in place or is replaced
            (seen by torch's version counters, which `tensor.data.mul_(...)` alone goes past).
        text: the tower that encodes prompts.
        prompts: sentences; equal ones are encoded once.

    Raises:
        ModelError: the model has no tower of that name.
    """
    part = model.tower(text)
    kept = _kept.setdefault(model, {}).setdefault(text, _Kept())
    state = _state_of(part)
    if kept.state != state:
        kept.state, kept.rows = state, {}
    new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in kept.rows]
    if new:
        kept.rows.update(zip(new, model.embed(text, new)))
    return torch.stack([kept.rows[prompt] for prompt in prompts])


def _state_of(part: Tower) -> Any:
    tensors = chain(part.parameters(), part.buffers())
    return part.processing, [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]


def grouped_embeddings(model: AlignmentModel, text: str, prompts: Mapping[str, Sequence[str]]) -> list[Tensor]:
    """Each label's prompts, embedded: one (P_c, dim) of unit rows a label, in the labels' order."""
    rows = embed_prompts(model, text, [prompt for sentences in prompts.values() for prompt in sentences])
    return list(rows.split([len(sentences) for sentences in prompts.values()]))  # type: ignore[no-untyped-call]


def class_embeddings(
    model: AlignmentModel, text: str, prompts: Mapping[str, Sequence[str]], table: FeatureTable | None = None
) -> Tensor:
    """(C, dim) unit rows: the normalised mean of each class's prompt embeddings.

    Args:
        model: the model.
        text: the tower that encodes prompts.
        prompts: label -> prompts.
        table: features of a frozen text tower whose projection still moves, kept by the caller between calls; prompts
            that it lacks are added.

    Raises:
        ModelError: the model has no tower of that name.
    """
    if table is None:
        groups = grouped_embeddings(model, text, prompts)
    else:
        distinct = list(dict.fromkeys(prompt for sentences in prompts.values() for prompt in sentences))
        place = {prompt: i for i, prompt in enumerate(distinct)}
        rows = _embed_features(model, text, distinct, table)
        groups = [rows[[place[p] for p in sentences]] for sentences in prompts.values()]
    return F.normalize(torch.stack([own.mean(0) for own in groups]), dim=-1)


@torch.no_grad()
def _embed_features(model: AlignmentModel, text: str, prompts: Sequence[str], table: FeatureTable) -> Tensor:
    part = model.tower(text)
    new = [prompt for prompt in prompts if prompt not in table]
    with in_eval(part):
        if new:
            table.add(new, part.encode_whole([part.modality.load(prompt) for prompt in new]).cpu())
        embedded: Tensor = part({POOLED: table.take(prompts).to(model.device)}).float().cpu()
    return embedded
