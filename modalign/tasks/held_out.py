"""Leave classes out: train without them, then ask for all classes, with and without calibrated stacking."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from modalign.align.config import Recipe
from modalign.align.manifest import Manifest
from modalign.align.metrics import macro_auroc
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError, RecipeError, suggest
from modalign.tasks.calibrated import Fold, SeenUnseen, calibrate, choose_gamma, curve, seen_unseen
from modalign.tasks.evaluate import labelled
from modalign.tasks.evaluation import Array, Evaluation, Result, Table, protocol_of, score_result
from modalign.tasks.prompting import Prompting
from modalign.tasks.training import train


@dataclass(frozen=True)
class HeldOut:
    """What a model that never saw some labels says of the test rows of all.

    Attributes:
        left_out: the labels it never saw.
        scores: (N, C) of all test rows.
        gamma: chosen on val by models without other labels; None: not chosen.
    """

    left_out: tuple[str, ...]
    scores: Array
    gamma: float | None = None


def without(manifest: Manifest, labels: Sequence[str]) -> Manifest:
    """The manifest less the train and val rows that have any of these labels: neither recording nor caption is seen."""
    gone = set(labels)
    return manifest.take([i for i, r in enumerate(manifest.rows) if r.split == "test" or not gone & set(r.labels)])


def leave_sets(manifest: Manifest, sets: Sequence[Sequence[str]] = ()) -> list[tuple[str, ...]]:
    """The sets of labels to leave out, checked; each label in turn where none are given.

    Raises:
        RecipeError: a label is not known or stands in two sets, or fewer than two would be left to train on.
    """
    labels = manifest.vocabulary
    found = [tuple(own) for own in sets] or [(label,) for label in labels]
    for label in (label for own in found for label in own):
        if label not in labels:
            raise RecipeError(f"{manifest.path}: no row has the label {label!r} to leave out; {suggest(label, labels)}")
        if sum(label in own for own in found) > 1:
            raise RecipeError(f"the label {label!r} is in two of the sets to leave out; put it in one")
    for own in found:
        if len(labels) - len(set(own)) < 2:
            raise RecipeError(f"without {', '.join(own)} fewer than two labels are left to train on")
    return found


def leave_classes_out(
    recipe: Recipe,
    manifest: Manifest,
    tower: str,
    out: Path,
    sets: Sequence[Sequence[str]] = (),
    *,
    inner: int = 2,
    prompting: Prompting | None = None,
    keep_models: bool = False,
    console: Console | None = None,
) -> Evaluation:
    """Train a model without each set of labels, and ask it for all labels on the test rows.

    The gamma of calibrated stacking for one set is chosen on val rows of the other labels, by `inner` models trained
    without that set and without a further one, whose labels play the unseen ones (2: as many models again as sets).
    No test row, and no row of the label that is left out, is looked at. With several labels a row
    there is no gamma, but AUROC.

    Args:
        recipe: how to train.
        manifest: all rows.
        tower: which modality to classify.
        out: a folder for the runs.
        sets: labels that are left out together; none: each label in turn.
        inner: models for each set's gamma, of which two sets share one; 0: no calibration.
        prompting: how the labels are asked for.
        keep_models: keep the models that lack one set; otherwise every run's folder is removed.
        console: where to print; None: stderr.

    Raises:
        RecipeError, ManifestError: names the place and the mend.
    """
    prompting = prompting or Prompting(text=recipe.text)
    chosen = leave_sets(manifest, sets)
    test = labelled(manifest, "test", tower)
    several = any(len(row.labels) > 1 for row in test.rows)
    val = _usable(manifest, "val", tower)
    records = []

    @cache  # of the scores alone: the models would fill the memory
    def scores_without(labels: frozenset[str], part: str) -> Array:
        names = sorted(labels)
        folder = out / f"without-{_slug(names)}"
        rows = without(manifest, names)
        if not rows.has("train"):
            raise ManifestError(f"{manifest.path}: no train row is left without {', '.join(names)}")
        title = f"without {', '.join(names)}"
        model = train(recipe, rows, folder, untrained=False, title=title, console=console)
        records.append(model.record)
        scores = prompting.scores(model, test if part == "test" else val, tower, manifest.vocabulary)
        shutil.rmtree(folder / "checkpoints" if keep_models and part == "test" else folder)
        return scores

    found = []
    for k, own in enumerate(chosen):
        scores = scores_without(frozenset(own), "test")
        folds = []
        for other in [] if several else _pseudo(chosen, k, manifest, inner):
            if _plays(val, own, other):
                inside = scores_without(frozenset((*own, *other)), "val")
                folds.append(_val_fold(inside, val, manifest.vocabulary, own, other))
        found.append(HeldOut(own, scores, choose_gamma(folds) if folds else None))
    if not any(out.iterdir()):
        out.rmdir()
    people = protocol_of(records[0], manifest, "test").rpartition(", ")[2]
    protocol = f"held-out classes (zero-shot), {people}"
    return held_out_evaluation(found, test, manifest.vocabulary, protocol, several)


def held_out_of(
    model: AlignmentModel,
    manifest: Manifest,
    tower: str,
    split: str = "test",
    *,
    gamma: float | None = None,
    prompting: Prompting | None = None,
) -> Evaluation:
    """Evaluate a model on the labels that its record does not name, beside those that it does.

    Args:
        model: its record says which labels it was trained with.
        manifest: the rows.
        tower: which modality to classify.
        split: "test", "val", "train" or "all".
        gamma: of calibrated stacking, chosen elsewhere; None: none.
        prompting: how the labels are asked for.

    Raises:
        RecipeError: the record names no labels, all of them, or none of them.
    """
    record = model.record or {}
    seen = record.get("labels")
    if seen is None:
        raise RecipeError("the model does not say which labels it was trained with; train it by `modalign train`")
    labels = manifest.vocabulary
    left_out = tuple(label for label in labels if label not in seen)
    if not left_out or len(left_out) == len(labels):
        known = "all" if not left_out else "none"
        raise RecipeError(f"{manifest.path}: the model was trained with {known} of its labels; some must be new to it")
    rows = labelled(manifest, split, tower)
    prompting = prompting or Prompting(text=record.get("text", "text"))
    found = HeldOut(left_out, prompting.scores(model, rows, tower, labels), gamma)
    several = any(len(row.labels) > 1 for row in rows.rows)
    if several and gamma is not None:
        raise RecipeError(f"{manifest.path}: with several labels a row there is no gamma, but AUROC; leave it out")
    return held_out_evaluation([found], rows, labels, protocol_of(record, manifest, split), several)


def held_out_evaluation(
    found: Sequence[HeldOut], test: Manifest, labels: Sequence[str], protocol: str, several: bool
) -> Evaluation:
    """Put the folds together: every row (or label) is scored by the model that never saw it."""
    build = _by_label if several else _by_row
    evaluation = build(found, test, list(labels), protocol)
    evaluation.notes.append("Trained without any row of the labels left out; they are asked for among all labels.")
    return evaluation


def _by_row(found: Sequence[HeldOut], test: Manifest, labels: list[str], protocol: str) -> Evaluation:
    truth = np.array([labels.index(row.labels[0]) for row in test.rows])
    rows: list[list[str | float]] = []
    pooled: list[tuple[Any, Array, Array]] = []
    for own in found:
        seen = np.array([label not in own.left_out for label in labels])
        members = np.flatnonzero(~seen[truth])
        if not len(members) or len(members) == len(truth):
            continue
        plain = seen_unseen(own.scores, truth, seen)
        tuned = seen_unseen(own.scores, truth, seen, own.gamma) if own.gamma is not None else _nothing()
        gamma = float("nan") if own.gamma is None else own.gamma
        area = curve(own.scores, truth, seen).area
        rows.append([", ".join(own.left_out), len(members), *_three(plain), gamma, *_three(tuned), area])
        calibrated = calibrate(own.scores, seen, own.gamma or 0.0)
        pooled += [(test.rows[i], own.scores[i], calibrated[i]) for i in members]
    if not pooled:
        raise ManifestError(f"{test.path}: these rows are not of both labels that were left out and others")
    items = [item for item, _, _ in pooled]
    results = [Result("chance", 1 / len(labels), note="one of all labels at random")]
    results.append(score_result("not calibrated", np.stack([s for _, s, _ in pooled]), items, labels))
    if any(own.gamma is not None for own in found):
        note = "gamma chosen on val, by models without further labels"
        results.append(score_result("calibrated", np.stack([c for _, _, c in pooled]), items, labels, note))
    three = ["unseen", "seen", "harmonic"]
    columns = ["left out", "rows", *three, "gamma", *(f"{name}, cal." for name in three)]
    means = [float(np.nanmean([row[k] for row in rows])) if _any(rows, k) else float("nan") for k in range(2, 10)]
    table = Table(
        "Each set of labels left out",
        [*columns, "AUSUC"],
        [*rows, ["mean", sum(int(row[1]) for row in rows), *means]],
        "unseen, seen: mean recall of the labels left out and of the others, among all labels; harmonic: of the two. "
        "cal.: gamma taken from the scores of seen labels (calibrated stacking). AUSUC: area under unseen by seen over "
        "every gamma.",
    )
    return Evaluation(
        "Labels that training never saw, among all labels", protocol, "accuracy", labels, items, results, [], [table]
    )


def _by_label(found: Sequence[HeldOut], test: Manifest, labels: list[str], protocol: str) -> Evaluation:
    truth = np.array([[label in row.labels for label in labels] for row in test.rows], dtype=int)
    left_out = [label for own in found for label in own.left_out]
    columns = np.array([labels.index(label) for label in left_out])
    scores = np.stack([own.scores[:, labels.index(label)] for own in found for label in own.left_out], axis=1)
    rows: list[list[str | float]] = []
    for own in found:
        parts = [[labels.index(x) for x in own.left_out], [k for k, x in enumerate(labels) if x not in own.left_out]]
        areas = [macro_auroc(truth[:, part], own.scores[:, part])[0] for part in parts]
        rows.append([", ".join(own.left_out), int(truth[:, parts[0]].any(1).sum()), *areas])
    means = [float(np.nanmean([row[k] for row in rows])) for k in (2, 3)]
    table = Table(
        "Each set of labels left out",
        ["left out", "rows with one", "AUROC, left out", "AUROC, the others"],
        [*rows, ["mean", float("nan"), *means]],
    )
    kept = [replace(r, labels=tuple(x for x in r.labels if x in left_out)) for r in test.rows]
    result = score_result("labels never seen", scores, kept, left_out, "each scored by a model without it", auroc=True)
    if np.isnan(macro_auroc(truth[:, columns], scores)[0]):
        raise ManifestError(f"{test.path}: no label that was left out has rows with it and without it")
    results = [Result("chance", 0.5), result]
    return Evaluation("Labels that training never saw", protocol, "macro AUROC", left_out, kept, results, [], [table])


def _pseudo(sets: Sequence[tuple[str, ...]], k: int, manifest: Manifest, inner: int) -> list[tuple[str, ...]]:
    """The sets that play the unseen ones for set k: its neighbours in the ring, so that two sets share a model.

    Where there is one set alone, single labels spread over the rest.
    """
    n = len(sets)
    steps = [step for j in range(1, n // 2 + 1) for step in (j, -j)]
    others = [sets[i] for i in dict.fromkeys((k + step) % n for step in steps)]
    seen = [label for label in manifest.vocabulary if label not in sets[k]]
    if n == 1:
        others = [(seen[i * len(seen) // max(inner, 1)],) for i in range(min(inner, len(seen)))]
    return [own for own in others if len(seen) - len(own) >= 2][:inner]


def _usable(manifest: Manifest, split: str, tower: str) -> Manifest:
    """The rows of a split that have the modality and a label; maybe none."""
    rows = enumerate(manifest.rows)
    return manifest.take([i for i, r in rows if r.split == split and tower in r.sources and r.labels])


def _plays(val: Manifest, left_out: Sequence[str], pseudo: Sequence[str]) -> bool:
    """Whether val has rows of labels that play the unseen ones, and of others that do not."""
    labels = {row.labels[0] for row in val.rows} - set(left_out)
    return bool(labels & set(pseudo)) and bool(labels - set(pseudo))


def _val_fold(
    scores: Array, val: Manifest, labels: Sequence[str], left_out: Sequence[str], pseudo: Sequence[str]
) -> Fold:
    """Val rows and columns of the labels that are not left out, by a model that never saw `pseudo` either."""
    rows = [i for i, row in enumerate(val.rows) if row.labels[0] not in left_out]
    columns = [k for k, label in enumerate(labels) if label not in left_out]
    names = [labels[k] for k in columns]
    truth = np.array([names.index(val.rows[i].labels[0]) for i in rows], dtype=int)
    return Fold(scores[np.ix_(rows, columns)], truth, np.array([name not in pseudo for name in names]))


def _nothing() -> SeenUnseen:
    return SeenUnseen(float("nan"), float("nan"), float("nan"))


def _three(found: SeenUnseen) -> tuple[float, float, float]:
    return found.unseen, found.seen, found.harmonic


def _any(rows: Sequence[Sequence[str | float]], k: int) -> bool:
    return bool(np.isfinite([float(row[k]) for row in rows]).any())


def _slug(labels: Sequence[str]) -> str:
    """A folder's name of labels; where it cannot spell them all, with a hash that tells them from others."""
    said = "-".join(re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") for label in labels)
    if said == "-".join(labels) and len(said) <= 150:
        return said
    return f"{said[:150]}-{hashlib.blake2b(';'.join(labels).encode(), digest_size=4).hexdigest()}".lstrip("-")
