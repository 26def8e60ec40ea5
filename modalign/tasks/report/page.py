"""The page: a section for each evaluation, examples, settings and versions."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from modalign.tasks.evaluation import Array, Evaluation, Result, Table
from modalign.tasks.report.classes import class_section
from modalign.tasks.report.examples import Gallery, gallery_section
from modalign.tasks.report.maps import map_section
from modalign.tasks.report.markup import STYLE, esc, measured, said, scroll, table
from modalign.tasks.report.matrix import confusion_section
from modalign.tasks.report.reliability import reliability_chart
from modalign.tasks.report.scores import distribution_section, margin_chart


def render(
    title: str,
    evaluations: Sequence[Evaluation],
    settings: Sequence[tuple[str, str]] = (),
    *,
    command: str = "",
    recipe: Mapping[str, Any] | None = None,
    projection: str = "pca",
    examples: Gallery | None = None,
) -> str:
    """The whole page. Every string of the user's is escaped, and nothing is loaded from outside.

    Args:
        title: the page's heading.
        evaluations: a section each.
        settings: (what, value) lines at the end.
        command: that made the page again.
        recipe: that the model was trained by.
        projection: of the maps, "pca" or "umap".
        examples: what `gallery` found.

    Raises:
        MissingExtraError: a UMAP map is asked for, and umap-learn is not installed.
    """
    sections = "".join(_section(evaluation, projection, title) for evaluation in evaluations)
    facts = table(["what", "value"], [*settings, *_versions()], "Settings and versions")
    facts = facts.replace("<table>", "<table class='facts'>", 1)
    made = f"<p class='soft'>Made by</p><pre class='command'>{esc(command)}</pre>" if command else ""
    by = f"<details><summary>The recipe</summary><pre>{esc(_yaml(recipe))}</pre></details>" if recipe else ""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{esc(title)}</title><style>{STYLE}</style></head><body><main><h1>{esc(title)}</h1>"
        f"<p class='soft'>Made by modalign on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. "
        "A research tool, no medical device.</p>"
        f"{sections}{gallery_section(examples) if examples else ''}"
        f"<h2>Settings and versions</h2>{facts}{made}{by}</main></body></html>"
    )


def write_report(
    path: Path, title: str, evaluations: Sequence[Evaluation], settings: Sequence[tuple[str, str]] = (), **further: Any
) -> None:
    """Write `render(...)` to a file; takes what `render` takes."""
    page = render(title, evaluations, settings, **further)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _section(evaluation: Evaluation, projection: str, page: str) -> str:
    main = next((r for r in reversed(evaluation.results) if r.scores is not None), None)
    counts = ", ".join(f"{n:,} {what}" for what, n in evaluation.counts().items() if n)
    heading = f"<h2>{esc(evaluation.title)}</h2>" if evaluation.title != page else ""
    notes = "".join(f"<li>{esc(note)}</li>" for note in evaluation.notes)
    return (
        f"{heading}<p class='protocol'>Protocol: {esc(evaluation.protocol)}</p>"
        f"<p class='soft'>{esc(counts)}</p>{_headline(evaluation, main)}{_results(evaluation, main)}"
        + (f"<ul class='soft'>{notes}</ul>" if notes else "")
        + (_figures(evaluation, main) if main is not None and main.scores is not None else "")
        + "".join(_further(further) for further in evaluation.tables)
        + map_section(evaluation, projection)
    )


def _headline(evaluation: Evaluation, main: Result | None) -> str:
    if main is None or math.isnan(main.value):
        return ""
    interval = f", 95 % interval {said(main.interval)}" if main.interval else ""
    others = [f"{r.name} {r.value:.3f}" for r in evaluation.results if r is not main and r.name in _BESIDE]
    beside = f"; beside {', '.join(others)}" if others else ""
    return f"<p class='headline'><b>{main.value:.3f}</b>{esc(evaluation.metric)}{interval}{esc(beside)}</p>"


_BESIDE = ("chance", "untrained", "linear")


def _results(evaluation: Evaluation, main: Result | None) -> str:
    rows = "".join(_line(result, result is main) for result in evaluation.results)
    head = (
        f"<th scope='col'>method</th><th scope='col' class='n'>{esc(evaluation.metric)}</th>"
        "<th scope='col'>95 % interval</th><td></td>"
    )
    return scroll(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>", evaluation.title)


def _line(result: Result, main: bool) -> str:
    return (
        f"<tr{' class=main' if main else ''}><th scope='row'>{esc(result.name)}</th>"
        f"{measured(result.value, result.interval)}<td class='soft'>{esc(result.note)}</td></tr>"
    )


def _figures(evaluation: Evaluation, main: Result) -> str:
    """Whatever is drawn from scores, where there is a column of them for each label: numbers (R2) have none."""
    scores = main.scores
    if evaluation.metric not in ("accuracy", "macro AUROC"):
        return ""
    if scores is None or scores.shape != (len(evaluation.rows), len(evaluation.labels)) or not len(scores):
        return ""
    matrix: Array | None = evaluation.confusion()
    confusion = confusion_section(matrix, evaluation.labels, main.name) if matrix is not None else ""
    charts = reliability_chart(evaluation, main) + ("" if matrix is None else margin_chart(evaluation, scores))
    spread = distribution_section(evaluation, scores) if matrix is None else ""
    return f"{confusion}{class_section(evaluation, main)}{spread}" + (
        f"<h3>Probabilities and scores</h3><div class='charts'>{charts}</div>" if charts else ""
    )


def _further(further: Table) -> str:
    note = f"<p class='soft'>{esc(further.note)}</p>" if further.note else ""
    return f"<h3>{esc(further.title)}</h3>{note}{table(further.columns, further.rows, further.title)}"


def _yaml(recipe: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)).strip()


def _versions() -> list[tuple[str, str]]:
    found = [("python", platform.python_version())]
    for package in ("modalign", "torch", "transformers", "peft", "tsai"):
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
