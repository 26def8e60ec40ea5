"""Cross-validation by group: every person is tested once, by a model that never saw them; for sets of few people."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modalign.align.config import Recipe
from modalign.align.manifest import Manifest, Row
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError, ModelError
from modalign.modalities.registry import get_modality
from modalign.tasks.evaluate import MODEL, evaluate_zero_shot, rows_to_embed
from modalign.tasks.evaluation import (
    Evaluation,
    Table,
    chance,
    few_groups,
    interval_note,
    predictions_file,
    score_result,
)
from modalign.tasks.predictions import from_table, pool
from modalign.tasks.subgroups import subgroups_of
from modalign.tasks.training import train

SETTINGS = "crossval.json"
FEWEST = 3
"""Folds: one to test, one to choose the checkpoint and the temperature, one or more to train."""


def group_folds(rows: Sequence[Row], folds: int, seed: int = 0) -> list[int]:
    """The fold (1 to `folds`) of each row: whole groups, of about equal sizes and mixtures of labels.

    A row without a group goes with its recording; one without that goes by itself.

    Raises:
        ManifestError: fewer than three folds, or fewer groups than folds.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    units = [row.group or row.cluster or row.id for row in rows]
    count = len(set(units))
    if folds < FEWEST:
        raise ManifestError(
            f"--folds {folds}: give 3 or more, for one fold tests, one chooses the checkpoint, and the others train"
        )
    if folds > count:
        raise ManifestError(f"--folds {folds}: there are only {count} groups; give {count} at most")
    classes = [";".join(row.labels) for row in rows]
    splitters: list[Any] = [GroupKFold(folds)]
    if all(len(row.labels) == 1 for row in rows) and count >= 2 * folds:
        splitters.insert(0, StratifiedGroupKFold(folds, shuffle=True, random_state=seed))
    numbers = np.zeros(len(rows), dtype=int)
    for splitter in splitters:
        for k, (_, held) in enumerate(splitter.split(np.zeros(len(rows)), classes, units)):
            numbers[held] = k + 1
        if len(set(numbers)) == folds:  # mixing labels can leave a fold empty where groups are of very unequal sizes
            break
    return [int(n) for n in numbers]


def with_fold(manifest: Manifest, numbers: Sequence[int], test: int, folds: int) -> Manifest:
    """The manifest with one fold for its test split, the fold before it for val, and the others for train."""
    val = (test - 2) % folds + 1
    names = {test: "test", val: "val"}
    fold = manifest.take(range(len(manifest.rows)))
    fold.rows = [replace(row, split=names.get(n, "train")) for row, n in zip(manifest.rows, numbers)]
    return fold


def cross_validate(
    recipe: Recipe,
    manifest: Manifest,
    out: str | Path,
    tower: str,
    folds: int = 5,
    *,
    resume: bool = False,
    by: Sequence[str] = (),
    bar: Callable[[str, int], Any] | None = None,
) -> Evaluation:
    """Train and evaluate one model a fold, and put the scores of all together.

    Every fold is kept in `out/fold-K` when it is done; with `resume`, these are not trained again.

    Args:
        recipe: what to train; the manifest's own split is not used.
        manifest: all rows.
        out: the folder.
        tower: which modality to classify.
        folds: how many, by group; see `group_folds`.
        resume: go on with what `out` holds.
        by: columns of the manifest for subgroups.
        bar: a context manager with the rows embedded, as `modalign.cli._common.bar`.

    Raises:
        ModelError: `out` holds another cross-validation, or one that `resume` is not asked for.
        ManifestError: too few groups, or no labels.
    """
    out = Path(out)
    labelled = manifest.take([i for i, r in enumerate(manifest.rows) if r.labels and tower in r.sources])
    if len(labelled.labels) < 2:
        raise ManifestError(f"{manifest.path}: rows with {tower} and a label have {len(labelled.labels)} labels, not 2")
    subgroups_of(labelled, by)  # a column that is not there is said before hours of training
    manifest = replace(manifest, official_split=False)  # folds are by group, whatever the set's own split does
    numbers = _folds_of_all(manifest, labelled, folds, recipe.seed)
    folder_of = _prepare(out, recipe, manifest, tower, folds, resume)
    shared = recipe.training.model_copy(update={"cache": recipe.training.cache or str(out / "cache")})
    recipe = recipe.model_copy(update={"training": shared})
    for k in range(1, folds + 1):
        if (folder_of(k) / "metrics.json").is_file():
            continue
        _run_fold(recipe, with_fold(manifest, numbers, k, folds), folder_of(k), tower, f"fold {k} of {folds}", bar)
    if recipe.training.cache == str(out / "cache"):
        shutil.rmtree(out / "cache", ignore_errors=True)
    kind = get_modality(recipe.towers[tower].modality or tower)
    return put_together(manifest, [folder_of(k) for k in range(1, folds + 1)], tower, by, named=not kind.private)


def put_together(
    manifest: Manifest, folders: Sequence[Path], tower: str, by: Sequence[str] = (), named: bool = False
) -> Evaluation:
    """One evaluation of the folds' saved predictions.

    Args:
        manifest: all rows.
        folders: of the folds.
        tower: which modality was classified.
        by: columns of the manifest for subgroups.
        named: whether groups may be named in a table; patients are numbered.
    """
    said = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    names = [r["name"] for r in said[0]["results"]]
    methods = [n for n in names if all((folder / _file(n)).is_file() for folder in folders)]
    pooled = {name: pool([from_table(folder / _file(name)) for folder in folders]) for name in methods}
    place = {row.id: i for i, row in enumerate(manifest.rows)}
    main = pooled[MODEL]
    tested = manifest.take([place[i] for i in main.ids])
    rows = tested.rows
    results = [chance(rows, main.labels)]
    for name, predictions in pooled.items():
        note = next(r["note"] for r in said[0]["results"] if r["name"] == name) if name != MODEL else few_groups(rows)
        line = score_result(name, predictions.scores, rows, main.labels, note)
        results.append(replace(line, decided=predictions.decided))
    protocols = list(dict.fromkeys(s["protocol"] for s in said))
    evaluation = Evaluation(
        title=f"Cross-validation of {tower} by prompts, {len(folders)} folds",
        protocol=f"{'; '.join(protocols)}; {len(folders)} folds by group, scores out of fold",
        metric=main.metric,
        labels=main.labels,
        rows=rows,
        results=results,
        notes=[
            interval_note(rows, crossval=True),
            "Every row was scored by a model that was trained without its group. The scores of the folds' models are "
            "put together as they are.",
        ],
        subgroups=subgroups_of(tested, by),
    )
    evaluation.measure_all()
    evaluation.tables.insert(0, fold_table(said, main.metric))
    groups = {row.group for row in rows if row.group}
    if 1 < len(groups) <= MOST_GROUPS:
        evaluation.tables.insert(1, group_table(evaluation, named))
    return evaluation


MOST_GROUPS = 30
"""Groups, up to which each has a line of its own."""


def fold_table(said: Sequence[dict[str, Any]], metric: str) -> Table:
    """Each fold's own figure and calibration, and their mean and standard deviation."""
    columns = ["fold", "rows", "groups", metric, "ECE", "ECE, fitted on val"]
    rows: list[list[str | float]] = []
    for k, one in enumerate(said):
        found = one["methods"][MODEL]
        errors = [found["calibration"].get(key, {}).get("ece") for key in ("own", "fitted")]
        figures = [found["figures"].get(metric, {}).get("value"), *errors]
        counts = one["counts"]
        rows.append(
            [str(k + 1), counts["rows"], counts["groups"], *(float("nan") if f is None else f for f in figures)]
        )
    for name, of in (("mean", np.mean), ("standard deviation", lambda v: np.std(v, ddof=1))):
        means: list[str | float] = []
        for c in range(3, len(columns)):
            known = [float(row[c]) for row in rows[: len(said)] if not np.isnan(float(row[c]))]
            means.append(float(of(known)) if len(known) > 1 else float("nan"))
        rows.append([name, "", "", *means])
    return Table("Folds", columns, rows, "A figure of a fold rests on its own groups alone.")


def group_table(evaluation: Evaluation, named: bool = False) -> Table:
    """Each group's own figure, and their mean with Student's t interval: the spread between people, also of few."""
    from scipy.stats import t

    scores, labels = evaluation.main.scores, evaluation.labels
    assert scores is not None
    auroc = evaluation.metric != "accuracy"
    names = sorted({row.group for row in evaluation.rows if row.group})
    rows: list[list[str | float]] = []
    for k, name in enumerate(names):
        index = [i for i, row in enumerate(evaluation.rows) if row.group == name]
        own = [evaluation.rows[i] for i in index]
        value = score_result("", scores[index], own, labels, auroc=auroc).value
        rows.append([name if named else f"group {k + 1}", len(index), value])
    values = np.array([float(row[2]) for row in rows])
    values = values[~np.isnan(values)]
    note = ""
    if len(values) > 1:
        half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
        rows.append(["mean", "", float(values.mean())])
        note = (
            f"From {values.min():.3f} to {values.max():.3f}, standard deviation {values.std(ddof=1):.3f}. 95 % "
            f"interval of the mean over people, by Student's t with {len(values)} groups: {values.mean() - half:.3f} - "
            f"{values.mean() + half:.3f}."
        )
    return Table("Groups", ["group", "rows", evaluation.metric], rows, note)


def _file(name: str) -> str:
    return predictions_file("" if name == MODEL else name)


def _folds_of_all(manifest: Manifest, labelled: Manifest, folds: int, seed: int) -> list[int]:
    """Folds of the labelled rows, and for other rows that of their group, or any, so that no group crosses folds."""
    units = {row.id: row.group or row.cluster or row.id for row in manifest.rows}
    of = {units[row.id]: n for row, n in zip(labelled.rows, group_folds(labelled.rows, folds, seed))}
    for k in range(1, folds + 1):
        tested = {label for row in labelled.rows if of[units[row.id]] == k for label in row.labels}
        if len(tested) < 2:
            raise ManifestError(
                f"--folds {folds}: the groups of fold {k} have only the label {min(tested)!r}, so nothing is told "
                "apart there; give fewer folds"
            )
    others = sorted({unit for unit in units.values() if unit not in of})
    of |= {unit: k % folds + 1 for k, unit in enumerate(others)}
    return [of[units[row.id]] for row in manifest.rows]


def _prepare(
    out: Path, recipe: Recipe, manifest: Manifest, tower: str, folds: int, resume: bool
) -> Callable[[int], Path]:
    """Make the folder, or check that it holds the same cross-validation."""
    now = {
        "recipe": recipe.model_dump(mode="json"),
        "manifest": manifest.sha256,
        "descriptions": manifest.descriptions,
        "modality": tower,
        "folds": folds,
    }
    path = out / SETTINGS
    if path.is_file():
        before = json.loads(path.read_text())
        if not resume:
            raise ModelError(f"{out}: holds a cross-validation already; pass --resume to go on, or another --out")
        changed = next((key for key in now if before.get(key) != json.loads(json.dumps(now[key]))), None)
        if changed:
            raise ModelError(
                f"{out}: was begun with another {changed}; resume it as it was begun, or give another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now, indent=1))
    return lambda k: out / f"fold-{k}"


def _run_fold(
    recipe: Recipe,
    manifest: Manifest,
    folder: Path,
    tower: str,
    title: str,
    bar: Callable[[str, int], Any] | None,
) -> None:
    """Train, evaluate and save one fold; `metrics.json` is written last, and says that the fold is done."""
    run = folder / "run"
    model = train(recipe, manifest, run, resume=run.exists(), title=title)
    untrained = AlignmentModel.from_pretrained(run / "untrained").to(model.device)

    def evaluate(advance: Any) -> Evaluation:
        return evaluate_zero_shot(model, manifest, tower, text=recipe.text, untrained=untrained, advance=advance)

    if bar is None:
        evaluation = evaluate(None)
    else:
        with bar(f"{title}: embedding", rows_to_embed(manifest, "test", tower, 2)) as advance:
            evaluation = evaluate(advance)
    evaluation.save(folder)
    for heavy in ("checkpoints", "untrained-checkpoints", "cache"):
        shutil.rmtree(run / heavy, ignore_errors=True)
