"""Classification by prompts of a manifest's split, beside chance, the untrained encoder and the linear floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modalign.align.data import AlignmentDataset
from modalign.align.embed import Advance, embed_split
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError
from modalign.tasks.evaluation import (
    Array,
    Evaluation,
    Result,
    chance,
    protocol_of,
    score_result,
    unit_of_resampling,
    unscored_labels,
)
from modalign.tasks.floor import linear_floor
from modalign.tasks.zero_shot import ZeroShotClassifier

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
) -> list[Result]:
    """Results with one prompt a class: the k-th of every class, for every k that all classes have."""
    embedded = embed_split(model, dataset, tower).embeddings
    labels = list(prompts)
    results = []
    for k in range(min(len(sentences) for sentences in prompts.values())):
        one = {label: [sentences[k]] for label, sentences in prompts.items()}
        scores = ZeroShotClassifier(model, tower, labels, None, one, text).decision_function(embedded)
        results.append(score_result(f"prompt {k + 1}", scores, dataset.manifest.rows, labels))
    return results


def baselines(
    manifest: Manifest, test: AlignmentDataset, tower: str, labels: Sequence[str], floor: bool = True
) -> list[Result]:
    """Chance, and logistic regression on hand features where the manifest has labelled train rows."""
    rows = test.manifest.rows
    results = [chance(rows, labels)]
    if floor and manifest.has("train"):
        train = manifest.split("train")
        usable = train.take([i for i, r in enumerate(train.rows) if r.labels and tower in r.sources])
        scores = linear_floor(test.with_manifest(usable), test, tower, labels) if usable.rows else None
        if scores is not None:
            results.append(score_result("linear", scores, rows, labels, "logistic regression on hand features"))
    return results


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
) -> Evaluation:
    """Classify a split by prompts.

    Args:
        model: the model.
        manifest: all rows; `train` rows serve the linear floor.
        tower: which modality to classify.
        split: "test", "val", "train" or "all".
        templates: prompt templates; they win over what the modality knows of a label.
        descriptions: label -> sentences; they win over templates.
        text: the tower for prompts.
        untrained: the baseline with random encoders, if there is one.
        advance: for a progress bar, called with the rows done.

    Raises:
        ManifestError: no labelled rows.
        ModelError: no such tower.
    """
    part = model.tower(tower)
    kept = labelled(manifest, split, tower)
    labels = manifest.vocabulary  # not the split's alone: a class that it happens to lack can still be chosen
    test = dataset_of(model, kept)
    said = descriptions if descriptions is not None else ({} if templates else kept.descriptions)
    results = baselines(manifest, test, tower, labels)
    notes = []
    if untrained is not None:
        scores = score(untrained, dataset_of(untrained, kept), tower, labels, templates, said, text)
        results.insert(
            1, score_result("untrained", scores, kept.rows, labels, "frozen random encoder, trained projection")
        )
    classifier = ZeroShotClassifier(model, tower, labels, templates, said, text)
    embedded = embed_split(model, test, tower, advance=advance).embeddings
    results.append(score_result(MODEL, classifier.decision_function(embedded), kept.rows, labels))
    fewest = min(len(p) for p in classifier.prompts.values())
    if fewest > 1:
        values = [r.value for r in single_prompts(model, test, tower, classifier.prompts, text)]
        notes.append(
            f"With one prompt a class instead of all: worst {min(values):.3f}, mean {sum(values) / len(values):.3f}, "
            f"best {max(values):.3f} of {len(values)}."
        )
    multi = any(len(row.labels) > 1 for row in kept.rows)
    groups = len({row.group for row in kept.rows if row.group})
    notes.insert(
        0,
        f"95 % intervals by bootstrap over {unit_of_resampling(kept.rows)[1]}; {groups or 'unknown'} groups (people).",
    )
    left_out = unscored_labels(kept.rows, labels) if multi else []
    if left_out:
        notes.append(f"Left out of macro AUROC, since all rows have them or none has: {', '.join(left_out)}.")
    if manifest.official_split or (model.record or {}).get("official_split"):
        notes.append("The data set's official split: groups may cross it, so this is not subject-independent.")
    return Evaluation(
        title=f"Classification of {part.modality.name} by prompts, split {split}",
        protocol=protocol_of(model.record, manifest, split),
        metric="macro AUROC" if multi else "accuracy",
        labels=labels,
        rows=kept.rows,
        results=results,
        notes=notes,
        embeddings=embedded,
        classes=classifier.class_embeddings,
        scale=model.temperature().item(),
    )
