"""An evaluation as a table on the terminal, headed by its protocol."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modalign.tasks.evaluation import Evaluation


def print_table(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print the table and its notes to standard output."""
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
    for note in evaluation.notes:
        console.print(f"  {escape(note)}", style="dim")
