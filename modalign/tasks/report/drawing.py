"""Charts as small inline SVG, written by hand: no package is needed to read or to make a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.tasks.report.markup import esc

Array = NDArray[Any]
Range = tuple[float, float]

INK, SOFT, LINE, BLUE, RED, ORANGE = "#1c2430", "#556274", "#dde3ea", "#2563aa", "#c0392b", "#a85b00"
COLOURS = (
    "#2563aa", "#d1495b", "#2e8b57", "#8e5ea2", "#c77700", "#16908f", "#7a5c3e", "#c2528b", "#5b6472", "#8a8a00",
)  # fmt: skip


def colour(k: int, count: int) -> str:
    """The k-th of `count` colours: a fixed set for ten, beyond that a turn of the wheel in two lightnesses."""
    if count <= len(COLOURS):
        return COLOURS[k]
    return f"hsl({360 * k / count:.0f} 65% {(38, 52)[k % 2]}%)"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values that cover a range.

    Example:
        >>> ticks(0.0, 1.0)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = min((f * power for f in (1, 2, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


class Chart:
    """A plot of `x` and `y` in data units, drawn into one after another.

    Args:
        x: the range of the horizontal axis.
        y: the range of the vertical axis.
        size: width and height in px at full size; the page scales it.
        margins: left, top, right, bottom, in px.
    """

    def __init__(
        self,
        x: Range,
        y: Range,
        size: tuple[int, int] = (460, 320),
        margins: tuple[int, int, int, int] = (52, 12, 12, 44),
    ) -> None:
        self.x, self.y, self.size, self.margins = x, y, size, margins
        self.parts: list[str] = []

    def px(self, value: float) -> float:
        """Where an x value stands."""
        left, _, right, _ = self.margins
        return left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.size[0] - left - right)

    def py(self, value: float) -> float:
        """Where a y value stands."""
        _, top, _, bottom = self.margins
        return self.size[1] - bottom - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.size[1] - top - bottom)

    def axes(self, x_label: str, y_label: str, x_ticks: Sequence[float] = (), y_ticks: Sequence[float] = ()) -> None:
        """Lines, ticks and words of both axes."""
        bottom, left = self.size[1] - self.margins[3], self.margins[0]
        for value in y_ticks:
            at = self.py(value)
            self.parts.append(f"<path d='M{left} {at:.1f}H{self.size[0] - self.margins[2]}' stroke='{LINE}'/>")
            self.words(left - 6, at + 4, f"{value:g}", "end", 11)
        for value in x_ticks:
            self.words(self.px(value), bottom + 15, f"{value:g}", "middle", 11)
        self.parts.append(f"<path d='M{left} {bottom}H{self.size[0] - self.margins[2]}' stroke='{SOFT}'/>")
        middle = (left + self.size[0] - self.margins[2]) / 2
        if x_label:
            self.words(middle, self.size[1] - 8, x_label, "middle", 12)
        if y_label:
            at = (self.margins[1] + bottom) / 2
            self.parts.append(
                f"<text transform='translate(13 {at:.0f}) rotate(-90)' text-anchor='middle' font-size='12' "
                f"fill='{SOFT}'>{esc(y_label)}</text>"
            )

    def words(self, x: float, y: float, text: str, anchor: str = "start", size: int = 12, fill: str = SOFT) -> None:
        """Text at px, with a white edge so that it is read over dots."""
        self.parts.append(
            f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' fill='{fill}' "
            f"stroke='#fff' stroke-width='3' paint-order='stroke'>{esc(text)}</text>"
        )

    def line(self, points: Array, stroke: str, width: float = 1.5, dash: str = "") -> None:
        """A line through (N, 2) points."""
        path = "L".join(f"{self.px(a):.1f} {self.py(b):.1f}" for a, b in points)
        dashed = f" stroke-dasharray='{dash}'" if dash else ""
        self.parts.append(f"<path d='M{path}' fill='none' stroke='{stroke}' stroke-width='{width}'{dashed}/>")

    def dots(self, points: Array, stroke: str, width: float = 5, opacity: float = 0.65) -> None:
        """(N, 2) points as dots: one path of empty lines with round ends, 15 bytes a dot."""
        path = "".join(f"M{self.px(a):.1f} {self.py(b):.1f}h0" for a, b in points)
        self.parts.append(
            f"<path d='{path}' fill='none' stroke='{stroke}' stroke-width='{width}' stroke-linecap='round' "
            f"stroke-opacity='{opacity}'/>"
        )

    def diamond(self, x: float, y: float, fill: str, size: float = 6) -> None:
        """A marker that is told from dots without its colour."""
        a, b = self.px(x), self.py(y)
        path = f"M{a:.1f} {b - size:.1f}l{size} {size}l{-size} {size}l{-size} {-size}z"
        self.parts.append(f"<path d='{path}' fill='{fill}' stroke='#fff' stroke-width='1.5'/>")

    def steps(self, edges: Array, heights: Array, fill: str, opacity: float = 0.35) -> None:
        """A histogram: B + 1 edges, B heights; filled, with an outline."""
        base = self.py(self.y[0])
        path = f"M{self.px(edges[0]):.1f} {base:.1f}"
        for height, right in zip(heights, edges[1:]):
            path += f"V{self.py(height):.1f}H{self.px(right):.1f}"
        self.parts.append(
            f"<path d='{path}V{base:.1f}z' fill='{fill}' fill-opacity='{opacity}' stroke='{fill}' stroke-width='1.2'/>"
        )

    def svg(self, said: str) -> str:
        """The picture; `said` tells those who cannot see it what it shows."""
        width, height = self.size
        return (
            f"<svg viewBox='0 0 {width} {height}' role='img' aria-label='{esc(said)}' "
            f"style='max-width:{width}px'>{''.join(self.parts)}</svg>"
        )


def padded(values: Array, share: float = 0.05) -> Range:
    """A range around values with a little room, never empty."""
    low, high = float(np.min(values)), float(np.max(values))
    room = (high - low) * share or max(abs(high), 1.0) * share
    return low - room, high + room
