"""A CT as it is looked at: axial slices beside each other through a window, the patient's right on the left."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modalign.modalities import drawing
from modalign.modalities.base import Signal
from modalign.modalities.ct.windows import WINDOWS, apply_window

SLICES = 12
COLUMNS = 4
CELLS = 48
"""Of relevance along a side of a slice, at most."""
HEAD_MM = 320.0
"""No head is wider than this with the air about it in a picture."""
BONE_SHARE = 0.08
"""Share of bone (above 300 HU) in what is no air, beyond which a volume as wide as a head is taken for one."""


def window_of(signal: Signal) -> str:
    """The window that shows most: the brain's for what looks like a head, else soft tissue; "" without HU."""
    if signal.meta.get("unit") == "none":
        return ""
    data = signal.data[0]
    body = data[data > -300]
    bone = float((body > 300).float().mean()) if body.numel() else 0.0
    spacing = signal.meta.get("spacing") or (1.0, 1.0, 1.0)
    return "brain" if bone > BONE_SHARE and data.shape[0] * spacing[0] < HEAD_MM else "chest"


def chosen_slices(count: int, weights: np.ndarray[Any, Any] | None = None) -> list[int]:
    """Which of `count` slices are drawn: of each of 12 equal parts the middle one, or the one that weighs most.

    Example:
        >>> chosen_slices(36)[:3], chosen_slices(3)
        ([1, 4, 7], [0, 1, 2])
    """
    parts = [part for part in np.array_split(np.arange(count), min(SLICES, count)) if len(part)]
    if weights is None:
        return [int(part[(len(part) - 1) // 2]) for part in parts]
    return [int(part[weights[part].argmax()]) for part in parts]


def as_read(volume: Tensor) -> Tensor:
    """(X, Y, Z) towards right, front and head -> (Z, rows, columns): front on top, the patient's right on the left."""
    return volume.flip(0, 1).permute(2, 1, 0)


def plot_ct(signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
    """Draw up to 12 slices from the feet to the head; of each part, the most relevant one where relevance is given.

    Args:
        signal: (1, X, Y, Z) in HU, or without a unit.
        ax: a matplotlib Axes.
        relevance: (X', Y', Z') or (1, X', Y', Z') over the same volume; drawn in 48 x 48 cells a slice at most.
    """
    data = signal.data.detach().float().cpu()
    name = window_of(signal)
    if name:
        shown = as_read(apply_window(data[0], WINDOWS[name]))
    else:
        low, high = float(data.min()), float(data.max())
        shown = as_read((data[0] - low) / ((high - low) or 1.0))
    over, full, weights = None, 1.0, None
    if relevance is not None:
        over = _fitted(as_read(relevance.detach().float().cpu().reshape(relevance.shape[-3:])), len(shown))
        full = drawing.full_scale(over)
        weights = np.abs(over).mean((1, 2))
    chosen = chosen_slices(len(shown), weights)
    across, down, up = signal.meta.get("spacing") or (1.0, 1.0, 1.0)
    width, height = shown.shape[2] * across, shown.shape[1] * down
    gap = 0.02 * width
    columns = min(COLUMNS, len(chosen))
    for k, index in enumerate(chosen):
        row, column = divmod(k, columns)
        left, top = column * (width + gap), row * (height + gap)
        extent = (left, left + width, top + height, top)
        drawing.picture(ax, shown[index], None if over is None else over[index], extent=extent, full=full)
        ax.text(
            left + 0.03 * width, top + 0.03 * height, f"{index + 1}/{len(shown)}", color="#ffe08a", fontsize=7,
            va="top", zorder=3,
        )  # fmt: skip
    middle = height / 2
    ax.text(0.02 * width, middle, "R", color="#ffe08a", fontsize=7, va="center", zorder=3)
    rows = math.ceil(len(chosen) / columns)
    ax.set(xlim=(0, columns * (width + gap) - gap), ylim=(rows * (height + gap) - gap, 0), aspect="equal")
    ax.set_facecolor("black")
    ax.set_xticks([])
    ax.set_yticks([])
    said = f"{name} window, level {WINDOWS[name].level:g}, width {WINDOWS[name].width:g} HU" if name else "no HU"
    if signal.meta.get("spacing"):
        said += f"; slices {up:.3g} mm apart"
    ax.set_xlabel(f"{said}; number 1 is the lowest", fontsize=7)


def _fitted(over: Tensor, slices: int) -> np.ndarray[Any, Any]:
    """One slice of relevance, of few cells, for each of the volume's."""
    if len(over) != slices:
        over = over[((torch.arange(slices) + 0.5) / slices * len(over)).long()]
    return drawing.coarse(over, CELLS, CELLS)
