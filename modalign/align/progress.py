"""The progress bar: epoch, loss, samples per second, time left."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def make_progress(console: Console | None = None) -> Progress:
    """A rich progress bar with a description, a bar, a note, and times.

    A notebook draws it with ipywidgets; where these are absent it is disabled, since rich would warn at every refresh.
    """
    console = console or Console(stderr=True)
    return Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
        disable=console.is_jupyter and find_spec("ipywidgets") is None,
    )


class ProgressBar(TrainerCallback):  # type: ignore[misc]
    """Shows training on the terminal. The loss is the mean since it was last logged, so no step waits for it."""

    def __init__(self, description: str, samples_per_step: int, console: Console | None = None) -> None:
        self.description = description
        self.samples_per_step = samples_per_step
        self.progress = make_progress(console)
        self.notes: dict[str, str] = {}
        self.started = 0.0
        self.first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        self.started, self.first_step = time.perf_counter(), state.global_step
        self.progress.start()
        self.task = self.progress.add_task(
            self.description, total=state.max_steps, completed=state.global_step, note=""
        )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.progress.update(self.task, completed=state.global_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero or not hasattr(self, "task"):
            return
        logs = logs or {}
        if "loss" in logs:
            self.notes["loss"] = f"loss {logs['loss']:.3f}"
            seconds = time.perf_counter() - self.started
            rate = (state.global_step - self.first_step) * self.samples_per_step / seconds
            self.notes["rate"] = f"{rate:,.0f} samples/s"
        if "eval_best" in logs:
            self.notes["best"] = f"val {logs['eval_best']:.3f}"
        self.progress.update(self.task, note="  ".join(self.notes.values()))
        if self.progress.disable and "eval_best" in logs:
            said = f"epoch {state.epoch or 0:.0f} of {args.num_train_epochs:g}"
            self.progress.console.print("  ".join((f"{self.description}: {said}", *self.notes.values())))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self.progress.stop()
