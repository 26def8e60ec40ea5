"""An explanation: relevance in the signal's own units, what it is of, and how it was found."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modalign.errors import MissingExtraError, RecipeError
from modalign.modalities.base import Modality, Signal

CAPTION = "What the score rests on, not what causes the finding."
MOST_ROWS = 5_000_000
LEFT, RIGHT, ABOVE, BELOW, FOOT, LINE = 0.65, 1.15, 0.4, 0.5, 0.25, 0.17
"""Inches about each drawing of a figure, of its foot, and of a line of its legend."""
PICTURES, DATA = (".png", ".svg", ".pdf"), (".npz", ".csv")
"""Suffixes of what is drawn, and of the relevance as numbers."""
LETTERS = 12.5
"""Letters of a legend in an inch."""


@dataclass(frozen=True)
class Part:
    """One window: its main input, what is blank in its place, the relevance of it, and the sizes of its cells.

    The tensors have no batch axis.
    """

    main: Tensor
    blank: Tensor
    relevance: Tensor
    cells: tuple[int, ...]


@dataclass(frozen=True)
class Explanation:
    """Relevance of one item of one tower.

    Attributes:
        tower: the tower's name.
        modality: the tower's.
        signal: what was read.
        relevance: in the signal's own units, as `Modality.plot` draws it: leads and samples, mel bands and seconds,
            pixels, voxels, characters.
        method: its name.
        title: of the method, for a legend.
        target: what is explained.
        value: of the target.
        parts: the windows as the encoder saw them, with their relevance.
        share: in a fused model, how much of the score is this modality's; else None.
        rescore: the score with other main inputs of the windows, for deletion and insertion.
    """

    tower: str
    modality: Modality
    signal: Signal
    relevance: Tensor
    method: str
    title: str
    target: str
    value: float
    parts: list[Part] = field(repr=False)
    rescore: Callable[[Sequence[Tensor]], float] = field(repr=False)
    share: float | None = None

    @property
    def total(self) -> float:
        """The sum of the relevance over all windows, as the encoder saw them."""
        return sum(float(part.relevance.sum()) for part in self.parts)

    def legend(self) -> str:
        """One line: tower, target, its value and the method."""
        share = "" if self.share is None else f", of which {self.share:.3f} by {self.tower}"
        return f"{self.target}: {self.value:.3f}{share}; {self.title}"

    def plot(self, ax: Any) -> None:
        """Draw the signal with its relevance on a matplotlib Axes."""
        self.modality.plot(self.signal, ax, self.relevance)

    def save(self, path: str | Path) -> Path:
        """Write the relevance: .npz (with what it is of), or .csv where it has one or two axes.

        Raises:
            RecipeError: another suffix, or a .csv of more axes.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        values = self.relevance.numpy()
        if path.suffix == ".npz":
            rate = float("nan") if self.signal.rate is None else self.signal.rate
            np.savez_compressed(
                path, relevance=values, rate=np.array(rate), channels=np.array(self.signal.channels),
                tower=np.array(self.tower), method=np.array(self.title), target=np.array(self.target),
                value=np.array(self.value),
            )  # fmt: skip
            return path
        check_suffix(path, DATA)
        if values.ndim > 2 or values.size > MOST_ROWS:
            raise RecipeError(f"{path}: relevance of shape {values.shape} is no table; give a .npz")
        np.savetxt(
            path, np.atleast_2d(values).T, delimiter=",", header=",".join(self._columns()), comments="", fmt="%.6g"
        )
        return path

    def _columns(self) -> list[str]:
        rows = 1 if self.relevance.ndim == 1 else len(self.relevance)
        if rows == len(self.signal.channels):
            return list(self.signal.channels)
        return ["relevance"] if rows == 1 else [f"row {i}" for i in range(rows)]


def check_suffix(path: str | Path, known: Sequence[str]) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises:
        RecipeError: its suffix is none of those known.
    """
    if Path(path).suffix.lower() not in known:
        raise RecipeError(f"{path}: give a file with one of the suffixes {', '.join(known)}")


def draw(explanations: Sequence[Explanation], path: str | Path) -> Path:
    """Draw explanations below each other, each with its legend and its scale of colours.

    Args:
        explanations: one, or the two sides of a pair.
        path: of the picture (.png, .svg, .pdf).

    Raises:
        MissingExtraError: matplotlib is not installed.
        RecipeError: another suffix.
    """
    from modalign.modalities import drawing

    check_suffix(path, PICTURES)

    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a plot", "plot") from error
    sizes = [one.modality.plot_inches(one.signal) for one in explanations]
    legends = [textwrap.wrap(one.legend(), max(30, int(LETTERS * own))) for one, (own, _) in zip(explanations, sizes)]
    heights = [max(tall, 0.8) + ABOVE + LINE * len(lines) + BELOW for (_, tall), lines in zip(sizes, legends)]
    width, height = LEFT + max(own for own, _ in sizes) + RIGHT, sum(heights) + FOOT
    figure = Figure(figsize=(width, height))
    top = height
    for one, (own, _), lines, whole in zip(explanations, sizes, legends, heights):
        figure.text(LEFT / width, (top - 0.12) / height, "\n".join(lines), fontsize=9, va="top", parse_math=False)
        bottom, tall = top - whole + BELOW, whole - ABOVE - BELOW - LINE * len(lines)
        one.plot(figure.add_axes((LEFT / width, bottom / height, own / width, tall / height)))
        place = ((LEFT + own + 0.45) / width, bottom / height, 0.1 / width, min(tall - 0.1, 2.2) / height)
        bar = figure.add_axes(place)
        figure.colorbar(drawing.colour_scale(one.relevance), cax=bar)
        bar.tick_params(labelsize=6)
        bar.set_ylabel("relevance, strongest = 1", fontsize=6)
        top -= whole
    figure.text(LEFT / width, 0.1 / height, CAPTION, fontsize=7, color="0.35")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def cells_of(part: Part) -> list[tuple[tuple[slice, ...], float]]:
    """The cells of a window's main input, each with its relevance, in a fixed order."""
    shape = part.main.shape
    starts = [range(0, n, s) for n, s in zip(shape, part.cells)]
    grids = torch.cartesian_prod(*[torch.tensor(list(r)) for r in starts]).view(-1, len(starts)).tolist()
    boxes = [tuple(slice(a, a + s) for a, s in zip(first, part.cells)) for first in grids]
    return [(box, float(part.relevance[box].sum())) for box in boxes]
