"""Linear and MLP probes on a manifest's frozen features, beside chance, the untrained encoder and hand features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modalign.align.embed import Advance
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError, RecipeError, suggest
from modalign.tasks.evaluate import MODEL
from modalign.tasks.evaluation import (
    Array,
    Evaluation,
    Result,
    Table,
    chance,
    interval_note,
    protocol_of,
    unit_of_resampling,
)
from modalign.tasks.features import ALIGNED, HAND, TOWER, UNTRAINED, Features, encode_rows, split_rows
from modalign.tasks.probe.fits import PROBES
from modalign.tasks.probe.runs import Key, Runs, Summary, r_squared, run_probes

FRACTIONS = (0.01, 0.1, 1.0)


@dataclass
class ProbeEvaluation(Evaluation):
    """An `Evaluation` with all runs behind its figures.

    Attributes:
        runs: all of them.
    """

    runs: Runs | None = field(default=None, repr=False)

    def save(self, folder: Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write `metrics.json`, `predictions.parquet` (of the last result) and `runs.parquet` (all)."""
        assert self.runs is not None
        super().save(folder, {"probe": summary_rows(self.runs), **(extra or {})})
        self.runs.table().to_parquet(folder / "runs.parquet", index=False)


def summary_rows(runs: Runs) -> list[dict[str, Any]]:
    """The summaries as they stand in JSON."""
    rows = []
    for (features, probe, fraction), s in runs.summaries().items():
        own = [run for run in runs.runs if run.key == s.key]
        rows.append(
            {
                "features": features,
                "probe": probe,
                "fraction": fraction,
                runs.metric: s.value,
                "ci": list(s.interval),
                "seeds": list(s.figures),
                "rows": [run.rows for run in own],
                "strengths": [run.strength for run in own],
            }
        )
    return rows


def with_target(manifest: Manifest, target: str | None) -> tuple[Manifest, Array | None]:
    """The manifest with a column's words in place of the labels, or its numbers as regression targets.

    Args:
        manifest: all rows.
        target: a column; None leaves the labels.

    Returns:
        The manifest, and (N,) numbers (NaN where the cell is empty) if all that stands in the column is numbers.

    Raises:
        ManifestError: no such column, or nothing in it.
    """
    if target is None:
        return manifest, None
    columns = [str(c) for c in manifest.table.columns]
    if target not in columns:
        raise ManifestError(f"{manifest.path}: no column {target!r} to learn; {suggest(target, columns)}")
    cells = manifest.table[target]
    said = ["" if pd.isna(cell) else str(cell).strip() for cell in cells]
    if not any(said):
        raise ManifestError(f"{manifest.path}: the column {target!r} is empty")
    numbers = pd.to_numeric(pd.Series([cell or None for cell in said]), errors="coerce").to_numpy(dtype=np.float64)
    if all(np.isfinite(n) for n, cell in zip(numbers, said) if cell):
        return manifest, numbers
    named = manifest.take(range(len(manifest.rows)))
    named.rows = [replace(row, labels=(cell,) if cell else ()) for row, cell in zip(manifest.rows, said)]
    named.vocabulary = named.labels
    return named, None


def probe_features(
    model: AlignmentModel,
    manifest: Manifest,
    tower: str,
    numbers: Array | None = None,
    kinds: Sequence[str] = (TOWER, ALIGNED),
    untrained: AlignmentModel | None = None,
    advance: Advance | None = None,
) -> tuple[Features, Array | None]:
    """The train and test rows with a target, each encoded once, and their numbers for regression.

    Raises:
        ManifestError: train or test have no such rows.
    """
    place = {row.id: i for i, row in enumerate(manifest.rows)}
    kept = split_rows(
        manifest, tower, ("train", "test"),
        lambda i: bool(np.isfinite(numbers[i])) if numbers is not None else bool(manifest.rows[i].labels),
        "a label" if numbers is None else "a target",
    )  # fmt: skip
    features = encode_rows(model, kept, tower, kinds, untrained, advance)
    return features, None if numbers is None else numbers[[place[row.id] for row in kept.rows]]


def evaluate_probe(
    model: AlignmentModel,
    manifest: Manifest,
    tower: str,
    fractions: Sequence[float] = FRACTIONS,
    *,
    probes: Sequence[str] = ("linear", "mlp"),
    kinds: Sequence[str] = (TOWER, ALIGNED),
    target: str | None = None,
    seeds: int = 3,
    untrained: AlignmentModel | None = None,
    features: tuple[Features, Array | None] | None = None,
    advance: Advance | None = None,
    ran: Advance | None = None,
) -> ProbeEvaluation:
    """Fit probes on frozen features of train rows and measure them on the test rows.

    Args:
        model: the model; its weights stay as they are.
        manifest: all rows, with the splits train and test.
        tower: whose features.
        fractions: shares of the train rows, nested.
        probes: "linear", "mlp"; the first on the first features is the evaluation's own.
        kinds: the "tower"'s pooled features, "aligned" embeddings, or both.
        target: a column to learn in place of the labels: regression if its cells are numbers.
        seeds: subsets of each fraction below 1.
        untrained: the baseline with random encoders, if there is one.
        features: of `probe_features`, where the caller has them.
        advance: for a progress bar, called with the rows encoded.
        ran: likewise, called with 1 for each subset done.

    Raises:
        ManifestError: no labelled rows, or fewer than two labels.
        ModelError: no such tower.
        RecipeError: an option that is not known.
    """
    part = model.tower(tower)
    check_options(fractions, probes)
    manifest, numbers = with_target(manifest, target)
    found, numbers = features or probe_features(model, manifest, tower, numbers, kinds, untrained, advance)
    labels = [str(target)] if numbers is not None else manifest.vocabulary
    if numbers is None and len({label for i in found.split("train") for label in found.rows[i].labels}) < 2:
        raise ManifestError(f"{manifest.path}: the train rows with {tower} have one label; a probe needs two or more")
    runs = run_probes(
        found.values, found.rows, labels, fractions, probes,
        seeds=seeds, numbers=numbers, by_group=not manifest.official_split, advance=ran,
    )  # fmt: skip
    summaries = runs.summaries()
    floor = chance(runs.rows, labels, runs.several) if numbers is None else mean_of_train(found, numbers)
    most = max(fractions)
    results = [floor]
    order = [HAND, *(UNTRAINED + kind for kind in kinds), *reversed(list(kinds))]
    for kind in order:
        for name in reversed(list(probes)):
            if (kind, name, most) in summaries:
                own = kind == kinds[0] and name == probes[0]
                results.append(_result(runs, summaries[kind, name, most], own))
    evaluation = ProbeEvaluation(
        title=f"Probes of {part.modality.name}" + (f" for {target!r}" if target else "") + ", split test",
        protocol=protocol_of(model.record, manifest, "test"),
        metric=runs.metric,
        labels=labels,
        rows=runs.rows,
        results=results,
        notes=_notes(model, manifest, runs, numbers is not None, seeds),
        tables=[fractions_table(runs, summaries, fractions, floor)],
        runs=runs,
    )
    if numbers is None:
        evaluation.measure_all()
    return evaluation


def check_options(fractions: Sequence[float], probes: Sequence[str]) -> None:
    """Refuse what makes no sense.

    Raises:
        RecipeError: names it.
    """
    if not fractions or not all(0 < f <= 1 for f in fractions):
        raise RecipeError(
            f"fractions {','.join(map(str, fractions))!r}: give numbers above 0, to 1, such as 0.01,0.1,1"
        )
    for name in probes:
        if name not in PROBES:
            raise RecipeError(f"no probe {name!r}; {suggest(name, PROBES)}")


def mean_of_train(features: Features, numbers: Array) -> Result:
    """What always saying the train rows' mean comes to."""
    train, test = features.split("train"), features.split("test")
    said = np.full(len(test), numbers[train].mean())
    return Result("mean of train", r_squared(numbers[test], said))


def _result(runs: Runs, summary: Summary, own: bool) -> Result:
    kind, name, fraction = summary.key
    run = next(run for run in runs.runs if run.key == summary.key)
    said = f"{kind} features, {fraction:.0%} of the train rows"
    if runs.numbers is not None:
        said += f", mean absolute error {np.abs(run.scores[:, 0] - runs.numbers).mean():.3g}"
    title = f"{MODEL}: {name}" if own else f"{kind}: {name}"
    return Result(title, summary.value, summary.interval, run.scores if own else None, said)


def fractions_table(runs: Runs, summaries: Mapping[Key, Summary], fractions: Sequence[float], floor: Result) -> Table:
    """Features and probe against fractions."""
    rows: list[list[str | float]] = [["", floor.name, *[f"{floor.value:.3f}"] * len(fractions)]]
    for kind, name in dict.fromkeys(key[:2] for key in summaries):
        cells = [summaries[kind, name, f] for f in fractions]
        rows.append([kind, name, *(f"{s.value:.3f} ({s.interval[0]:.3f} – {s.interval[1]:.3f})" for s in cells)])
    counts = {s.key[2]: s.rows for s in summaries.values()}
    heads = [f"{100 * f:g} %, {counts[f]} rows" for f in fractions]
    return Table(
        f"{runs.metric} by share of the labels",
        ["features", "probe", *heads],
        rows,
        f"Mean over seeds, and the 95 % interval of it over test {unit_of_resampling(runs.rows)[1]}.",
    )


def _notes(model: AlignmentModel, manifest: Manifest, runs: Runs, regression: bool, seeds: int) -> list[str]:
    notes = [
        "Features are standardised by the rows learnt from, and regularisation is chosen by cross-validation within "
        f"them; fractions below 100 % are means over {seeds} nested subsets.",
        interval_note(runs.rows),
    ]
    if not regression and set(manifest.labels) & set((model.record or {}).get("labels", ())):
        notes.append(
            "The encoder was aligned on captions of these classes: the share is of the labels that the probe saw, not "
            "of all that the model saw."
        )
    if manifest.official_split or (model.record or {}).get("official_split"):
        notes.append("The data set's official split: groups may cross it, so this is not subject-independent.")
    return notes
