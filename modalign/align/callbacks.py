"""What every training does at each update and epoch, as transformers callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback

from modalign.align.losses import Training
from modalign.align.objective import Objective
from modalign.align.processes import average_gradients


class EachUpdate(TrainerCallback):  # type: ignore[misc]
    """Clamp the temperature after each update, as CLIP and CLAP do; across processes, keep a loss's weights equal."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.process_index:
            torch.manual_seed(args.seed + args.process_index)  # dropout is not the same in all

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.world_size > 1:
            average_gradients(self.objective)
        own = list(self.objective.parameters())
        if own and args.max_grad_norm:  # transformers clips the model's alone
            torch.nn.utils.clip_grad_norm_(own, args.max_grad_norm)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        model.temperature.clamp_()
        for own in self.objective.stateful().values():
            own.clamp_()
        self.objective.zero_grad()  # transformers clears the gradients of the model alone


class EachEpoch(TrainerCallback):  # type: ignore[misc]
    """Let losses that keep a state look at the training rows before each epoch."""

    def __init__(self, objective: Objective, training: Mapping[str, Training]) -> None:
        self.objective, self.training = objective, training

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.objective.epoch(self.training, int((state.epoch or 0) + 1e-6))
