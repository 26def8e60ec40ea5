"""AlignmentTrainer: transformers' Trainer, with contrastive batches, whole-split evaluation and whole checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from accelerate.data_loader import prepare_data_loader  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import rotate_checkpoints

from modalign.align import checkpoint
from modalign.align.arguments import training_arguments
from modalign.align.buckets import sampler_for
from modalign.align.cache import FeatureTable
from modalign.align.callbacks import EachEpoch, EachUpdate
from modalign.align.collate import Collator
from modalign.align.config import Recipe
from modalign.align.data import AlignmentDataset, check_captions, count_pairs
from modalign.align.embed import evaluate_pairs
from modalign.align.encode import encode_frozen
from modalign.align.gradcache import gradcache
from modalign.align.loading import loader_options
from modalign.align.lora import unwrapped
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel, AlignmentOutput
from modalign.align.objective import Objective
from modalign.align.objective_state import PairRows, load_state, save_state
from modalign.align.processes import Shares, check_cut, fill, from_main, touch_one
from modalign.align.sampler import generator_for
from modalign.align.signal_cache import SignalCache
from modalign.align.solving import solve_projections
from modalign.align.tuning import layer_rates
from modalign.align.updates import RunningMean, UpdatingTrainer, optimizer_class
from modalign.align.watch import Watch
from modalign.errors import ManifestError, ModelError, RecipeError, suggest
from modalign.modalities.base import Encoder, Processing

Evaluator = Callable[[AlignmentModel, AlignmentDataset], Mapping[str, float]]
"""Given by the caller (a task), since align knows no task: the model and the val split -> figures to log."""

NOTED = 10_000
"""How many items of a tower that is not cached are processed in advance to count what would be cut."""


class AlignmentTrainer(UpdatingTrainer):
    """Trains an AlignmentModel by a recipe.

    Checkpoints, resume, schedulers, mixed precision, TensorBoard and callbacks are transformers' own. Gradient
    accumulation averages batches; it adds no negatives.

    Args:
        model: the model, as `build_model(recipe)` made it.
        recipe: what to train.
        train: rows to train on.
        val: rows that choose the checkpoint, or None.
        out: folder for checkpoints and logs.
        evaluators: tasks that are run on `val` at each evaluation.
        callbacks: transformers callbacks.
        cache: where signals whose preparation is costly are kept.
        fit_encoders: let encoders take their constants from the training rows; the untrained baseline's do not.
        trained: the module that is trained, where it is more than the model (which it holds): one with a task's head.

    Raises:
        ManifestError: a pair has no rows, or no pair has two in `val`.
        ReadError: a row of a tower whose constants are fitted, or that is frozen, cannot be read.
        RecipeError: the loss is not known.
    """

    best_figures: tuple[str, ...] = ("accuracy", "macro_auroc", "R@1")
    """The val figures of which the first that there is chooses the checkpoint, where the recipe names none."""

    def __init__(
        self,
        model: AlignmentModel,
        recipe: Recipe,
        train: Manifest,
        val: Manifest | None,
        out: Path,
        evaluators: Sequence[Evaluator] = (),
        callbacks: Sequence[TrainerCallback] = (),
        cache: SignalCache | None = None,
        fit_encoders: bool = True,
        trained: nn.Module | None = None,
    ) -> None:
        self.recipe = recipe
        self.objective = Objective(recipe.loss, recipe.pairs, recipe.temperature.bias is not None)
        if recipe.training.hard_captions and "hard" not in self.objective.captions:
            raise RecipeError(
                "training.hard_captions: the loss takes none; set loss.name: compa or negclip, or leave it"
            )
        self.evaluators = list(evaluators)
        towers = {name: model.tower(name) for name in model.towers}
        self.train_rows = AlignmentDataset(
            train,
            towers,
            recipe.seed,
            train=True,
            templates=recipe.templates,
            cache=cache,
            modality_dropout=recipe.training.modality_dropout,
            pairs=recipe.pairs or None,
            captions=self.objective.captions,
            rules=recipe.training.hard_captions,
        )
        self.val_rows = (
            None if val is None else AlignmentDataset(val, towers, recipe.seed, templates=recipe.templates, cache=cache)
        )
        self.pair_counts = check_captions(self.train_rows, recipe.pairs)
        self._check_val()
        if trained is None and not any(p.requires_grad for p in model.parameters()):
            raise RecipeError("the recipe leaves nothing to train; set temperature.learnable: true")
        args = training_arguments(recipe, out, len(self.train_rows), evaluate=val is not None)
        check_cut(model, self.objective, recipe, args.world_size, trained is not None)
        self.notes: list[str] = []
        self._fit_processing(model)
        if fit_encoders:
            self._fit_encoders(model)
        t = recipe.training
        self.rates = layer_rates(towers, t.layer_decay)
        self.watch = Watch(model, recipe.pairs)
        whole = model if trained is None else trained
        self.ema = RunningMean(whole, t.ema) if t.ema else None
        super().__init__(
            model=whole,
            args=args,
            data_collator=lambda items: items,
            train_dataset=self.train_rows,
            eval_dataset=self.val_rows,
            callbacks=[EachUpdate(self.objective), self.watch, *([self.ema] if self.ema else []), *callbacks],
            optimizer_cls_and_kwargs=optimizer_class(t),
        )
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        if self.args.world_size > 1:
            touch_one(model)
        self.tables = self._encode_frozen(model)
        known = PairRows.of(model, self.train_rows, self.tables["train"], recipe.pairs)
        self.objective.start(known)
        self.add_callback(EachEpoch(self.objective, known))
        self.objective.to(self.args.device)
        ragged = [n for n, tower in towers.items() if tower.padding == "exact" and not tower.frozen]
        self.sampler, said = sampler_for(self.train_rows, ragged, t.buckets, t.batch_size, recipe.seed)
        self.notes += [*said, *self.objective.left_out(self.train_rows)]
        self._staging = False
        if val is not None and recipe.training.best != "auto":
            # A name that no figure has is refused now, and not after an epoch.
            self._best_figure(from_main(self._figures, self.args.device))
        self.control: TrainerControl

    # What is done once, before training

    def _check_val(self) -> None:
        """Refuse a val split that could choose no checkpoint."""
        if self.val_rows is not None and max(count_pairs(self.val_rows, self.recipe.pairs).values()) < 2:
            raise ManifestError(
                f"{self.val_rows.manifest.path}: split 'val' has no two rows of any pair, so no checkpoint could be "
                "chosen; give it captions or labels, or empty it to keep the last checkpoint"
            )

    def _fit_processing(self, model: AlignmentModel) -> None:
        """Take processing constants from the training rows, and from nothing else."""
        for name in model.towers:
            tower = model.tower(name)
            if name in model.started:  # its weights were trained with the constants that it has
                continue
            if type(tower.processing).fit is not Processing.fit:
                tower.processing = tower.processing.fit(self._signals(name))
                for rows in (self.train_rows, self.val_rows):
                    if rows is not None:
                        rows.processing[name] = tower.processing

    def _fit_encoders(self, model: AlignmentModel) -> None:
        """Let encoders take constants from the training rows, and from nothing else."""
        for name in model.towers:
            tower = model.tower(name)
            encoder = unwrapped(tower.encoder)
            if name not in model.started and type(encoder).fit is not Encoder.fit:
                windows = (w for signal in self._signals(name) for w in tower.processing.segments(signal))
                generator = generator_for(self.recipe.seed, 0, "", f"{name}.fit")
                encoder.fit((tower.processing(window) for window in windows), generator)

    def _signals(self, tower: str) -> Iterable[Any]:
        for i in range(len(self.train_rows)):
            for key in self.train_rows.options_of(i, tower):
                yield self.train_rows.signal(i, tower, key)

    def _encode_frozen(self, model: AlignmentModel) -> dict[str, dict[str, FeatureTable]]:
        """Features of the frozen towers, encoded once, for the train and val rows."""
        tables: dict[str, dict[str, FeatureTable]] = {"train": {}, "val": {}}
        for name in model.towers:
            tower = model.tower(name)
            if not tower.frozen:
                self._note_cut(name)
                continue
            given = {"train": self.train_rows} | ({} if self.val_rows is None else {"val": self.val_rows})
            with self.args.main_process_first(desc="encoding frozen towers"):
                found, notes = encode_frozen(model, list(given.values()), name)
            for split, rows, table in zip(given, given.values(), found):
                tables[split][name] = rows.tables[name] = table
                rows.cached.add(name)
            if name not in model.started:
                tower.projection.fit(tables["train"][name])
            self.notes += [f"{name}: {note}" for note in (*tower.processing.notes(), *notes)]
        self.notes += solve_projections(model, self.train_rows, tables["train"], self.recipe)
        return tables

    def _note_cut(self, tower: str) -> None:
        processing = self.train_rows.processing[tower]
        if type(processing).notes is Processing.notes:
            return
        for n, signal in enumerate(self._signals(tower)):
            if n >= NOTED:
                break
            processing(signal)
        self.notes += [f"{tower}: {note}" for note in processing.notes()]

    # The parts of transformers' Trainer that differ

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of rows, equal items once."""
        t, count = self.recipe.training, self.args.world_size
        own = self.train_rows if count == 1 else Shares(self.train_rows, self.args.process_index, count)
        cached = self.train_rows.cached == set(self.train_rows.modalities)
        options = loader_options(t.workers, len(self.train_rows), cached, self.args.device, count)
        loader = DataLoader(own, batch_sampler=self.sampler, collate_fn=self._collator(), **options)
        # Each process's loader yields its own shares, so accelerate is told of no other.
        prepared: DataLoader[Any] = prepare_data_loader(
            loader, self.accelerator.device, num_processes=1, process_index=0, put_on_device=True
        )
        return prepared

    def _collator(self) -> Collator:
        by_label, size = self.recipe.loss.positives == "label", self.recipe.training.micro_batch
        views = self.objective.uses_views
        return Collator(self.train_rows, self.recipe.pairs, self.tables["train"], by_label, views, size)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """The gradient of a batch, in one piece or by micro-batches."""
        self.watch.saw(inputs["pairs"])
        size = self.recipe.training.micro_batch
        count = int(self.args.world_size)
        if size is None:
            whole: Tensor = super().training_step(model, inputs, num_items_in_batch)
            return whole / count
        model.train()
        inputs = self._prepare_inputs(inputs)
        steps = int(self.current_gradient_accumulation_steps)
        return (
            gradcache(
                model,
                inputs["inputs"],
                lambda output: self._loss(output, inputs) / steps,
                size,
                self.accelerator.backward,
            )
            / count
        )

    def compute_loss(
        self, model: nn.Module, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted sum of the recipe's losses; a mean over the batch's rows."""
        output = model(inputs["inputs"])
        loss = self._loss(output, inputs)
        return (loss, output) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """transformers' own, with what the watch has to say of the step."""
        super().log(self.watch.complete(logs), *args, **kwargs)

    def _loss(self, output: AlignmentOutput, inputs: Mapping[str, Any]) -> Tensor:
        """The objective, times the number of processes: DistributedDataParallel averages their gradients."""
        count = int(self.args.world_size)
        if count > 1:
            output = fill(output, self.model)
        loss: Tensor = self.objective(output, inputs, self.progress)
        return loss * count

    @property
    def progress(self) -> float:
        """Share of the updates that are done, 0 to 1."""
        return int(self.state.global_step) / max(int(self.state.max_steps), 1)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' own, with the weights that a loss has of its own beside the model's."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        own = list(self.objective.parameters())
        if fresh and own:
            optimizer.add_param_group({"params": own, "weight_decay": 0.0})
        return optimizer

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Matrices and kernels decay; the temperature, norms and biases (all of one axis or none) do not."""
        return [name for name, parameter in model.named_parameters() if parameter.ndim >= 2]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Embed the whole val split, and compute the pairs' figures and the evaluators'."""
        with self.ema.applied() if self.ema else nullcontext():
            metrics = from_main(lambda: self._figures(eval_dataset), self.args.device)
        named = {f"{metric_key_prefix}_{key}": value for key, value in metrics.items()}
        named[f"{metric_key_prefix}_best"] = self._best_figure(metrics)
        self.log(named)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named

    def _figures(self, eval_dataset: Any = None) -> dict[str, float]:
        rows = eval_dataset if eval_dataset is not None else self.val_rows
        assert isinstance(rows, AlignmentDataset)
        tables = self.tables["val"] if rows is self.val_rows else {}
        look = self.watch.pair if self.state.global_step else None  # before training nothing has collapsed
        metrics = evaluate_pairs(self.model, rows, self.recipe.pairs, self.objective, tables, look=look)
        for evaluator in self.evaluators:
            metrics |= evaluator(self.model, rows)
        return metrics

    def _best_figure(self, metrics: Mapping[str, float]) -> float:
        name = self.recipe.training.best
        if name == "auto":
            name = next((n for n in self.best_figures if n in metrics), "")
        if name not in metrics:
            raise RecipeError(f"training.best: no val figure {name!r}; {suggest(name, metrics)}")
        return -metrics[name] if "loss" in name else metrics[name]

    def _get_output_dir(self, trial: Any) -> str:
        folder = Path(super()._get_output_dir(trial))
        return str(folder / checkpoint.STAGING) if self._staging else str(folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Stage, hash, flush and rename; then let go of older ones."""
        run = Path(self._get_output_dir(trial))
        self._staging = True
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._staging = False
        self.accelerator.wait_for_everyone()
        name = f"checkpoint-{self.state.global_step}"
        if self.state.best_global_step:
            self.state.best_model_checkpoint = str(run / f"checkpoint-{self.state.best_global_step}")
        if self.args.should_save:
            staged = run / checkpoint.STAGING / name
            self.state.save_to_json(str(staged / "trainer_state.json"))
            save_state(self.objective, [row.id for row in self.train_rows.manifest.rows], staged)
            if self.ema:
                self.ema.save(staged)
            checkpoint.commit(staged, run / name)
            rotate_checkpoints(
                str(run),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
            )
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        ids = [row.id for row in self.train_rows.manifest.rows]
        load_state(self.objective, ids, Path(resume_from_checkpoint))

    def resume(self) -> Path | None:
        """The checkpoint that `train(resume_from_checkpoint=...)` should go on from, its hashes checked.

        Raises:
            ModelError: every checkpoint is damaged.
        """
        found = checkpoint.last_checkpoint(Path(self.args.output_dir))
        if found is not None and not (found / "trainer_state.json").is_file():
            raise ModelError(f"{found}: has no trainer_state.json; remove it to start again")
        return found
