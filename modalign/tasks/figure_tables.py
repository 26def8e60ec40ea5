"""The figures of an evaluation as tables: beside chance and the baselines, by class, by calibration, by subgroup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modalign.tasks.figures import Figure, Measured
from modalign.tasks.predictions import FEW_GROUPS
from modalign.tasks.results import Table

NONE = float("nan")


def figures_table(name: str, measured: Mapping[str, Measured], chance: Mapping[str, float], several: bool) -> Table:
    """Every figure of the method `name`, the same of the others, and chance."""
    main = measured[name]
    others = [other for other in reversed(list(measured)) if other != name]
    rows: list[list[str | float]] = []
    for figure, found in main.figures.items():
        beside = [measured[o].figures[figure].value if figure in measured[o].figures else NONE for o in others]
        shown = "exact match" if several and figure == "accuracy" else figure
        rows.append([shown, found.value, between(found), *beside, chance[figure]])
    note = f"Intervals: bootstrap over {main.groups:,} {main.unit}."
    if main.unscored:
        note += f" Left out of AUROC and AUPRC, since all rows have them or none has: {', '.join(main.unscored)}."
    absent = [row["label"] for row in main.classes if not row["rows"]]
    if absent and "macro F1" in main.figures:
        note += f" Left out of balanced accuracy and F1, since no row has them: {', '.join(absent)}."
    if several and "macro F1" in main.figures:
        note += " Thresholds: those of the best F1 of each label on val."
    if several and "macro F1" not in main.figures:
        note += " No thresholds without labelled val rows, so nothing is decided, and accuracy and F1 are not given."
    return Table("Figures", ["figure", name, "95 % interval", *others, "chance"], rows, note)


def class_table(measured: Measured, several: bool) -> Table:
    """A row for each label, the lowest recall (or AUROC) first."""
    decided = "macro F1" in measured.figures
    first = "AUROC" if several or not decided else "recall"
    ordered = sorted(measured.classes, key=lambda row: (np.isnan(row[first].value), row[first].value))
    named = ["precision", "recall", "F1"] if decided else []
    rows = [
        [
            row["label"],
            row["rows"],
            *(row[name].value for name in named),
            row["AUROC"].value,
            between(row["AUROC"]),
            row["AUPRC"].value,
        ]
        for row in ordered
    ]
    columns = ["class", "rows", *named, "AUROC", "95 % interval", "AUPRC"]
    return Table("Classes", columns, rows, f"AUROC and AUPRC: each class against the others. The lowest {first} first.")


def calibration_table(measured: Measured, several: bool, note: str = "") -> Table | None:
    """ECE, Brier score and log loss before and after fitting on val; None without probabilities."""
    names = {"own": "the model's own", "fitted": "fitted on val"}
    rows: list[list[str | float]] = []
    for key, found in measured.calibration.items():
        scale = found["scale"][0] if len(set(found["scale"])) == 1 else NONE
        rows.append([names[key], scale, found["ece"], found["ece equal mass"], found["brier"], found["log loss"]])
    if not rows:
        return None
    what = "every label of every row; fitted: a logistic curve a label" if several else "the chosen class"
    if "own" not in measured.calibration:
        note = f"The model's own temperature makes no probabilities of several labels. {note}"
    columns = ["temperature", "scale", "ECE", "ECE, equal mass", "Brier", "log loss"]
    return Table("Calibration", columns, rows, f"15 bins; of {what}. Scale: 1 / temperature. {note}".strip())


def subgroup_tables(measured: Measured) -> list[Table]:
    """A table for each column of --by, with the gap between its best and its worst subgroup."""
    tables = []
    for column, found in measured.subgroups.items():
        metric, gap = found["metric"], found["gap"]
        rows: list[list[str | float]] = [
            [row["name"], row["rows"], row["groups"] or "", row[metric].value, between(row[metric])]
            for row in found["subgroups"]
        ]
        notes = []
        if gap:
            difference: Figure = gap["difference"]
            rows.append([f"gap: {gap['best']} less {gap['worst']}", "", "", difference.value, between(difference)])
            over = "" if metric == "accuracy" else ", over the labels that both can be scored by"
            notes.append(f"Gap: the best less the worst{over}; with many subgroups some of it is chance.")
        few = [row["name"] for row in found["subgroups"] if 0 < row["groups"] < FEW_GROUPS]
        if few:
            notes.append(f"Under {FEW_GROUPS} groups, so the interval is too narrow: {', '.join(few)}.")
        tables.append(Table(f"By {column}", [column, "rows", "groups", metric, "95 % interval"], rows, " ".join(notes)))
    return tables


def gap_table(figures: Mapping[str, float], tower: str, text: str, pairs: int, derived: bool) -> Table:
    """How far apart the modality and its captions lie."""
    rows: Sequence[Sequence[str | float]] = [
        [name.replace("the first", tower).replace("the second", text), value] for name, value in figures.items()
    ]
    note = f"{pairs:,} rows of {tower} with their captions"
    note += ", which are made from labels." if derived else "."
    note += " Separability 0.5: no plane tells the modalities apart; 1: one does."
    return Table("Gap between the modalities", ["figure", "value"], rows, note)


def between(figure: Figure) -> str:
    """An interval in words; empty where there is none."""
    low, high = figure.interval
    dash = "to" if low < 0 else "-"
    return "" if np.isnan(low) else f"{low:.3f} {dash} {high:.3f}"
