"""Pieces of HTML. Whatever a user wrote goes through `esc`; nothing here loads anything from outside."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from modalign.tasks.table import figure as written

STYLE = """
:root { color-scheme: light; --ink: #1c2430; --soft: #556274; --line: #dde3ea; --pale: #f0f3f7; --fill: 37, 99, 170; }
* { box-sizing: border-box; }
html { font-size: 16px; }
body { font: 1rem/1.5 system-ui, "Segoe UI", sans-serif; color: var(--ink); background: #fff; margin: 0; }
main { max-width: 1020px; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .25rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
h3 { font-size: 1.05rem; margin: 2rem 0 .25rem; }
h1, h2, h3, p, li, figcaption, summary, td, th { overflow-wrap: break-word; }
p { margin: .35rem 0; } ul { margin: .5rem 0; padding-left: 1.2rem; }
.protocol { font-weight: 600; color: rgb(var(--fill)); } .soft { color: var(--soft); font-size: .9rem; }
.headline { margin: .75rem 0; } .headline b { font-size: 1.9rem; line-height: 1; margin-right: .35rem; }
.scroll { overflow-x: auto; margin: .75rem 0; } .scroll:focus-visible { outline: 2px solid rgb(var(--fill)); }
table { border-collapse: collapse; } caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { padding: .35rem .75rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: middle; }
tbody th { font-weight: 400; max-width: 22rem; } thead th { vertical-align: bottom; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.main td, tr.main th { font-weight: 600; } tr td.soft { font-weight: 400; min-width: 9rem; }
td.short { white-space: nowrap; }
.facts td { white-space: pre-wrap; overflow-wrap: anywhere; }
.bar { position: relative; width: 200px; margin-top: 2px; height: 14px; background: var(--pale); border-radius: 3px; }
.bar i { position: absolute; top: 0; left: 0; height: 100%; background: rgba(var(--fill), .55); border-radius: 3px; }
.bar b { position: absolute; top: 5px; height: 4px; background: var(--ink); border-radius: 2px; }
.bar u { position: absolute; top: -2px; bottom: -2px; width: 0; border-left: 2px dotted var(--soft); }
.span { color: var(--soft); font-size: .85rem; font-weight: 400; white-space: nowrap; }
.matrix td, .matrix th { border: 1px solid #fff; padding: .3rem .45rem; font-size: .85rem; }
.matrix td { text-align: center; min-width: 2.6rem; font-variant-numeric: tabular-nums; }
.matrix th { font-weight: 500; } .matrix thead th { text-align: center; max-width: 8rem; }
.matrix thead th.up { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .45rem .3rem;
  vertical-align: top; max-width: none; white-space: nowrap; max-height: 12rem; }
.matrix tbody th { text-align: right; max-width: 13rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 1.5rem 2rem; }
.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 220px), 1fr)); gap: 1rem; }
figure { margin: .5rem 0; min-width: 0; } figcaption { font-size: .9rem; color: var(--soft); }
figure > b { display: block; font-size: .95rem; }
svg { display: block; width: 100%; height: auto; } svg text { font-family: system-ui, "Segoe UI", sans-serif; }
img { display: block; max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 4px; }
.key { display: flex; flex-wrap: wrap; gap: .1rem .9rem; list-style: none; padding: 0; font-size: .88rem; }
.key li { max-width: 100%; } .key svg { display: inline-block; width: 14px; height: 14px; margin-right: .3rem;
  vertical-align: -2px; }
pre { background: var(--pale); padding: .75rem 1rem; border-radius: 4px; overflow-x: auto; font-size: .82rem; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
.examples { display: flex; flex-wrap: wrap; gap: 1rem; } .examples figure { width: var(--w); max-width: 100%; }
.examples .scroll { margin: 0 0 .25rem; } .examples img { width: var(--w); }
@media (max-width: 600px) { .examples img { max-width: none; width: min(var(--w), 640px); }
  html { font-size: 15px; } main { margin: 1.25rem auto; padding: 0 .9rem; }
  th, td { padding: .3rem .5rem; } .bar { width: 100px; } }
@media print { * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } html { font-size: 11px; }
  main { max-width: none; margin: 0; padding: 0; } .scroll, pre { overflow: visible; } pre { white-space: pre-wrap; }
  figure, tr, .headline { break-inside: avoid; } h2, h3, h2 + p, h3 + p { break-after: avoid; } .bar { width: 130px; }
  svg, img { max-width: 100% !important; max-height: 22cm; object-fit: contain; }
  th, td { padding: .25rem .4rem; } .matrix td { min-width: 0; }
  .examples { display: block; } .charts { grid-template-columns: 1fr 1fr; }
  .small { grid-template-columns: repeat(3, 1fr); }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""


def esc(text: object) -> str:
    """Text as it stands between tags or in a quoted attribute."""
    return html.escape(str(text), quote=True)


def scroll(inner: str, name: str) -> str:
    """A part that may be wider than the screen: scrolled alone, by the keyboard too."""
    return f"<div class='scroll' role='region' tabindex='0' aria-label='{esc(name)}'>{inner}</div>"


def table(columns: Sequence[str], rows: Sequence[Sequence[str | float]], name: str) -> str:
    """A plain table; figures stand to the right, and the first cell of a row is its header."""
    right = [all(not isinstance(row[i], str) for row in rows) for i in range(len(columns))]
    head = "".join(f"<th scope='col'{' class=n' if n else ''}>{esc(c)}</th>" for c, n in zip(columns, right))
    body = "".join(f"<tr>{''.join(_cell(c, k == 0) for k, c in enumerate(row))}</tr>" for row in rows)
    return scroll(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", name)


def _cell(value: str | float, first: bool) -> str:
    tag = "th scope='row'" if first else "td"
    short = " class=short" if not first and len(str(value)) < 18 else ""
    kind = short if isinstance(value, str) else " class=n"
    return f"<{tag}{kind}>{esc(written(value))}</{tag[:2]}>"


def bar(value: float, interval: tuple[float, float] | None = None, mark: float | None = None) -> str:
    """A bar from 0 to 1 with its interval, and a dotted line at `mark`; the figures stand beside it in words."""
    if not 0 <= value <= 1:  # NaN too
        return ""
    low, high = (min(max(end, 0.0), 1.0) for end in interval or (value, value))  # R2 may be negative
    span = f"<b style='left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%'></b>" if interval else ""
    line = f"<u style='left:{100 * mark:.1f}%'></u>" if mark is not None else ""
    return f"<div class='bar' aria-hidden='true'><i style='width:{100 * value:.1f}%'></i>{span}{line}</div>"


def measured(value: float, interval: tuple[float, float] | None, mark: float | None = None) -> str:
    """Two cells: a figure, and its bar over its interval in words."""
    if math.isnan(value):
        return "<td class='n'>–</td><td></td>"
    words = f"<span class='span'>{said(interval)}</span>" if interval else ""
    return f"<td class='n'>{value:.3f}</td><td>{bar(value, interval, mark)}{words}</td>"


def said(interval: tuple[float, float] | None) -> str:
    """An interval in words."""
    if interval is None or math.isnan(interval[0]):
        return "–"
    return f"{interval[0]:.3f} – {interval[1]:.3f}"


def chart(svg: str, title: str, caption: str = "") -> str:
    """A drawing with its title and what must be said of it (HTML)."""
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure><b>{esc(title)}</b>{svg}{under}</figure>"
