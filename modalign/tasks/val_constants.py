"""What is fitted on val, and never on the rows that are evaluated: temperatures, logistic curves, thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.align.manifest import Manifest, Row
from modalign.align.metrics import Calibration, fit_logistic, fit_scale
from modalign.align.model import AlignmentModel
from modalign.tasks.predictions import indicator

Array = NDArray[Any]


def val_rows(manifest: Manifest, split: str, tower: str) -> Manifest | None:
    """The labelled val rows with this modality; None where there are none, or val is what is evaluated."""
    if split in ("val", "all"):
        return None
    part = [i for i, r in enumerate(manifest.rows) if r.split == "val" and r.labels and tower in r.sources]
    return manifest.take(part) if part else None


def own_calibration(model: AlignmentModel, several: bool) -> Calibration | None:
    """Probabilities by the model's own temperature; None for several labels a row without a learnt bias.

    Cosines with the prompts of several labels are no probabilities: nothing says which cosine is even odds.
    """
    scale, bias = model.temperature().item(), model.temperature.bias
    if not several:
        return Calibration((scale,))
    return None if bias is None else Calibration((scale,), (bias.item(),), several=True)


def fitted_calibration(
    scores: Array, rows: Sequence[Row], labels: Sequence[str], several: bool
) -> tuple[Calibration | None, str]:
    """A temperature (or, with several labels a row, a logistic curve a label) fitted on val, and what to say of it.

    Args:
        scores: (N, C) of val.
        rows: N val rows.
        labels: C labels.
        several: whether rows may have several labels.
    """
    groups = len({row.group for row in rows if row.group})
    where = f"{len(rows):,} val rows" + (f" of {groups:,} groups" if groups else "")
    truth = indicator([row.labels for row in rows], labels)
    if not several:
        scale = fit_scale(scores, truth)
        if scale is None:
            return None, f"No temperature fits the {where}: all are right, or nearly all wrong."
        return Calibration((scale,)), f"Fitted on {where}."
    curves = [fit_logistic(scores[:, c], truth[:, c]) for c in range(len(labels))]
    without = [label for label, curve in zip(labels, curves) if curve is None]
    if len(without) == len(labels):
        return None, f"Nothing fits the {where}: each label is on all of them or on none."
    said = f"Fitted on {where}."
    if without:
        said += f" Left out, since val has no row with them or none without: {', '.join(without)}."
    pairs = np.array([curve or (np.nan, np.nan) for curve in curves])
    return Calibration(tuple(pairs[:, 0].tolist()), tuple(pairs[:, 1].tolist()), several=True), said


def thresholds(scores: Array, rows: Sequence[Row], labels: Sequence[str]) -> Array:
    """(C,) the threshold of the best F1 of each label on val; infinite where val has no row with it or none without.

    MERL and MoRE take those of the test set, which flatters: such figures would be *transductive*.
    """
    from sklearn.metrics import precision_recall_curve

    truth = indicator([row.labels for row in rows], labels)
    chosen = np.full(len(labels), np.inf)
    for c in range(len(labels)):
        if not 0 < truth[:, c].sum() < len(truth):
            continue
        precision, recall, at = precision_recall_curve(truth[:, c], scores[:, c])
        with np.errstate(invalid="ignore", divide="ignore"):
            f1 = np.nan_to_num(2 * precision * recall / (precision + recall))[:-1]
        best = int(f1.argmax())
        # Half way to the score below: the threshold itself would be one of val's own scores.
        chosen[c] = at[best] if best == 0 else (at[best] + at[best - 1]) / 2
    return chosen
