"""A whole fine-tuning: from an aligned model and a manifest to a saved `FineTuned`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from torch import Tensor

from modalign.align import adapter
from modalign.align.manifest import Manifest, check_groups
from modalign.align.model import AlignmentModel
from modalign.align.privacy import without_paths
from modalign.align.signal_cache import SignalCache
from modalign.errors import ModelError
from modalign.tasks.finetune.build import build, pairs_for, recipe_for, start_of
from modalign.tasks.finetune.config import FinetuneConfig
from modalign.tasks.finetune.model import FineTuned
from modalign.tasks.finetune.target import Target, target_of, task_of, with_known_labels
from modalign.tasks.finetune.trainer import FinetuneTrainer
from modalign.tasks.fusion.embeddings import encode_modalities
from modalign.tasks.training import (
    check_descriptions,
    check_same_recipe,
    check_same_rows,
    prepare_folder,
    print_trainable,
    progress_bar,
    rows_record,
    run,
    train_and_val,
)
from modalign.tasks.val_constants import thresholds
from modalign.tasks.zero_shot import ZeroShotClassifier

TITLE = "fine-tuning"


def fine_tune(
    base: AlignmentModel,
    manifest: Manifest,
    config: FinetuneConfig,
    out: str | Path,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> FineTuned:
    """Put a head on towers of a model, train on the manifest's `train` rows, choose on `val`, and save `out/model`.

    Rows without the target, or without any of the modalities, are left out. `test` is not touched. With several
    modalities a row may lack some.

    Args:
        base: an aligned model; it stays as it is.
        manifest: all rows; rows without a split count as train only if no row has one.
        config: what to tune, see `FinetuneConfig`.
        out: the run's folder: `model`, `checkpoints`, `finetune.yaml`.
        resume: go on from the newest whole checkpoint; the result is the same to the last bit.
        console: where to print; None: stderr.

    Example:
        >>> config = finetune_config({"modalities": ["ecg"], "tune": "lora", "contrastive": 0.1})   # doctest: +SKIP
        >>> tuned = fine_tune(model, manifest, config, "runs/tuned")                               # doctest: +SKIP
        >>> tuned.predict(["record.hea"])                                                           # doctest: +SKIP

    Raises:
        ModelError: `out` holds another run, or the model lacks a tower.
        ManifestError, ReadError, RecipeError: names the place and the mend.
    """
    console = console or Console(stderr=True)
    out = Path(out)
    prepare_folder(out, resume)
    check_groups(manifest)
    manifest = with_descriptions(manifest, base)
    pairs = pairs_for(base, config)
    task = task_of(manifest, config)
    rows, val = train_and_val(task.manifest, console)
    for note in check_descriptions(manifest) if task.kind != "regression" else []:
        console.print(note)
    target = target_of(task, rows, config)
    if val is not None:
        scored = with_known_labels(val, target)
        if scored is None or len(scored.rows) < len(val.rows):
            left = len(val.rows) - len(scored.rows if scored else [])
            console.print(f"{TITLE}: {left:,} val rows have a label that no train row has, and are left out.")
        val = scored
    tuned = build(base, config, target, pairs)
    texts = texts_for(base, config, target, manifest)
    if resume:
        check_same_recipe(config, out / "finetune.yaml")
        check_same_rows(manifest, out / "manifest.sha256")
        _check_same_base(base, out / "base.sha256")
    (out / "manifest.sha256").write_text(f"{manifest.sha256}\n")
    (out / "base.sha256").write_text(f"{_hash(base)}\n")
    (out / "finetune.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    print_trainable(tuned.trainable_table(), console)
    console.print(f"{TITLE}: {len(rows.rows):,} train rows, {len(val.rows) if val else 0:,} val rows")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    recipe = recipe_for(base, tuned, pairs)
    cache = SignalCache(config.training.cache or out / "cache")
    bar = progress_bar(TITLE, recipe, console)
    trainer = FinetuneTrainer(tuned, recipe, rows, val, out / "checkpoints", task.numbers, texts, [bar], cache)
    run(trainer, cache, resume, TITLE, console)
    tuned.eval()
    if val is not None and trainer.val_rows is not None and target.kind == "multi":
        encoded = encode_modalities(tuned.aligned, trainer.val_rows, config.modalities, trainer.tables["val"])
        chosen = thresholds(tuned.logits(encoded), val.rows, target.labels)
        tuned.target = target.model_copy(update={"thresholds": [float(t) if np.isfinite(t) else None for t in chosen]})
    tuned.aligned.record = record_of(base, tuned, manifest, rows, recipe.name, recipe.loss.model_dump(mode="json"))
    tuned.save(out / "model")
    return tuned


def with_descriptions(manifest: Manifest, base: AlignmentModel) -> Manifest:
    """The manifest with what the base was told of its labels, where it says nothing of them itself."""
    known = (base.record or {}).get("descriptions") or {}
    kept = {label: list(said) for label, said in known.items() if label in manifest.labels}
    made = manifest.take(range(len(manifest.rows)))
    made.descriptions = {**kept, **manifest.descriptions}
    return made


def texts_for(
    base: AlignmentModel, config: FinetuneConfig, target: Target, manifest: Manifest
) -> dict[str, Tensor] | None:
    """The classes' embeddings for each modality, from the base's text tower; None for a head that starts at random.

    Raises:
        RecipeError: they are asked for, and the base has no text tower.
    """
    if start_of(base, config) == "random":
        return None
    return {
        name: ZeroShotClassifier(
            base,
            name,
            target.labels,
            config.templates or None,
            {} if config.templates else manifest.descriptions,
            config.text,
        ).class_embeddings
        for name in config.modalities
    }


def record_of(
    base: AlignmentModel, tuned: FineTuned, manifest: Manifest, rows: Manifest, name: str, loss: dict[str, Any]
) -> dict[str, Any]:
    """What the model's folder says of its training: no ids, and groups as salted hashes; the base's beside."""
    kept = ("labels", "manifest_sha256", "salt", "hashed_groups")
    before = base.record or {}
    return {
        **rows_record(manifest, rows),
        "text": tuned.settings.text,
        "recipe": {
            **(before.get("recipe") or {}),
            "name": name,
            "loss": loss,
            "finetune": without_paths(tuned.settings.model_dump(mode="json")),
        },
        "base": {key: before[key] for key in kept if key in before},
    }


def _hash(base: AlignmentModel) -> str:
    return adapter.base_hash(base.state_dict(), set())


def _check_same_base(base: AlignmentModel, path: Path) -> None:
    if path.is_file() and path.read_text().strip() != _hash(base):
        raise ModelError(f"{path}: the run was begun from another model; give that one, or another --out")
