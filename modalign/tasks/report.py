"""`report.html`: one self-contained file that says what was measured, on whom, and beside what."""

from __future__ import annotations

import html
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from modalign.tasks.evaluation import Array, Evaluation, Result, Table
from modalign.tasks.table import figure

STYLE = """
:root { color-scheme: light; --ink: #1c2430; --soft: #5d6b7e; --line: #dde3ea; --fill: 37, 99, 170; }
body { font: 16px/1.5 system-ui, "Segoe UI", sans-serif; color: var(--ink); max-width: 960px; margin: 2.5rem auto;
  padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.25rem 0 .5rem; }
.protocol { font-weight: 600; color: rgb(var(--fill)); margin: 0; } .soft { color: var(--soft); font-size: .9rem; }
table { border-collapse: collapse; margin: .75rem 0; } .scroll { overflow-x: auto; }
th, td { padding: .35rem .75rem; text-align: left; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.main td { font-weight: 600; }
.bar { position: relative; width: 260px; height: 14px; background: #f0f3f7; border-radius: 3px; }
.bar i { position: absolute; top: 0; left: 0; height: 100%; background: rgba(var(--fill), .55); border-radius: 3px; }
.bar b { position: absolute; top: 5px; height: 4px; background: var(--ink); border-radius: 2px; }
.matrix td, .matrix th { border: 1px solid #fff; padding: .3rem .5rem; font-size: .85rem; }
.matrix td { text-align: center; min-width: 3rem; font-variant-numeric: tabular-nums; }
.matrix th { font-weight: 500; } .matrix thead th { max-width: 9rem; vertical-align: bottom; text-align: center; }
.matrix tbody th { text-align: right; max-width: 14rem; }
"""


def render(title: str, evaluations: Sequence[Evaluation], settings: Sequence[tuple[str, str]] = ()) -> str:
    """The whole page. Every string of the user's is escaped, and nothing is loaded from outside.

    Args:
        title: the page's heading.
        evaluations: a section each.
        settings: (what, value) lines at the end, such as the recipe.
    """
    sections = "".join(_section(evaluation) for evaluation in evaluations)
    facts = "".join(f"<tr><td>{_e(k)}</td><td>{_e(v)}</td></tr>" for k, v in [*settings, *_versions()])
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{_e(title)}</title><style>{STYLE}</style></head><body><h1>{_e(title)}</h1>"
        f"<p class='soft'>Made by modalign on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. "
        "A research tool, no medical device.</p>"
        f"{sections}<h2>Settings and versions</h2><div class='scroll'><table>{facts}</table></div></body></html>"
    )


def write_report(
    path: Path, title: str, evaluations: Sequence[Evaluation], settings: Sequence[tuple[str, str]] = ()
) -> None:
    """Write `render(...)` to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(title, evaluations, settings), encoding="utf-8")


def _section(evaluation: Evaluation) -> str:
    counts = evaluation.counts()
    said = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    notes = "".join(f"<li>{_e(note)}</li>" for note in evaluation.notes)
    rows = "".join(_line(result, result is evaluation.main) for result in evaluation.results)
    matrix = evaluation.confusion()
    return (
        f"<h2>{_e(evaluation.title)}</h2><p class='protocol'>Protocol: {_e(evaluation.protocol)}</p>"
        f"<p class='soft'>{_e(said)}</p><div class='scroll'><table><thead><tr><th>method</th>"
        f"<th class='n'>{_e(evaluation.metric)}</th><th class='n'>95 % interval</th><th></th><th></th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
        + (f"<ul class='soft'>{notes}</ul>" if notes else "")
        + (_matrix(matrix, evaluation.labels, evaluation.main.name) if matrix is not None else "")
        + "".join(_further(table) for table in evaluation.tables)
    )


def _further(table: Table) -> str:
    head = "".join(f"<th>{_e(column)}</th>" for column in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td{'' if isinstance(c, str) else ' class=n'}>{_e(figure(c))}</td>" for c in row) + "</tr>"
        for row in table.rows
    )
    note = f"<p class='soft'>{_e(table.note)}</p>" if table.note else ""
    return (
        f"<h3>{_e(table.title)}</h3>{note}<div class='scroll'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _line(result: Result, main: bool) -> str:
    low, high = result.interval or (result.value, result.value)
    said = f"{low:.3f} – {high:.3f}" if result.interval else "–"
    bar = (
        f"<div class='bar'><i style='width:{100 * result.value:.1f}%'></i>"
        f"<b style='left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%'></b></div>"
    )
    return (
        f"<tr{' class=main' if main else ''}><td>{_e(result.name)}</td><td class='n'>{result.value:.3f}</td>"
        f"<td class='n'>{said}</td><td>{bar}</td><td class='soft'>{_e(result.note)}</td></tr>"
    )


def _matrix(matrix: Array, labels: Sequence[str], name: str) -> str:
    totals = matrix.sum(1, keepdims=True).clip(min=1)
    shares = matrix / totals
    head = "".join(f"<th scope='col'>{_e(label)}</th>" for label in labels)
    body = ""
    for i, label in enumerate(labels):
        cells = "".join(
            f"<td style='background:rgba(var(--fill),{0.9 * shares[i, j]:.3f});"
            f"color:{'#fff' if shares[i, j] > 0.55 else 'inherit'}' title='{_e(label)} taken for {_e(labels[j])}'>"
            f"{matrix[i, j] or ''}</td>"
            for j in range(len(labels))
        )
        body += f"<tr><th scope='row'>{_e(label)}</th>{cells}<td class='n'>{shares[i, i]:.0%}</td></tr>"
    return (
        f"<h3>Confusion matrix: {_e(name)}</h3><p class='soft'>Rows: the truth. Columns: the prediction. "
        f"Shade: share of the row. Last: recall.</p><div class='scroll'><table class='matrix'>"
        f"<thead><tr><th></th>{head}<th>recall</th></tr></thead><tbody>{body}</tbody></table></div>"
    )


def _versions() -> list[tuple[str, str]]:
    found = [("python", platform.python_version())]
    for package in ("modalign", "torch", "transformers", "peft", "tsai"):
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found


def _e(text: str) -> str:
    return html.escape(str(text), quote=True)
