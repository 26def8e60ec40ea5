"""A text as it is read, wrapped, with relevance as colour behind its characters."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from torch import Tensor

from modalign.modalities import drawing
from modalign.modalities.base import Signal

POINTS = 10
"""Size of the letters."""
ADVANCE = 0.602
"""Width of a letter of DejaVu Sans Mono, which comes with matplotlib, as a share of its size."""
LEADING = 1.9


def lines_of(text: str, columns: int) -> list[tuple[int, str]]:
    """The lines of a text wrapped at so many letters, each with the place of its first letter.

    Example:
        >>> lines_of("a low tone", 6)
        [(0, 'a low'), (6, 'tone')]
    """
    lines, place = [], 0
    for line in textwrap.wrap(text, columns, break_on_hyphens=False):
        place = text.index(line, place)
        lines.append((place, line))
        place += len(line)
    return lines


def text_inches(signal: Signal) -> tuple[float, float]:
    """Width and height of a drawing that holds the whole text."""
    width = 7.0
    rows = len(lines_of(signal.meta["text"], _columns(width)))
    return width, 0.4 + (rows + 0.5) * POINTS * LEADING / 72


def plot_text(signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
    """Draw the text of `signal.meta["text"]`.

    Args:
        signal: its data is empty.
        ax: a matplotlib Axes; letters keep their size, and lines that do not fit are left out, which is said.
        relevance: a value a character of the text.

    Raises:
        ValueError: another number of values than characters.
    """
    text = str(signal.meta["text"])
    if relevance is not None and relevance.shape != (len(text),):
        raise ValueError(f"relevance of shape {tuple(relevance.shape)} does not fit a text of {len(text)} characters")
    box = ax.get_window_extent()
    dpi = ax.figure.dpi
    columns = _columns(box.width / dpi)
    lines = lines_of(text, columns)
    fit = max(1, int(box.height / dpi * 72 / (POINTS * LEADING)))
    if len(lines) > fit:
        left_out = len(lines) - fit + 1
        lines = [*lines[: fit - 1], (len(text), f"... {left_out} more lines")]
    ax.set(xlim=(0, columns), ylim=(max(fit, 1), 0))
    ax.set_axis_off()
    painted = None if relevance is None else drawing.colours(relevance)
    for row, (place, line) in enumerate(lines):
        if painted is not None and place < len(text):
            strip = painted[place : place + len(line)][None]
            drawing.shade(ax, strip, (0, len(line), row + 0.92, row + 0.08))
        for k, letter in enumerate(line):
            if letter != " ":
                ax.text(
                    k + 0.5, row + 0.5, letter, ha="center", va="center", fontsize=POINTS, family="DejaVu Sans Mono",
                    parse_math=False, clip_on=True,
                )  # fmt: skip


def _columns(inches: float) -> int:
    return max(8, int(np.floor(inches * 72 / (POINTS * ADVANCE * 1.02))))
