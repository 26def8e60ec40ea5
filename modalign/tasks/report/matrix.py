"""The confusion matrix: a table of counts for a few classes, a picture and the commonest mistakes for many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.tasks.report.drawing import BLUE, INK, RED
from modalign.tasks.report.markup import chart, esc, scroll, table

Array = NDArray[Any]
FEW, MOST, PAIRS = 15, 120, 12


def confusion_section(matrix: Array, labels: Sequence[str], name: str) -> str:
    """(C, C) counts, rows the truth and columns the prediction, as HTML."""
    head = f"<h3>Confusion matrix: {esc(name)}</h3>"
    if len(labels) <= FEW:
        said = "Rows: the truth. Columns: the prediction. Shade: share of the row. Last: recall."
        return f"{head}<p class='soft'>{said}</p>{_counts(matrix, labels)}"
    picture = _picture(matrix, labels) if len(labels) <= MOST else ""
    left_out = "" if picture else f"<p class='soft'>{len(labels)} classes: too many for a picture.</p>"
    return head + left_out + picture + _mistakes(matrix, labels)


def _shares(matrix: Array) -> Array:
    shares: Array = matrix / matrix.sum(1, keepdims=True).clip(min=1)
    return shares


def _counts(matrix: Array, labels: Sequence[str]) -> str:
    shares = _shares(matrix)
    up = " up" if len(labels) > 6 or max(map(len, labels)) > 16 else ""
    head = "".join(f"<th scope='col' class='c{up}'>{esc(label)}</th>" for label in labels)
    body = ""
    for i, label in enumerate(labels):
        cells = "".join(
            f"<td style='background:rgba(var(--fill),{0.9 * shares[i, j]:.2f});"
            f"color:{'#fff' if shares[i, j] > 0.6 else 'inherit'}' title='{esc(label)} taken for {esc(labels[j])}'>"
            f"{matrix[i, j] or ''}</td>"
            for j in range(len(labels))
        )
        recall = f"{shares[i, i]:.0%}" if matrix[i].sum() else "–"
        body += f"<tr><th scope='row'>{esc(label)}</th>{cells}<td class='n'>{recall}</td></tr>"
    inner = (
        f"<table class='matrix'><thead><tr><td></td>{head}<th scope='col'>recall</th></tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )
    return scroll(inner, "Confusion matrix")


def _picture(matrix: Array, labels: Sequence[str]) -> str:
    """Cells of 13 px, only those that hold something, each with its words for the pointer."""
    shares, count, cell = _shares(matrix), len(labels), 13
    longest = min(max(map(len, labels)), 26)
    left = top = 6.4 * longest + 12
    size = cell * count
    parts = [f"<rect x='{left:.0f}' y='{top:.0f}' width='{size}' height='{size}' fill='#f4f6f9'/>"]
    for k, label in enumerate(labels):
        words = f"font-size='11' fill='{INK}'>{esc(label if len(label) <= 26 else f'{label[:25]}…')}</text>"
        at = (k + 0.5) * cell + 3.5
        parts.append(
            f"<text x='{left - 5:.0f}' y='{top + at:.1f}' text-anchor='end' {words}"
            f"<text transform='translate({left + at:.1f} {top - 5:.0f}) rotate(-90)' {words}"
        )
        if k % 5 == 0 and k:
            line = f"{left:.0f} {top + k * cell:.0f}h{size}M{left + k * cell:.0f} {top:.0f}v{size}"
            parts.append(f"<path d='M{line}' stroke='#fff' stroke-width='1'/>")
    for i, j in zip(*np.nonzero(matrix)):
        words = f"{labels[i]} taken for {labels[j]}: {matrix[i, j]} ({shares[i, j]:.0%})"
        parts.append(
            f"<rect x='{left + j * cell:.0f}' y='{top + i * cell:.0f}' width='{cell - 1}' height='{cell - 1}' "
            f"fill='{BLUE if i == j else RED}' fill-opacity='{0.25 + 0.75 * shares[i, j]:.2f}'>"
            f"<title>{esc(words)}</title></rect>"
        )
    width, height = left + size + 6, top + size + 6
    svg = (
        f"<svg viewBox='0 0 {width:.0f} {height:.0f}' role='img' style='width:{width:.0f}px;max-width:none' "
        f"aria-label='Confusion matrix of {count} classes; the commonest mistakes are in the table below'>"
        f"{''.join(parts)}</svg>"
    )
    legend = (
        f"Rows: the truth. Columns: the prediction. Shade: share of the row; <span style='color:{BLUE}'>blue</span> "
        "where both agree, <span style='color:#c0392b'>red</span> where they do not."
    )
    return f"<p class='soft'>{legend}</p>" + scroll(chart(svg, ""), "Confusion matrix")


def _mistakes(matrix: Array, labels: Sequence[str]) -> str:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(k), len(labels)) for k in order]
    rows = [
        (labels[i], labels[j], int(wrong[i, j]), f"{wrong[i, j] / matrix[i].sum():.0%}")
        for i, j in pairs
        if wrong[i, j]
    ]
    if not rows:
        return "<p class='soft'>No row was taken for another class.</p>"
    head = ["truth", "taken for", "rows", "share of the truth"]
    return "<h3>The commonest mistakes</h3>" + table(head, rows, "The commonest mistakes")
