"""A whole run: train by a recipe, choose on val, save the model, and its untrained twin to compare with."""

from __future__ import annotations

import difflib
import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from modalign.align.checkpoint import checkpoints
from modalign.align.config import ModelConfig, Recipe, Section
from modalign.align.manifest import Manifest, check_groups, read_manifest
from modalign.align.model import AlignmentModel, build_model
from modalign.align.privacy import without_paths
from modalign.align.processes import is_main
from modalign.align.progress import ProgressBar
from modalign.align.signal_cache import SignalCache
from modalign.align.trainer import AlignmentTrainer
from modalign.errors import ManifestError, ModelError, suggest
from modalign.modalities.base import Modality
from modalign.modalities.registry import get_modality
from modalign.tasks.evaluation import hashed_groups
from modalign.tasks.zero_shot import prompt_figures


def modalities_of(config: ModelConfig) -> dict[str, Modality]:
    """Tower name -> its modality."""
    return {name: get_modality(tower.modality or name) for name, tower in config.towers.items()}


def open_manifest(
    config: ModelConfig,
    path: str | Path,
    descriptions: Mapping[str, Sequence[str]] | None = None,
    allow_outside: bool = False,
) -> Manifest:
    """Read a manifest with the columns of a model's or recipe's towers.

    Raises:
        ManifestError: names the file, row, column and the mend.
    """
    return read_manifest(path, modalities_of(config), descriptions, allow_outside)


def train(
    recipe: Recipe,
    manifest: Manifest,
    out: str | Path,
    *,
    resume: bool = False,
    untrained: bool = True,
    title: str = "training",
    console: Console | None = None,
) -> AlignmentModel:
    """Train on the manifest's `train` rows, choose the checkpoint on `val`, and save to `out`.

    Across processes (`accelerate launch`, `torchrun`) each encodes its share of every batch; the main one prints,
    evaluates and saves. Frozen towers and constants are worked out once in each.

    Writes `out/model` (the model folder), `out/recipe.yaml`, `out/checkpoints`, and with `untrained` `out/untrained`:
    the same model with its encoders random and frozen, only the projections trained, which evaluations print beside.

    Args:
        recipe: what to train.
        manifest: all rows; rows without a split count as train only if no row has one. `test` is not touched.
        out: the run's folder.
        resume: go on from the newest whole checkpoint.
        untrained: train the baseline too.
        title: beside the progress bar.
        console: where to print; None: stderr.

    Raises:
        ModelError: `out` holds another run and `resume` is not asked for.
        ManifestError, ReadError, RecipeError: names the place and the mend.
    """
    console = console or Console(stderr=True, quiet=not is_main())
    out = Path(out)
    if is_main():
        prepare_folder(out, resume)
    check_groups(manifest)
    rows, val = train_and_val(manifest, console)
    for note in check_descriptions(manifest):
        console.print(note)
    if resume and is_main():
        check_same_recipe(recipe, out / "recipe.yaml")
        check_same_rows(manifest, out / "manifest.sha256")
    if is_main():
        (out / "manifest.sha256").write_text(f"{manifest.sha256}\n")
        (out / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    model = build_model(recipe)
    print_trainable(model.trainable_table(), console)
    _fit(model, recipe, rows, val, out / "checkpoints", resume, title, console)
    model.record = record_of(recipe, manifest, rows)
    if is_main():
        model.save_pretrained(out / "model")
    if untrained and any(model.tower(name).modality.is_path for name in model.towers):
        baseline = untrained_recipe(recipe, model)
        twin = build_model(baseline, [name for name in model.towers if not model.tower(name).modality.is_path])
        _fit(twin, baseline, rows, val, out / "untrained-checkpoints", resume, "untrained baseline", console, False)
        twin.record = model.record
        if is_main():
            twin.save_pretrained(out / "untrained")
    return model


def train_and_val(manifest: Manifest, console: Console) -> tuple[Manifest, Manifest | None]:
    """The rows to train on, and those that choose the checkpoint, if there are any; says what is left out.

    Raises:
        ManifestError: rows have splits, and none is train.
    """
    if not any(row.split for row in manifest.rows):
        console.print("No row has a split: all rows are trained on, and the last checkpoint is kept.")
        return manifest, None
    unused = sum(not row.split for row in manifest.rows)
    if unused:
        console.print(f"{unused:,} rows have no split, and are not used.")
    if not manifest.has("val"):
        console.print("No row has split 'val': the last checkpoint is kept, and nothing is measured while training.")
    return manifest.split("train"), manifest.split("val") if manifest.has("val") else None


def check_descriptions(manifest: Manifest) -> list[str]:
    """What to tell of labels that have no descriptions where others have some.

    Raises:
        ManifestError: a description is of a label that no row has, but that is near one without descriptions.
    """
    labels = manifest.labels
    bare = [label for label in labels if label not in manifest.descriptions]
    for label in manifest.descriptions:
        if label not in labels and difflib.get_close_matches(label, bare, n=1):
            raise ManifestError(
                f"{manifest.path}: descriptions of {label!r}, a label that no row has; {suggest(label, bare)}"
            )
    if not manifest.descriptions or not bare:
        return []
    return [
        f"No descriptions for {', '.join(bare)}: rows without a caption get one from what the modality knows "
        "of the label, or from its templates."
    ]


def untrained_recipe(recipe: Recipe, model: AlignmentModel) -> Recipe:
    """The recipe of the baseline: encoders of recordings random and frozen, the projections trained the same way."""
    towers = dict(recipe.towers)
    for name, tower in recipe.towers.items():
        if model.tower(name).modality.is_path:
            options = model.tower(name).saved_config().options
            towers[name] = tower.model_copy(update={"options": options, "tune": "frozen", "augment": []})
    return recipe.model_copy(update={"towers": towers, "name": f"{recipe.name}, untrained"})


def prepare_folder(out: Path, resume: bool) -> None:
    """Make the run's folder.

    Raises:
        ModelError: it holds a run already, and `resume` is not asked for.
    """
    if not resume and (checkpoints(out / "checkpoints") or (out / "model").exists()):
        raise ModelError(f"{out}: holds a run already; pass --resume to go on with it, or another --out")
    out.mkdir(parents=True, exist_ok=True)


HARMLESS = {"workers", "cache", "log_every", "keep_checkpoints", "tensorboard"}
"""Keys of `training` that change no weight, so that a resumed run may have others."""


def check_same_recipe(recipe: Section, path: Path) -> None:
    """Refuse to go on with a run that another recipe began: its weights would be of neither.

    Raises:
        ModelError: names the first key that differs.
    """
    if not path.is_file():
        return
    before = yaml.safe_load(path.read_text())
    now = recipe.model_dump(mode="json")
    for tree in (before, now):
        tree["training"] = {k: v for k, v in tree["training"].items() if k not in HARMLESS}
    key = next(iter(_differing(before, now)), "")
    if key:
        raise ModelError(
            f"{path}: the run was begun with another {key}; resume it with the recipe that began it, or give "
            "another --out"
        )


def check_same_rows(manifest: Manifest, path: Path) -> None:
    """Refuse to go on with a run that was begun with other rows.

    Raises:
        ModelError: the manifest is not the one that the run was begun with.
    """
    if path.is_file() and path.read_text().strip() != manifest.sha256:
        raise ModelError(f"{manifest.path}: is not as it was when the run began; give that manifest, or another --out")


def _differing(a: Any, b: Any, key: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for name in sorted({*a, *b}):
            yield from _differing(a.get(name), b.get(name), f"{key}.{name}" if key else name)
    elif a != b:
        yield key


def record_of(recipe: Recipe, manifest: Manifest, rows: Manifest) -> dict[str, Any]:
    """What the model folder says of its training: no ids, and groups as salted hashes."""
    here = recipe.model_copy(update={"training": recipe.training.model_copy(update={"cache": None})})
    said = without_paths(here.model_dump(mode="json"))
    return {**rows_record(manifest, rows), "text": recipe.text, "recipe": said}


def rows_record(manifest: Manifest, rows: Manifest) -> dict[str, Any]:
    """What a record says of the rows that were trained on."""
    salt = secrets.token_hex(8)
    return {
        "manifest_sha256": manifest.sha256,
        "salt": salt,
        "hashed_groups": hashed_groups(rows.rows, salt),
        "rows": len(rows.rows),
        "groups": len({row.group for row in rows.rows if row.group}),
        "labels": rows.labels,
        "label_counts": {label: sum(label in row.labels for row in rows.rows) for label in rows.labels},
        "official_split": manifest.official_split,
        "synthetic": manifest.synthetic,
        "descriptions": {label: list(s) for label, s in rows.descriptions.items() if label in rows.labels},
    }


def _fit(
    model: AlignmentModel,
    recipe: Recipe,
    rows: Manifest,
    val: Manifest | None,
    out: Path,
    resume: bool,
    title: str,
    console: Console,
    fit_encoders: bool = True,
) -> None:
    recordings = [name for name in model.towers if model.tower(name).modality.is_path]
    evaluators = [prompt_figures({name: recipe.templates.get(name, []) for name in recordings}, recipe.text)]
    logging.getLogger("transformers").setLevel(logging.ERROR)
    cache = SignalCache(recipe.training.cache or out.parent / "cache")
    bar = progress_bar(title, recipe, console)
    trainer = AlignmentTrainer(model, recipe, rows, val, out, evaluators, [bar], cache, fit_encoders)
    run(trainer, cache, resume, title, console)


def progress_bar(title: str, recipe: Recipe, console: Console) -> ProgressBar:
    """The bar of a run."""
    return ProgressBar(title, recipe.training.batch_size * recipe.training.accumulation, console)


def run(trainer: AlignmentTrainer, cache: SignalCache, resume: bool, title: str, console: Console) -> None:
    """Train to the end, and say what was trained on."""
    for (a, b), count in trainer.pair_counts.items():
        console.print(f"{title}: {count:,} rows pair {a} with {b}")
    for note in trainer.notes:
        console.print(f"{title}: {note}")
    checkpoint = trainer.resume() if resume else None
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.model.eval()
    if cache.hits or cache.made or cache.unsaved:
        console.print(f"{title}: {cache.report()}")
    console.print(f"{title}: {trainer.state.global_step:,} updates in {time.perf_counter() - started:.1f} s")


def print_trainable(parts: Sequence[tuple[str, int, int]], console: Console) -> None:
    """Print (part, parameters, trainable ones)."""
    table = Table("part", "parameters", "trainable", "share", box=None, header_style="bold")
    for name, total, trainable in parts:
        table.add_row(name, f"{total:,}", f"{trainable:,}", f"{trainable / max(total, 1):.1%}")
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
