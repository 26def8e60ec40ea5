"""FinetuneTrainer: the alignment's trainer with a head's loss, and the contrastive loss beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from modalign.align.cache import FeatureTable
from modalign.align.collate import Collator, Places
from modalign.align.config import Pair, Recipe
from modalign.align.data import AlignmentDataset, Item
from modalign.align.manifest import Manifest
from modalign.align.sampler import generator_for
from modalign.align.signal_cache import SignalCache
from modalign.align.trainer import AlignmentTrainer
from modalign.tasks.finetune.model import FineTuned
from modalign.tasks.finetune.val_figures import head_figures
from modalign.tasks.fusion.criterion import Criterion, balanced_weights
from modalign.tasks.fusion.embeddings import encode_modalities
from modalign.tasks.predictions import indicator

SAMPLED = 256
"""Training rows from which the head's constants are taken, where encoding all would cost an epoch."""


class HeadCollator(Collator):
    """Batches with `targets`, and with `rows`: which input of a modality belongs to a row, and whether it is there.

    Args:
        dataset, pairs, tables, by_label, views: see `Collator`.
        modalities: what the head reads.
        targets: of all rows of the dataset.
    """

    def __init__(
        self,
        dataset: AlignmentDataset,
        pairs: Sequence[Pair],
        tables: Mapping[str, FeatureTable],
        by_label: bool,
        modalities: Sequence[str],
        targets: Tensor,
        views: bool = False,
    ) -> None:
        super().__init__(dataset, pairs, tables, by_label, views)
        self.modalities, self.targets = list(modalities), targets
        # A caption that was made of the labels is no input: it would give them away.
        self.has = {name: [name in row.sources for row in dataset.manifest.rows] for name in self.modalities}

    def batch(self, items: Sequence[Item]) -> tuple[dict[str, Any], Places]:
        """Batch the items."""
        made, place = super().batch(items)
        rows = {}
        for name in self.modalities:
            index = [place[name].get(n, 0) for n in range(len(items))]
            present = [n in place[name] and self.has[name][item.row] for n, item in enumerate(items)]
            rows[name] = {"index": torch.tensor(index), "present": torch.tensor(present)}
        return {**made, "rows": rows, "targets": self.targets[[item.row for item in items]]}, place


class FinetuneTrainer(AlignmentTrainer):
    """Trains a `FineTuned`: its head, and what of the towers is trainable.

    The loss is the head's, and with pairs in the recipe their weighted losses. Everything else (augmentation, caches,
    checkpoints, exact resume, frozen towers encoded once) is `AlignmentTrainer`'s.

    Args:
        tuned: as `build` made it.
        recipe: as `recipe_for` made it.
        train: rows with targets.
        val: rows with targets that choose the checkpoint, or None.
        numbers: row id -> number, for regression.
        texts: modality -> (C, dim) embeddings of the classes, for a head that starts from them; None: random.
        out, callbacks, cache: see `AlignmentTrainer`.

    Raises:
        ManifestError: a pair has fewer than two rows.
    """

    def __init__(
        self,
        tuned: FineTuned,
        recipe: Recipe,
        train: Manifest,
        val: Manifest | None,
        out: Path,
        numbers: Mapping[str, float],
        texts: Mapping[str, Tensor] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        cache: SignalCache | None = None,
    ) -> None:
        self.tuned = tuned
        target, config = tuned.target, tuned.settings
        self.targets = target.tensor(train.rows, numbers)
        self.val_targets = None if val is None else target.tensor(val.rows, numbers)
        balanced = config.class_weights == "balanced"
        truth = torch.from_numpy(indicator([row.labels for row in train.rows], target.labels))
        self.criterion = Criterion(target.kind, balanced_weights(truth, target.kind) if balanced else None)
        first = "balanced_accuracy" if balanced else "accuracy"
        self.best_figures = {"single": (first, "loss"), "multi": ("macro_auroc", "loss"), "regression": ("R2", "loss")}[
            target.kind
        ]
        super().__init__(tuned.aligned, recipe, train, val, out, (), callbacks, cache, trained=tuned)
        self.criterion.to(self.args.device)
        self._start_head(texts, truth)

    def _check_val(self) -> None:
        """Nothing: every val row has a target, and pairs are not needed to choose by it."""

    def _start_head(self, texts: Mapping[str, Tensor] | None, truth: Tensor) -> None:
        """Give the head the classes' texts, or the constants of its inputs, from training rows alone."""
        head, names, kind = self.tuned.head, self.tuned.settings.modalities, self.tuned.target.kind
        if texts is None and self.tuned.settings.tune != "head":
            return  # its inputs are standardised row by row
        if texts is not None:
            scale = float(self.tuned.temperature())
            head.start_from_text([texts[name] for name in names], scale)
            if kind == "single":
                return
        sample = self._sample()
        rows = self.train_rows.with_manifest(self.train_rows.manifest.take(sample))
        encoded = encode_modalities(self.tuned.aligned, rows, names, self.tables["train"])
        if texts is None:
            source = encoded.aligned if self.tuned.settings.features == "aligned" else encoded.pooled
            head.fit_inputs([source[name] for name in names], encoded.present)
            return
        # Cosines say which row is likelier, not how likely: set each label's mean logit to the odds of its share.
        share = truth.float().mean(0).clamp(1 / (len(truth) + 1), len(truth) / (len(truth) + 1))
        mean = torch.from_numpy(self.tuned.logits(encoded)).mean(0)
        head.start_from_text([texts[name] for name in names], scale, share.logit() - mean)

    def _sample(self) -> list[int]:
        """All rows where their features are at hand, else some, drawn by the seed."""
        n = len(self.train_rows)
        if all(name in self.tables["train"] for name in self.tuned.settings.modalities) or n <= SAMPLED:
            return list(range(n))
        order = torch.randperm(n, generator=generator_for(self.recipe.seed, 0, "", "head"))
        return sorted(order[:SAMPLED].tolist())

    def _collator(self) -> Collator:
        by_label = self.recipe.loss.positives == "label"
        return HeadCollator(
            self.train_rows,
            self.recipe.pairs,
            self.tables["train"],
            by_label,
            self.tuned.settings.modalities,
            self.targets,
            self.objective.uses_views,
        )

    def compute_loss(
        self, model: nn.Module, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The head's loss and the weighted losses of the batch's pairs; a mean over the batch's rows."""
        output = model(inputs["inputs"], inputs["rows"])
        loss = self.criterion(output.head, inputs["targets"])
        if self.recipe.pairs:
            loss = loss + self.objective(output.aligned, inputs, self.progress)
        return (loss, output) if return_outputs else loss

    def _figures(self, eval_dataset: Any = None) -> dict[str, float]:
        """The head's figures on val."""
        assert self.val_rows is not None
        assert self.val_targets is not None
        names = self.tuned.settings.modalities
        encoded = encode_modalities(self.tuned.aligned, self.val_rows, names, self.tables["val"])
        return head_figures(self.tuned.target, self.tuned.logits(encoded), self.val_targets.numpy())
