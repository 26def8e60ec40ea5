"""Classification by prompts of a manifest's split, beside chance, the untrained encoder and the linear floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from torch import Tensor

from modalign.align.data import AlignmentDataset
from modalign.align.embed import Advance, embed_split
from modalign.align.manifest import Manifest
from modalign.align.metrics import Calibration
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError
from modalign.tasks.evaluation import (
    Array,
    Evaluation,
    Result,
    chance,
    few_groups,
    interval_note,
    protocol_of,
    score_result,
    unscored_labels,
)
from modalign.tasks.fit_rows import EncodedRows, fit_classifier, is_transductive
from modalign.tasks.floor import linear_floor
from modalign.tasks.hierarchy import Hierarchy
from modalign.tasks.prompting import Prompting
from modalign.tasks.subgroups import subgroups_of
from modalign.tasks.text_side import gap_of, limit_table
from modalign.tasks.val_constants import fitted_calibration, own_calibration, thresholds, val_rows
from modalign.tasks.zero_shot import ZeroShotClassifier
from modalign.tasks.zero_shot_tables import zero_shot_tables

MODEL = "modalign"


def dataset_of(model: AlignmentModel, manifest: Manifest) -> AlignmentDataset:
    """The rows as the model's towers see them, without augmentation."""
    return AlignmentDataset(manifest, {name: model.tower(name) for name in model.towers})


def labelled(manifest: Manifest, split: str, tower: str) -> Manifest:
    """The rows of a split that have this modality and a label.

    Raises:
        ManifestError: there are none, or they hold only one label.
    """
    part = manifest.split(split)
    kept = part.take([i for i, row in enumerate(part.rows) if row.labels and tower in row.sources])
    if len(kept.labels) < 2:
        raise ManifestError(
            f"{manifest.path}: split {split!r} has {len(kept.rows)} rows with {tower} and a label, of "
            f"{len(kept.labels)} labels; evaluation needs two labels or more in the column 'label' or 'labels'"
        )
    return kept


def score(
    model: AlignmentModel,
    dataset: AlignmentDataset,
    tower: str,
    labels: Sequence[str],
    templates: Sequence[str] | None = None,
    descriptions: Mapping[str, Sequence[str]] | None = None,
    text: str = "text",
    advance: Advance | None = None,
) -> Array:
    """Cosines (N, C) of the dataset's rows with the labels."""
    classifier = ZeroShotClassifier(model, tower, labels, templates, descriptions, text)
    return classifier.decision_function(embed_split(model, dataset, tower, advance=advance).embeddings)


def single_prompts(
    model: AlignmentModel,
    dataset: AlignmentDataset,
    tower: str,
    prompts: Mapping[str, Sequence[str]],
    text: str = "text",
    embedded: Tensor | None = None,
) -> list[Result]:
    """Results with one prompt a class: the k-th of every class, for every k that all classes have.

    `embedded` are the dataset's rows, where they were embedded before.
    """
    embedded = embed_split(model, dataset, tower).embeddings if embedded is None else embedded
    labels = list(prompts)
    results = []
    for k in range(min(len(sentences) for sentences in prompts.values())):
        one = {label: [sentences[k]] for label, sentences in prompts.items()}
        scores = ZeroShotClassifier(model, tower, labels, None, one, text).decision_function(embedded)
        results.append(score_result(f"prompt {k + 1}", scores, dataset.manifest.rows, labels))
    return results


def baselines(
    manifest: Manifest,
    test: AlignmentDataset,
    tower: str,
    labels: Sequence[str],
    floor: bool = True,
    several: bool | None = None,
) -> list[Result]:
    """Chance, and logistic regression on hand features where the manifest has labelled train rows.

    Args:
        manifest: all rows.
        test: the rows measured. Where train rows are among them there is no linear line: it would know them by heart.
        tower: the modality.
        labels: of the scores' columns.
        floor: whether the linear line is wanted.
        several: whether labels are judged one by one, by macro AUROC; None: where a row has several.
    """
    rows = test.manifest.rows
    several = any(len(row.labels) > 1 for row in rows) if several is None else several
    results = [chance(rows, labels, several)]
    if floor and manifest.has("train") and not any(row.split == "train" for row in rows):
        train = manifest.split("train")
        usable = train.take([i for i, r in enumerate(train.rows) if r.labels and tower in r.sources])
        scores = linear_floor(test.with_manifest(usable), test, tower, labels) if usable.rows else None
        if scores is not None:
            line = score_result("linear", scores, rows, labels, "logistic regression on hand features", auroc=several)
            shares = all(len(row.labels) == 1 for row in [*usable.rows, *rows])  # one model: probabilities, not odds
            even = 0.5 if shares else 0.0
            results.append(replace(line, decided=(scores > even).astype(int)) if several else line)
    return results


def rows_to_embed(manifest: Manifest, split: str, tower: str, models: int = 1, fit_on: str = "") -> int:
    """How many rows `evaluate_zero_shot` embeds, for a progress bar: those of the split and of val, once a model.

    `fit_on` is the split that something is fitted on; those of train are embedded for that alone.
    """
    val = val_rows(manifest, split, tower)
    train = [r for r in manifest.rows if r.split == "train" and r.labels and tower in r.sources]
    more = len(train) if fit_on == "train" and split not in ("train", "all") else 0
    return models * (len(labelled(manifest, split, tower).rows) + (len(val.rows) if val else 0) + more)


def evaluate_zero_shot(
    model: AlignmentModel,
    manifest: Manifest,
    tower: str,
    split: str = "test",
    *,
    templates: Sequence[str] | None = None,
    descriptions: Mapping[str, Sequence[str]] | None = None,
    text: str = "text",
    untrained: AlignmentModel | None = None,
    advance: Advance | None = None,
    by: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    fit_on: str = "val",
    tree: Hierarchy | None = None,
    rule: Literal["children", "path"] = "children",
) -> Evaluation:
    """Classify a split by prompts; every row is encoded once a model.

    Args:
        model: the model.
        manifest: all rows; `train` rows serve the linear floor, `val` rows the temperature and thresholds.
        tower: which modality to classify.
        split: "test", "val", "train" or "all".
        templates: prompt templates; they win over what the modality knows of a label.
        descriptions: label -> sentences; they win over templates.
        text: the tower for prompts.
        untrained: the baseline with random encoders, if there is one.
        advance: for a progress bar, called with the rows done; `rows_to_embed` says how many there are.
        by: columns of the manifest for subgroups; see `subgroups_of`.
        options: further ones of `ZeroShotClassifier` (`ensemble`, `multi_label`, `debias`, ...).
        fit_on: the split that `debias` and `reject_rate` learn from.
        tree: groups of the labels, for figures at every level.
        rule: how groups are scored; see `HierarchicalZeroShot`.

    Raises:
        ManifestError: no labelled rows, or no such column.
        ModelError: no such tower.
        RecipeError: options that cannot be used.
    """
    part = model.tower(tower)
    kept, val = labelled(manifest, split, tower), val_rows(manifest, split, tower)
    subgroups = subgroups_of(kept, by)
    labels = manifest.vocabulary  # not the split's alone: a class that it happens to lack can still be chosen
    options = dict(options or {})
    several = any(len(row.labels) > 1 for row in kept.rows) or options.get("multi_label") is not None
    if several:
        options["multi_label"] = options.get("multi_label") or "cosine"
    asked = Prompting(templates, descriptions, text, options)
    tree = tree and tree.keep(labels)
    test = dataset_of(model, kept)
    classifier = asked.classifier(model, tower, labels, kept.descriptions)
    embedded = embed_split(model, test, tower, advance=advance)
    encoded = EncodedRows(model, tower, advance)
    encoded.add(kept, embedded.embeddings)
    fit_notes = fit_classifier(classifier, manifest, split, fit_on, encoded)
    scores, held = _scores(classifier, encoded, kept, val)
    results = baselines(manifest, test, tower, labels, several=several)
    notes = [interval_note(kept.rows), *_warnings(manifest, kept, model, split, tower)]
    if untrained is None:
        notes.append(
            "There is no line 'untrained': no untrained model was given, or stands beside the model. `modalign train` "
            "makes one (not with --no-untrained); without it a figure may owe little to training."
        )
    else:
        twin = asked.classifier(untrained, tower, labels, kept.descriptions)
        bare_rows = EncodedRows(untrained, tower, advance)
        fit_classifier(twin, manifest, split, fit_on, bare_rows)
        bare, bare_held = _scores(twin, bare_rows, kept, val)
        line = _line("untrained", bare, kept, labels, several, "frozen random encoder, trained projection")
        results.insert(1, _decide(line, bare_held, val, labels) if several and val else line)
    main = _line(MODEL, scores, kept, labels, several, few_groups(kept.rows))
    results.append(_decide(main, held, val, labels) if several and val else main)
    notes += fit_notes
    left_out = unscored_labels(kept.rows, labels) if several else []
    if left_out:
        notes.append(f"Left out of macro AUROC, since all rows have them or none has: {', '.join(left_out)}.")
    fitted, about = None, "No labelled val rows apart from those evaluated, so nothing is fitted."
    if val:
        fitted, about = fitted_calibration(held, val.rows, labels, several)
    evaluation = Evaluation(
        title=f"Classification of {part.modality.name} by prompts, split {split}",
        protocol=protocol_of(model.record, manifest, split)
        + (", transductive" if is_transductive(classifier, split, fit_on) else ""),
        metric="macro AUROC" if several else "accuracy",
        labels=labels,
        rows=kept.rows,
        results=results,
        notes=notes,
        embeddings=embedded.embeddings,
        classes=classifier.class_embeddings,
        scale=model.temperature().item(),
        subgroups=subgroups,
        own=_own_calibration(classifier, several),
        fitted=fitted,
    )
    evaluation.measure_all(about)
    gap = gap_of(model, test, tower, text, embedded)
    evaluation.tables += zero_shot_tables(classifier, embedded.embeddings, kept.rows, several, tree, rule)
    evaluation.tables += [limit_table(model, test, text, classifier.prompts), *([gap] if gap else [])]
    return evaluation


def _warnings(manifest: Manifest, kept: Manifest, model: AlignmentModel, split: str, tower: str) -> list[str]:
    """What a reader must know of the rows."""
    notes = []
    unsplit = not any(row.split for row in manifest.rows) and protocol_of(model.record, manifest, "all")
    if any(row.split == "train" for row in kept.rows) or (unsplit and "another manifest" not in unsplit):
        notes.append(
            "Rows of split train are among those measured: a model trained on them has seen them, and there is no line "
            "'linear', which learns from them."
        )
    bare = sum(split in ("all", r.split) and tower in r.sources and not r.labels for r in manifest.rows)
    if bare:
        notes.append(f"{bare:,} rows of split {split} have no label, and are left out, as negatives of any label too.")
    if manifest.unnamed:
        notes.append(
            f"{manifest.unnamed:,} rows of the manifest share files, and have no cluster: those of one file are taken "
            "for one recording. Name each row's recording in the column 'cluster'."
        )
    if manifest.official_split or (model.record or {}).get("official_split"):
        notes.append("The data set's official split: groups may cross it, so this is not subject-independent.")
    return notes


def _scores(
    classifier: ZeroShotClassifier, encoded: EncodedRows, kept: Manifest, val: Manifest | None
) -> tuple[Array, Array]:
    """Scores of the rows, and of val (none: no rows)."""
    none = np.zeros((0, len(classifier.labels)))
    return classifier.decision_function(encoded(kept)), classifier.decision_function(encoded(val)) if val else none


def _line(name: str, scores: Array, kept: Manifest, labels: Sequence[str], several: bool, note: str) -> Result:
    return score_result(name, scores, kept.rows, labels, note, auroc=several)


def _own_calibration(classifier: ZeroShotClassifier, several: bool) -> Calibration | None:
    """Probabilities as the classifier makes them; the model's own for raw cosines."""
    if classifier.multi_label == "pairs":
        return Calibration((classifier.probability_scale(),), (0.0,), several=True)
    return own_calibration(classifier.model, several) if several else Calibration((classifier.probability_scale(),))


def _decide(result: Result, held: Array, val: Manifest, labels: Sequence[str]) -> Result:
    """The result with decisions by val's thresholds."""
    assert result.scores is not None
    return replace(result, decided=(result.scores >= thresholds(held, val.rows, labels)).astype(int))
