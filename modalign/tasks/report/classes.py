"""Figures of each class as bars with intervals: recall and precision, or areas where rows have several labels."""

from __future__ import annotations

import math
from typing import Any

from modalign.tasks.evaluation import Evaluation, Result
from modalign.tasks.figures import Figure, measure
from modalign.tasks.report.markup import esc, measured, scroll

FEW_DRAWS = 200
"""Where nobody measured the evaluation before."""


def class_section(evaluation: Evaluation, main: Result) -> str:
    """The bars of every class, the lowest first."""
    found = evaluation.measured.get(main.name) or measure(evaluation.predictions_of(main), FEW_DRAWS)
    names = ("AUROC", "AUPRC") if evaluation.multi_label else ("recall", "precision")
    rows = sorted(found.classes, key=lambda row: (math.isnan(row[names[0]].value), row[names[0]].value))
    head = "".join(f"<th scope='col' class='n'>{name}</th><th scope='col'>95 % interval</th>" for name in names)
    body = "".join(_line(row, names, len(evaluation.rows)) for row in rows)
    what = "Dotted: chance." if evaluation.multi_label else "Precision is empty for a class that was never chosen."
    about = f"The lowest first; 95 % intervals by bootstrap over {found.groups:,} {found.unit}. {what}"
    title = f"Each class: {' and '.join(names)}"
    inner = (
        f"<table><thead><tr><th scope='col'>class</th><th scope='col' class='n'>rows</th>{head}</tr>"
        f"</thead><tbody>{body}</tbody></table>"
    )
    return f"<h3>{title}</h3><p class='soft'>{about}</p>{scroll(inner, title)}"


def _line(row: dict[str, Any], names: tuple[str, ...], rows: int) -> str:
    chance = {"AUROC": 0.5, "AUPRC": row["rows"] / max(rows, 1)}
    cells = ""
    for name in names:
        figure: Figure = row[name]
        known = not math.isnan(figure.interval[0])
        cells += measured(figure.value, figure.interval if known else None, chance.get(name))
    return f"<tr><th scope='row'>{esc(row['label'])}</th><td class='n'>{row['rows']:,}</td>{cells}</tr>"
