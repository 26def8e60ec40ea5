"""An X-ray image as it is looked at: grey, bone bright, its window applied, pixels of their true shape."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from modalign.modalities import drawing
from modalign.modalities.base import Signal

CELLS = 32
"""Of relevance along a side, at most."""


def plot_xray(signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
    """Draw the image; the reader has applied its window, and turned a negative round.

    Args:
        signal: (1, H, W), 0 to 1.
        ax: a matplotlib Axes.
        relevance: (H', W') or (1, H', W') over the same area; drawn in 32 x 32 cells at most.
    """
    image = signal.data[0].detach().float().cpu()
    down, across = signal.meta.get("spacing") or (1.0, 1.0)
    extent = (0.0, image.shape[1] * across / down, float(image.shape[0]), 0.0)
    over = None if relevance is None else drawing.coarse(relevance.reshape(relevance.shape[-2:]), CELLS, CELLS)
    drawing.picture(ax, image, over, extent=extent)
    ax.set_xticks([])
    ax.set_yticks([])
    said = [signal.meta.get("view"), signal.meta.get("laterality")]
    if any(said):
        # In a corner of the film, as a marker lies there.
        ax.text(
            0.02, 0.98, " ".join(filter(None, said)), transform=ax.transAxes, va="top", color="white", fontsize=8,
            bbox={"facecolor": "black", "alpha": 0.5, "edgecolor": "none", "pad": 2},
        )  # fmt: skip
