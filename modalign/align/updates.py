"""How weights are updated: the optimizer, rates by depth, and a running mean of the weights that is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from modalign.align.config import TrainingConfig
from modalign.align.lion import Lion
from modalign.align.tuning import split_groups
from modalign.errors import ModelError

FILE = "ema.safetensors"


class RunningMean(TrainerCallback):  # type: ignore[misc]  # transformers says no types
    """A running mean of the weights that train, which is what is evaluated and kept (Polyak and Juditsky 1992).

    mean = d mean + (1 - d) weight after every update, with d = min(decay, (1 + n) / (10 + n)) at update n.

    The smaller d of the first updates lets the mean forget the weights that training began with. Buffers are taken as
    they are. The weights themselves train on, and are what checkpoints hold beside the mean.

    Args:
        model: whose trainable parameters are averaged.
        decay: d in the long run.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.means: dict[str, Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin with the weights as they are, unless a checkpoint was loaded."""
        if not self.means:
            self.means = {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take one update in."""
        n = state.global_step + 1
        decay = min(self.decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(list(self.means.values()), [w.detach() for w in self.weights.values()], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The means in the weights' place within."""
        kept = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.apply()
        try:
            yield
        finally:
            _copy(kept, self.weights)

    def apply(self) -> None:
        """Put the means in the weights' place for good; without any yet, leave these."""
        _copy(self.means, self.weights)

    def save(self, folder: Path) -> None:
        """Write the means into a checkpoint."""
        save_file({name: mean.contiguous().cpu() for name, mean in self.means.items()}, folder / FILE)

    def load(self, folder: Path) -> None:
        """Read the means of a checkpoint.

        Raises:
            ModelError: it has none, or of other weights.
        """
        if not (folder / FILE).is_file():
            raise ModelError(f"{folder}: has no {FILE}; it was written without training.ema, so go on without it")
        found = load_file(folder / FILE)
        if set(found) != set(self.weights):
            raise ModelError(f"{folder / FILE}: holds other weights than those that train now")
        self.means = {name: found[name].to(weight) for name, weight in self.weights.items()}


@torch.no_grad()
def _copy(source: dict[str, Tensor], into: dict[str, Any]) -> None:
    for name, value in source.items():
        into[name].copy_(value)


def optimizer_class(training: TrainingConfig) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """The optimizer where it is not transformers' to make: its Lion needs bitsandbytes, and with it a GPU."""
    return (Lion, {"lr": training.learning_rate}) if training.optim == "lion" else None


class UpdatingTrainer(Trainer):  # type: ignore[misc]  # transformers says no types
    """transformers' Trainer with rates by parameter, and a running mean.

    Attributes:
        rates: parameter -> its share of the learning rate, where that is not all of it.
        ema: the running mean, or None.
    """

    rates: Mapping[nn.Parameter, float]
    ema: RunningMean | None

    def create_optimizer(self, model: Any = None) -> Any:
        """transformers' own, its groups divided by rate."""
        new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if new and self.rates:
            split_groups(optimizer, self.rates)
        return optimizer

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' own; afterwards the model holds the means, where there are any."""
        output = super().train(*args, **kwargs)
        if self.ema:
            self.ema.apply()
        return output

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.ema:
            self.ema.load(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.ema:
            self.ema.load(Path(self.state.best_model_checkpoint))
