"""Whether one model beats another on the same rows: paired differences, intervals and permutation tests by group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.align.metrics import balanced_accuracy, cluster_draws, count, macro_f1, percentile_interval, units_of
from modalign.align.metrics.classification import Counts, accuracy
from modalign.align.metrics.significance import Permutation, group_swaps, permutation_p, swapped_areas
from modalign.errors import ManifestError
from modalign.tasks.figure_tables import between
from modalign.tasks.figures import Figure, Part, plain
from modalign.tasks.predictions import Predictions
from modalign.tasks.results import Table

Array = NDArray[Any]
SWAPS = 10_000
AREA_SWAPS = 1000
"""Fewer for areas, since each swap ranks the scores anew."""
DECIDED = ("accuracy", "balanced accuracy", "macro F1")


@dataclass(frozen=True)
class Compared:
    """One figure of two models: both values, the difference with its interval, and the test."""

    a: float
    b: float
    difference: Figure
    test: Permutation

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "a": plain(self.a),
            "b": plain(self.b),
            "difference": self.difference.as_dict(),
            "p": plain(self.test.p),
            "exact": self.test.exact,
            "swapped": self.test.groups,
        }


def compare(
    a: Predictions,
    b: Predictions,
    swaps: int = SWAPS,
    area_swaps: int = AREA_SWAPS,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Compared]:
    """Compare two models on the same rows, figure by figure.

    Intervals of the difference resample what intervals always do (`Predictions.units`), the same rows for both models.
    The test swaps the two models' outputs for whole groups (people; recordings where no group is named; else rows),
    all 2^groups ways where there are few.

    Args:
        a: of the first model.
        b: of the second.
        swaps: random swaps where all would be more.
        area_swaps: the same, for AUROC and AUPRC.
        seed: of resampling and swaps.
        advance: called with the classes done, for a progress bar.

    Raises:
        ManifestError: the two are not of the same rows.
    """
    b = same_rows(a, b)
    keys, _ = a.units()
    unit, units = units_of(keys)
    weights = cluster_draws(units, seed=seed)
    first, second = (Part(p, np.arange(len(keys)), unit, weights) for p in (a, b))
    ours, theirs = first.draws(), second.draws()
    group, groups = units_of(swapped_units(a))
    kept, exact = group_swaps(groups, swaps, seed)
    few, few_exact = group_swaps(groups, area_swaps, seed)
    differences = dict(
        zip(("macro AUROC", "macro AUPRC"), swapped_areas(a.indicator(), a.scores, b.scores, group, few))
    )
    decided = [p.decisions() for p in (a, b)]
    if decided[0] is not None and decided[1] is not None:
        counts = [count(a.indicator(), d, group, groups) for d in decided if d is not None]
        differences |= _decided_differences(counts[0], counts[1], kept, a.several)
    compared = {}
    for name in ours:
        if name not in theirs:
            continue
        (value_a, drawn_a), (value_b, drawn_b) = ours[name], theirs[name]
        gain = Figure(value_a - value_b, percentile_interval(drawn_a - drawn_b))
        all_of_them = exact if name in DECIDED else few_exact
        p = permutation_p(gain.value, differences[name], all_of_them)
        compared[name] = Compared(value_a, value_b, gain, Permutation(gain.value, p, all_of_them, groups))
    return compared


def same_rows(a: Predictions, b: Predictions) -> Predictions:
    """`b` in the order of `a`'s rows and labels.

    Raises:
        ManifestError: rows, labels or truths differ; says how.
    """
    place = {i: k for k, i in enumerate(b.ids)}
    lacking = [i for i in a.ids if i not in place]
    if lacking or len(a.ids) != len(b.ids) or len(place) != len(b.ids):
        raise ManifestError(
            f"the two predictions are not of the same rows: {len(a.ids):,} and {len(b.ids):,}, of which "
            f"{len(a.ids) - len(lacking):,} are in both; evaluate both models on the same manifest and split"
        )
    if set(a.labels) != set(b.labels):
        odd = sorted(set(a.labels) ^ set(b.labels))[0]
        raise ManifestError(f"the label {odd!r} has scores in only one of the two; evaluate both with the same labels")
    order = [place[i] for i in a.ids]
    wrong = next((i for i, k, own in zip(a.ids, order, a.truth) if set(b.truth[k]) != set(own)), None)
    if wrong is not None:
        raise ManifestError(f"the row {wrong!r} has other labels in the second than in the first")
    columns = [b.labels.index(label) for label in a.labels]
    return replace(
        b,
        ids=list(a.ids),
        groups=list(a.groups),
        clusters=list(a.clusters),
        truth=list(a.truth),
        labels=list(a.labels),
        scores=b.scores[order][:, columns],
        decided=None if b.decided is None else b.decided[order][:, columns],
        subgroups={},
    )


def swapped_units(predictions: Predictions) -> list[str]:
    """What a test swaps whole: groups where any is named, else clusters, else rows."""
    return [g or c or i for g, c, i in zip(predictions.groups, predictions.clusters, predictions.ids)]


def _decided_differences(a: Counts, b: Counts, kept: Array, several: bool) -> dict[str, Array]:
    """Differences of the figures of decisions under each swap of groups: counts add up, so they are swapped."""
    mine, other = a.weighted(kept), b.weighted(1 - kept)
    first = Counts(*(x + y for x, y in zip(mine, other)))
    mine, other = b.weighted(kept), a.weighted(1 - kept)
    second = Counts(*(x + y for x, y in zip(mine, other)))
    return {
        "accuracy": accuracy(first) - accuracy(second),
        "balanced accuracy": balanced_accuracy(first, several) - balanced_accuracy(second, several),
        "macro F1": macro_f1(first) - macro_f1(second),
    }


def comparison_table(compared: dict[str, Compared], a: str, b: str, predictions: Predictions) -> Table:
    """The comparison of models called `a` and `b` as a table."""
    rows: list[list[str | float]] = []
    for name, found in compared.items():
        shown = "exact match" if predictions.several and name == "accuracy" else name
        rows.append([shown, found.a, found.b, found.difference.value, between(found.difference), found.test.p])
    test = next(iter(compared.values())).test
    what = "groups" if any(predictions.groups) else "recordings" if any(predictions.clusters) else "rows"
    note = (
        f"Differences: {a} less {b}; intervals by bootstrap over {predictions.units()[1]}. p: two-sided, by swapping "
    )
    note += f"{test.groups:,} {what}{', all ways' if test.exact else ''}; AUROC and AUPRC by ranks."
    if test.least > 0.05:
        note += f" With {test.groups} {what} no p can be below {test.least:.3g}."
    return Table(f"{a} and {b}", ["figure", a, b, "difference", "95 % interval", "p"], rows, note)
