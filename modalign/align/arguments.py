"""A recipe's schedule as transformers' TrainingArguments."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from transformers import TrainingArguments

from modalign.align.config import Recipe
from modalign.align.sampler import EpochBatchSampler


def training_arguments(recipe: Recipe, out: Path, rows: int, evaluate: bool) -> TrainingArguments:
    """transformers' TrainingArguments for a recipe."""
    t = recipe.training
    if t.tensorboard:
        _check_tensorboard()
    batches = max(len(EpochBatchSampler(rows, t.batch_size, recipe.seed)), 1)
    updates = math.ceil(batches / t.accumulation)
    every = max(1, round(updates * t.evaluate_every))
    return TrainingArguments(
        output_dir=str(out),
        num_train_epochs=t.epochs,
        per_device_train_batch_size=t.batch_size,
        gradient_accumulation_steps=t.accumulation,
        learning_rate=t.learning_rate,
        weight_decay=t.weight_decay,
        warmup_steps=math.ceil(t.warmup * math.ceil(updates * t.epochs)),
        lr_scheduler_type=t.scheduler,
        optim="adamw_torch" if t.optim == "lion" else t.optim,  # what is passed to the trainer goes before it
        max_grad_norm=t.max_grad_norm,
        bf16=t.bf16,
        ddp_find_unused_parameters=True,  # a process's share of a batch may lack a modality
        ddp_broadcast_buffers=False,  # none changes in training
        use_cpu=not torch.accelerator.is_available(),  # said outright, else bf16 is refused there
        logging_steps=t.log_every,
        logging_nan_inf_filter=False,  # it waits for the device at every step, and hides a broken loss
        eval_strategy="steps" if evaluate else "no",
        eval_steps=every if evaluate else None,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=t.keep_checkpoints,
        load_best_model_at_end=evaluate,
        metric_for_best_model="best" if evaluate else None,
        greater_is_better=True if evaluate else None,
        seed=recipe.seed,
        data_seed=recipe.seed,
        remove_unused_columns=False,
        label_names=[],
        report_to=["tensorboard"] if t.tensorboard else [],
        disable_tqdm=True,
    )


def _check_tensorboard() -> None:
    from importlib.util import find_spec

    from modalign.errors import MissingExtraError

    if find_spec("tensorboard") is None:
        raise MissingExtraError("training.tensorboard", "logging")
