"""A fine-tuned model measured on a manifest's split, beside chance, prompts, probes and the untrained encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modalign.align.data import AlignmentDataset
from modalign.align.embed import Advance
from modalign.align.manifest import Manifest
from modalign.align.metrics import Calibration
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError
from modalign.tasks.evaluate import MODEL
from modalign.tasks.evaluation import (
    Array,
    Evaluation,
    Result,
    few_groups,
    interval_note,
    protocol_of,
    score_result,
    unscored_labels,
)
from modalign.tasks.finetune.baselines import Baselines, padded
from modalign.tasks.finetune.model import FineTuned
from modalign.tasks.finetune.regression import RegressionEvaluation, number_result
from modalign.tasks.finetune.run import with_descriptions
from modalign.tasks.finetune.target import Task, task_of
from modalign.tasks.fusion.embeddings import Encoded, encode_modalities
from modalign.tasks.fusion.subsets import modality_table
from modalign.tasks.subgroups import subgroups_of
from modalign.tasks.val_constants import fitted_calibration


def rows_to_encode(tuned: FineTuned, manifest: Manifest, split: str, models: int) -> int:
    """How many rows `evaluate_finetuned` encodes, for a progress bar; `models` are those beside the tuned one."""
    task = task_of(manifest, tuned.settings)
    parts = {name: _count(task, name, tuned) for name in (split, "val", "train")}
    beside = models * (parts[split] + parts["train"])
    fitted = split not in ("val", "all") and tuned.target.kind != "regression"
    return parts[split] + (parts["val"] if fitted else 0) + beside


def _count(task: Task, split: str, tuned: FineTuned) -> int:
    rows = [row for row in task.manifest.rows if split in ("all", row.split)]
    return sum(name in row.sources for row in rows for name in tuned.settings.modalities)


def evaluate_finetuned(
    tuned: FineTuned,
    manifest: Manifest,
    split: str = "test",
    *,
    base: AlignmentModel | None = None,
    untrained: AlignmentModel | None = None,
    advance: Advance | None = None,
    by: Sequence[str] = (),
) -> Evaluation:
    """Measure a fine-tuned model; every row is encoded once a model.

    Args:
        tuned: the model.
        manifest: all rows; `train` rows serve the baselines, `val` rows the fitted temperature.
        split: "test", "val", "train" or "all".
        base: the model before fine-tuning, for classification by its prompts and a linear probe on its encoders.
        untrained: its twin with random encoders, for a linear probe.
        advance: for a progress bar, called with the rows done; `rows_to_encode` says how many there are.
        by: columns of the manifest for subgroups.

    Raises:
        ManifestError: no row of the split has a target and one of the modalities, or no such column.
    """
    manifest = with_descriptions(manifest, base) if base is not None else manifest
    task = task_of(manifest, tuned.settings)
    target, names = tuned.target, tuned.settings.modalities
    kept = task.manifest.split(split)
    regression = target.kind == "regression"
    if (task.kind == "regression") != regression:
        raise ManifestError(f"{manifest.path}: the target {tuned.settings.target!r} is not of the kind that was learnt")
    labels = [] if regression else sorted({*target.labels, *kept.labels})
    several = not regression and (target.kind == "multi" or task.kind == "multi")
    lines = Baselines(tuned.settings, target, task, kept, labels, several)
    encoded = _encode(tuned, kept, advance)
    results = [lines.floor(), *_beside(lines, kept, base, untrained, tuned, encoded, advance)]
    title = f"Fine-tuned {' + '.join(names)}, split {split}"
    notes = [interval_note(kept.rows), *_warnings(tuned, manifest, kept, split)]
    protocol = _protocol(tuned, manifest, split)
    logits = tuned.logits(encoded)
    if regression:
        truth = np.array([task.numbers[row.id] for row in kept.rows])

        def numbers(given: Array | None = None) -> Array:
            return tuned.logits(encoded, given).astype(np.float64)[:, 0] * target.sd + target.mean

        results.append(number_result(MODEL, truth, numbers(), kept.rows, few_groups(kept.rows)))
        made = RegressionEvaluation(
            title,
            protocol,
            "R2",
            [],
            kept.rows,
            results,
            notes,
            column=target.column,
            numbers=truth,
            subgroups=subgroups_of(kept, by),
        )
        made.add_figures()
        made.add_subgroups()
        if len(names) > 1:
            made.tables.append(
                modality_table(
                    names,
                    encoded.present.numpy(),
                    numbers,
                    lambda said, i: _figure(number_result("", truth[i], said[i], [kept.rows[k] for k in i])),
                    "R2",
                )
            )
        return made
    scores = padded(logits, target.labels, labels)
    main = score_result(MODEL, scores, kept.rows, labels, few_groups(kept.rows), auroc=several)
    if several and target.thresholds is not None:
        known = [labels.index(label) for label in target.labels]
        decided = np.zeros(scores.shape, dtype=int)
        decided[:, known] = target.decided(logits)
        main = replace(main, decided=decided)
    results.append(main)
    left_out = unscored_labels(kept.rows, labels) if several else []
    if left_out:
        notes.append(f"Left out of macro AUROC, since all rows have them or none has: {', '.join(left_out)}.")
    fitted, about = None, "No val rows apart from those evaluated, so nothing is fitted."
    if split not in ("val", "all") and task.manifest.has("val"):
        val = task.manifest.split("val")
        held = padded(tuned.logits(_encode(tuned, val, advance)), target.labels, labels)
        val_labels = [row for row in val.rows if set(row.labels) <= set(labels)]
        index = [i for i, row in enumerate(val.rows) if set(row.labels) <= set(labels)]
        if val_labels:
            fitted, about = fitted_calibration(held[index], val_labels, labels, several)
    evaluation = Evaluation(
        title=title,
        protocol=protocol,
        metric="macro AUROC" if several else "accuracy",
        labels=labels,
        rows=kept.rows,
        results=results,
        notes=notes,
        embeddings=encoded.aligned[names[0]] if len(names) == 1 else None,
        subgroups=subgroups_of(kept, by),
        own=Calibration((1.0,), (0.0,), several=several),
        fitted=fitted,
    )
    evaluation.measure_all(about)
    if len(names) > 1:
        evaluation.tables.append(
            modality_table(
                names,
                encoded.present.numpy(),
                lambda given: padded(tuned.logits(encoded, given), target.labels, labels),
                lambda said, i: _figure(score_result("", said[i], [kept.rows[k] for k in i], labels, auroc=several)),
                evaluation.metric,
            )
        )
    return evaluation


def _encode(tuned: FineTuned, manifest: Manifest, advance: Advance | None) -> Encoded:
    names = tuned.settings.modalities
    dataset = AlignmentDataset(manifest, {name: tuned.aligned.tower(name) for name in names})
    return encode_modalities(tuned.aligned, dataset, names, advance=advance)


def _beside(
    lines: Baselines,
    kept: Manifest,
    base: AlignmentModel | None,
    untrained: AlignmentModel | None,
    tuned: FineTuned,
    encoded: Encoded,
    advance: Advance | None,
) -> list[Result]:
    said: Mapping[str, Sequence[str]] = kept.descriptions
    found: list[Result] = []
    if untrained is not None:
        random = lines.encoded(untrained, advance)
        found += lines.probe("untrained", random, "linear probe on a frozen random encoder")
    found += lines.hand(tuned.aligned)
    if base is not None:
        before = lines.encoded(base, advance)
        found += lines.prompts("prompts", base, before[1], said, "the model before fine-tuning, without labels")
        found += lines.probe("probe", before, "linear probe on the model's frozen encoder")
    found += lines.prompts("prompts, tuned", tuned.aligned, encoded, said, "what fine-tuning left of the shared space")
    return found


def _figure(result: Result) -> tuple[float, tuple[float, float]]:
    return result.value, result.interval or (float("nan"), float("nan"))


def _protocol(tuned: FineTuned, manifest: Manifest, split: str) -> str:
    """By what the head was tuned on; and by what the base was trained on, where that saw these people."""
    own = protocol_of(tuned.record, manifest, split)
    if tuned.target.kind == "regression":
        own = own.replace("seen and held-out classes, ", "").replace("held-out classes, ", "")
        own = own.replace("seen classes, ", "")
    before: Mapping[str, Any] = (tuned.record or {}).get("base") or {}
    said = protocol_of(before, manifest, split) if before else ""
    if "unseen people" in own and ("not subject-independent" in said or "named as training's" in said):
        return own.replace("unseen people", "people whom the base model had seen")
    return own


def _warnings(tuned: FineTuned, manifest: Manifest, kept: Manifest, split: str) -> list[str]:
    notes = []
    config, target = tuned.settings, tuned.target
    never = [label for label in kept.labels if label not in target.labels] if target.labels else []
    if never:
        notes.append(f"No train row has {', '.join(never)}: never chosen.")
    if manifest.official_split or (tuned.record or {}).get("official_split"):
        notes.append("The data set's official split: groups may cross it, so this is not subject-independent.")
    if config.class_weights == "balanced":
        notes.append("Tuned with balanced class weights: probabilities are those of a population of even classes.")
    if split == "val":
        notes.append("val chose the checkpoint: figures on it are optimistic.")
    if not (tuned.record or {}).get("base"):
        notes.append("What the base model was trained on is not recorded: it may have seen these rows.")
    return notes
