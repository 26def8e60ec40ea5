"""An evaluation as a table on the terminal, headed by its protocol."""

from __future__ import annotations

import math

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modalign.tasks.evaluation import Evaluation
from modalign.tasks.evaluation import Table as FurtherTable

MOST_ROWS = 30
"""Of a further table on the terminal."""


def print_table(evaluation: Evaluation, console: Console | None = None, further: bool = True) -> None:
    """Print the table, the further ones, and the notes to standard output."""
    console = console or Console()
    counts = ", ".join(f"{n} {what}" for what, n in evaluation.counts().items() if n)
    table = Table(
        title=f"{escape(evaluation.title)}\nprotocol: {escape(evaluation.protocol)} ({counts})",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("method")
    table.add_column(evaluation.metric, justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("")
    for result in evaluation.results:
        interval = f"{result.interval[0]:.3f} - {result.interval[1]:.3f}" if result.interval else ""
        style = "bold" if result is evaluation.main else ""
        table.add_row(escape(result.name), f"{result.value:.3f}", interval, escape(result.note), style=style)
    console.print(table)
    for table_beside in evaluation.tables if further else ():
        print_further(table_beside, console)
    for note in evaluation.notes:
        console.print(f"  {escape(note)}", style="dim")


def print_further(table: FurtherTable, console: Console) -> None:
    """Print a further table and its note; of a long one the first rows."""
    console.print(further_table(table))
    if len(table.rows) > MOST_ROWS:
        console.print(f"  {len(table.rows) - MOST_ROWS:,} rows more in metrics.json and in the report", style="dim")
    if table.note:
        console.print(f"  {escape(table.note)}", style="dim")


def figure(value: str | float) -> str:
    """A cell as it is printed: words as they are, counts whole, other figures to three places."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else "" if math.isnan(value) else f"{value:.3f}"


def table_of(title: str, frame: pd.DataFrame) -> FurtherTable:
    """A data frame as a further table: figures as they are, all else as words."""
    lines = [[v if isinstance(v, float) else str(v) for v in line] for line in frame.astype(object).to_numpy().tolist()]
    return FurtherTable(title, [str(c) for c in frame.columns], lines)


def further_table(table: FurtherTable) -> Table:
    """A further table as rich draws it."""
    made = Table(title=escape(table.title), title_justify="left", title_style="bold")
    for i, column in enumerate(table.columns):
        words = all(isinstance(row[i], str) for row in table.rows)
        made.add_column(escape(column), justify="left" if words else "right")
    for row in table.rows[:MOST_ROWS]:
        made.add_row(*(escape(figure(cell)) for cell in row))
    return made
