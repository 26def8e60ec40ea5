"""What losses that keep a state know of the training rows, and how a checkpoint keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from modalign.align.cache import FeatureTable
from modalign.align.config import Pair
from modalign.align.data import AlignmentDataset
from modalign.align.embed import embed_split
from modalign.align.model import AlignmentModel
from modalign.align.objective import VIEWS, Objective, edge
from modalign.errors import ModelError, RecipeError, suggest

TENSORS, ABOUT = "loss.safetensors", "loss.json"


@dataclass(frozen=True)
class PairRows:
    """The training rows, as a loss of the towers `names` may see them: see `losses.registry.Training`."""

    model: AlignmentModel
    dataset: AlignmentDataset
    tables: Mapping[str, FeatureTable]
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        model: AlignmentModel,
        dataset: AlignmentDataset,
        tables: Mapping[str, FeatureTable],
        pairs: Sequence[Pair],
    ) -> dict[str, Self]:
        """For each pair, as `edge` names it, and for all towers."""
        rows = {edge(pair.a, pair.b): cls(model, dataset, tables, (pair.a, pair.b)) for pair in pairs}
        return {**rows, VIEWS: cls(model, dataset, tables, tuple(model.towers))}

    @property
    def dim(self) -> int:
        """Size of the shared space."""
        return self.model.dim

    @property
    def widths(self) -> dict[str, int]:
        """Tower -> width of its pooled features."""
        return {name: self.model.tower(name).width for name in self.names}

    @property
    def size(self) -> int:
        """How many training rows there are."""
        return len(self.dataset)

    def embed(self, tower: str, model: str | None = None) -> Tensor:
        """(size, d) unit rows by position, without augmentation, on the CPU; zeros where a row has none.

        Raises:
            RecipeError: the other model has no such tower.
        """
        rows, tables, embedder = self.dataset.with_manifest(self.dataset.manifest), self.tables, self.model
        if model is not None:
            embedder, tables = AlignmentModel.from_pretrained(model).to(self.model.device), {}
            if tower not in embedder.towers:
                raise RecipeError(f"{model}: has no tower {tower!r}; {suggest(tower, embedder.towers)}")
            towers = {name: embedder.tower(name) for name in embedder.towers}
            rows = AlignmentDataset(self.dataset.manifest, towers, templates=self.dataset.given)
        found = embed_split(embedder, rows, tower, table=tables.get(tower))
        whole = torch.zeros(self.size, embedder.dim)
        whole[torch.tensor(found.rows, dtype=torch.long)] = found.embeddings
        return whole


def save_state(objective: Objective, ids: Sequence[str], folder: Path) -> None:
    """Write the states of an objective's losses, with the ids of the rows, into a checkpoint."""
    states = objective.stateful()
    if not states:
        return
    tensors = {
        f"{name}/{key}": t.detach().cpu() for name, state in states.items() for key, t in state.state_dict().items()
    }
    save_file(tensors, folder / TENSORS)
    (folder / ABOUT).write_text(json.dumps({"epoch": objective.epoch_done, "ids": list(ids)}))


def load_state(objective: Objective, ids: Sequence[str], folder: Path) -> None:
    """Put the states back; what is kept by row goes to the row with the same id.

    Raises:
        ModelError: the checkpoint has none, or rows that it does not know.
    """
    states = objective.stateful()
    if not states:
        return
    try:
        about, tensors = json.loads((folder / ABOUT).read_text()), load_file(folder / TENSORS)
    except OSError:
        raise ModelError(f"{folder}: has no {TENSORS}, the state of the loss; start the run again") from None
    place = {identifier: k for k, identifier in enumerate(about["ids"])}
    unknown = [identifier for identifier in ids if identifier not in place]
    if unknown:
        raise ModelError(f"{folder}: the checkpoint does not know row {unknown[0]!r}; resume with the same manifest")
    order = torch.tensor([place[identifier] for identifier in ids])
    for name, state in states.items():
        own = {key: tensors[f"{name}/{key}"] for key in state.state_dict()}
        state.load_state_dict({key: t[order] if key in state.by_row else t for key, t in own.items()})
    objective.epoch_done = about["epoch"]
