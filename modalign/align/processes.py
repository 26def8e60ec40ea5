"""Training across processes: each encodes its share of every batch, and the loss is that of the whole batch.

All processes know the same batches in the same order. Each reads and encodes its own part of a batch, and knows from
the manifest which towers the other rows have, so that all compute the same terms of the loss in the same order, though
a share may have no row of one, or no row at all. The losses gather what they need (`distributed.py`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.utils.data import Dataset

from modalign.align.config import Recipe
from modalign.align.data import AlignmentDataset, Item
from modalign.align.distributed import alone, processes
from modalign.align.gradcache import refuse_batch_norm
from modalign.align.losses import distributed_losses
from modalign.align.model import AlignmentModel, AlignmentOutput
from modalign.align.objective import Objective
from modalign.errors import RecipeError


def is_main() -> bool:
    """Whether this process is the one that prints and saves; right before the processes know each other, too."""
    return int(os.environ.get("RANK", "0")) == 0


class Share(list[Item]):
    """A process's items of a batch.

    Attributes:
        have: for each row of the whole batch, the towers that it has.
    """

    def __init__(self, items: Iterable[Item], have: Sequence[tuple[str, ...]]) -> None:
        super().__init__(items)
        self.have = list(have)


class Shares(Dataset[Item]):
    """Of each batch that the sampler names, a process's part: consecutive rows, parts differing by one row at most.

    Args:
        rows: the training rows.
        rank: number of this process.
        count: how many there are.
    """

    def __init__(self, rows: AlignmentDataset, rank: int, count: int) -> None:
        self.rows, self.rank, self.count = rows, rank, count

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: tuple[int, int]) -> Item:
        return self.rows[index]

    def __getitems__(self, indices: Sequence[tuple[int, int]]) -> Share:
        start, stop = (len(indices) * k // self.count for k in (self.rank, self.rank + 1))
        own = [self.rows[index] for index in indices[start:stop]]
        return Share(own, [self.rows.towers_of(epoch, i) for epoch, i in indices])


def check_cut(model: AlignmentModel, objective: Objective, recipe: Recipe, count: int, head: bool) -> None:
    """Refuse to cut batches, into micro-batches or processes' shares, where the gradient would not be the batch's.

    Args:
        model: the model.
        objective: its losses.
        recipe: `training.micro_batch` is asked of it.
        count: number of processes.
        head: whether more than the model is trained.

    Raises:
        RecipeError: names the loss or the module, and the mend.
    """
    settings = {"training.micro_batch": "a micro-batch"} if recipe.training.micro_batch else {}
    if count > 1:
        settings["several processes"] = "a process's rows"
    for where, part in settings.items():
        if head:
            raise RecipeError(f"{where}: only for contrastive training so far; do without where a head is trained")
        refuse_batch_norm(model, where, part)
    for loss in objective.every() if recipe.training.micro_batch else []:
        if "features" in loss.needs:
            raise RecipeError(
                f"training.micro_batch: the loss {loss.name!r} is of pooled features, and micro-batches keep only "
                "embeddings; leave micro_batch out"
            )
    for loss in objective.every() if count > 1 else []:
        if not loss.distributed:
            raise RecipeError(
                f"loss.name: {loss.name!r} is not made for several processes: each would contrast only its own rows. "
                f"Run one process, or take one of {', '.join(distributed_losses())}"
            )


def fill(output: AlignmentOutput, model: AlignmentModel) -> AlignmentOutput:
    """Give the towers of which this share has no row embeddings of no rows, and let all ask for a gradient.

    So every process takes part in the collectives of a loss, forward and backward. Losses of pooled features do not run
    across processes, and get none.
    """
    embeddings = {}
    for name in model.towers:
        own = output.embeddings.get(name)
        own = output.scale.new_zeros(0, model.dim) if own is None else own
        embeddings[name] = own if own.requires_grad else own.detach().requires_grad_()
    return output._replace(embeddings=embeddings, features=None)


def touch_one(model: AlignmentModel) -> None:
    """Let a trainable parameter take part in every output, with 0.

    DistributedDataParallel waits for each process's backward pass to reach the model, also where a share has no row of
    a tower that trains.
    """
    least = min((p for p in model.parameters() if p.requires_grad), key=lambda p: p.numel())

    def touch(module: nn.Module, inputs: object, output: AlignmentOutput) -> AlignmentOutput:
        bias = None if output.bias is None else output.bias.clone()  # a bare parameter would count as not used
        return output._replace(scale=output.scale + least.sum() * 0.0, bias=bias)

    model.register_forward_hook(touch)


def average_gradients(module: nn.Module) -> None:
    """Average the gradients of parameters that DistributedDataParallel does not know: a loss's own weights."""
    for parameter in module.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= processes()


def from_main(figures: Callable[[], Mapping[str, float]], device: torch.device) -> dict[str, float]:
    """Compute figures on the main process, over all rows, and tell the others; all return the same."""
    if processes() == 1:
        return dict(figures())
    found: Mapping[str, float] = {}
    if dist.get_rank() == 0:
        with alone():
            found = figures()
    # As text: what torch offers for objects is pickle.
    said = json.dumps({key: float(value) for key, value in found.items()}).encode()
    size = torch.tensor(len(said), device=device)
    dist.broadcast(size, 0)
    content: Tensor = torch.zeros(int(size), dtype=torch.uint8, device=device)
    if dist.get_rank() == 0:
        content = torch.tensor(list(said), dtype=torch.uint8, device=device)
    dist.broadcast(content, 0)
    told: dict[str, float] = json.loads(bytes(content.tolist()))
    return told
