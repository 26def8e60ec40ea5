"""What drawings of signals share: relevance as colour, traces over seconds, and only matplotlib, imported when used.

One scale of colours for all: what speaks for the target goes from clear over amber to red, what speaks against it to
blue. Under it, pictures and paper are grey, so that colour says one thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modalign.errors import MissingExtraError

if TYPE_CHECKING:
    from modalign.modalities.base import Signal

Array = NDArray[Any]
FULL = 99.8
"""Percentile of the absolute relevance that has the full colour: gradients have spikes, beside which all else is 0."""
MOST_TRACES = 16
PIXELS = 2000
"""Columns beyond which a trace is drawn by its lowest and highest value in each."""
STOPS = ((0.0, (1.0, 0.78, 0.25, 0.0)), (0.5, (1.0, 0.55, 0.1, 0.45)), (1.0, (0.85, 0.05, 0.0, 0.75)))
AGAINST = ((0.0, (0.5, 0.75, 1.0, 0.0)), (0.5, (0.25, 0.5, 1.0, 0.45)), (1.0, (0.0, 0.1, 0.8, 0.75)))
"""Share of the full colour -> red, green, blue, opacity."""


def matplotlib_module(name: str) -> Any:
    """A module of matplotlib.

    Raises:
        MissingExtraError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(f"matplotlib.{name}")
    except ImportError as error:
        raise MissingExtraError("a plot", "plot") from error


def full_scale(relevance: Tensor | Array) -> float:
    """The absolute relevance that is drawn in full colour; 1 where all is 0."""
    values = np.abs(np.asarray(relevance, dtype=np.float64))
    if not values.size:
        return 1.0
    return float(np.percentile(values, FULL)) or float(values.max()) or 1.0


def colours(relevance: Tensor | Array, full: float | None = None) -> Array:
    """Relevance of any shape -> (..., 4) red, green, blue and opacity.

    Args:
        relevance: of any sign.
        full: what has the full colour; None takes `full_scale`.

    Example:
        >>> colours(torch.tensor([0.0, 1.0]))[:, 3].tolist()
        [0.0, 0.75]
    """
    values = np.asarray(relevance, dtype=np.float64)
    share = np.clip(values / (full or full_scale(values)), -1, 1)
    painted = np.empty((*values.shape, 4))
    for sign, stops in ((1, STOPS), (-1, AGAINST)):
        side = share >= 0 if sign > 0 else share < 0
        at = [stop for stop, _ in stops]
        for band in range(4):
            painted[..., band][side] = np.interp(np.abs(share[side]), at, [colour[band] for _, colour in stops])
    return painted


def colour_scale(relevance: Tensor | Array) -> Any:
    """matplotlib's mappable of the colours that `colours` gives, for a colour bar: 1 is the full colour.

    Not the relevance's own numbers, which are of a sample or of a pixel, while a drawing shows means over cells.
    """
    low = -1.0 if float(np.asarray(relevance).min(initial=0)) < 0 else 0.0
    table = matplotlib_module("colors").ListedColormap(colours(np.linspace(low, 1, 256), 1.0))
    return matplotlib_module("cm").ScalarMappable(matplotlib_module("colors").Normalize(low, 1), table)


def stretch(relevance: Tensor | Array, rows: int, columns: int) -> Array:
    """Relevance (T',), (1, T') or (rows, T') -> (rows, columns): its columns lie evenly over the recording.

    Raises:
        ValueError: another number of rows.

    Example:
        >>> stretch(torch.tensor([1.0, 2.0]), 2, 4).tolist()
        [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    """
    values = np.asarray(relevance, dtype=np.float64)
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) not in (1, rows):
        raise ValueError(f"relevance of shape {values.shape} does not fit {rows} channels; give (T,) or ({rows}, T)")
    if values.shape[1] != columns:
        values = values[:, ((np.arange(columns) + 0.5) / columns * values.shape[1]).astype(int)]
    return np.broadcast_to(values, (rows, columns))


def coarse(relevance: Tensor | Array, *most: int) -> Array:
    """The mean over cells, so that at most so many are left along each of the last axes.

    Gradients change sign from a sample to the next; what can be seen, and means something, is what is left of them over
    a cell.

    Example:
        >>> coarse(np.array([[1.0, -1.0, 4.0, 2.0]]), 2).tolist()
        [[0.0, 3.0]]
    """
    values = np.asarray(relevance, dtype=np.float64)
    for axis, cells in zip(range(values.ndim - len(most), values.ndim), most):
        count = values.shape[axis]
        if count > cells:
            starts = (np.arange(cells) * count) // cells
            sizes = np.diff([*starts, count]).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
            values = np.add.reduceat(values, starts, axis) / sizes
    return values


def shade(ax: Any, painted: Array, extent: tuple[float, float, float, float], **options: Any) -> None:
    """Lay colours (rows, columns, 4) over the rectangle (left, right, bottom, top) of the axes; limits stay."""
    limits = ax.get_xlim(), ax.get_ylim()
    options = {"interpolation": "nearest", "origin": "upper", "zorder": 0.5, **options}
    ax.imshow(painted, extent=extent, aspect=ax.get_aspect(), **options)
    ax.set(xlim=limits[0], ylim=limits[1])


def line(ax: Any, times: Array, values: Array, **options: Any) -> None:
    """A trace (T,); a long one by its lowest and highest values, which looks the same and is quick."""
    several = len(values) // PIXELS
    if several > 1:
        cut = len(values) // several * several
        pieces = values[:cut].reshape(-1, several)
        values = np.stack([pieces.min(1), pieces.max(1)], 1).reshape(-1)
        times = np.repeat(times[:cut:several], 2)
    ax.plot(times, values, **options)


def seconds_of(signal: Signal) -> tuple[Array, float, str]:
    """Times of the samples, how long the recording is, and the unit: seconds, or samples where no rate is known."""
    count = signal.data.shape[-1]
    rate = signal.rate or 1.0
    return np.arange(count) / rate, count / rate, "s" if signal.rate else "samples"


def plain(ax: Any) -> None:
    """No frame on the right and above."""
    ax.spines[["top", "right"]].set_visible(False)


def panels(ax: Any, shares: list[float], gap: float = 0.08) -> list[Any]:
    """Axes below each other in the area of one, which becomes invisible.

    Args:
        ax: the area.
        shares: heights, in any unit, from the top.
        gap: between two, as a share of the area.
    """
    ax.set_axis_off()
    free, top, made = 1 - gap * (len(shares) - 1), 1.0, []
    for share in shares:
        height = free * share / sum(shares)
        made.append(ax.inset_axes((0, top - height, 1, height)))
        top -= height + gap
    return made


def traces(signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
    """Channels below each other over seconds, each on its own scale; relevance behind them.

    Args:
        signal: data (..., T); leading axes count as channels, of which 16 are drawn.
        ax: a matplotlib Axes.
        relevance: of the data's shape, or (T',): columns lie evenly over the recording.
    """
    times, seconds, unit = seconds_of(signal)
    data = signal.data.detach().float().cpu().reshape(-1, signal.data.shape[-1]).numpy()
    names = signal.channels if len(signal.channels) == len(data) else [str(i) for i in range(len(data))]
    shown = min(len(data), MOST_TRACES)
    ax.set(xlim=(0, seconds or 1), ylim=(shown - 0.5, -0.5), xlabel=unit)
    ax.set_yticks(range(shown), names[:shown])
    if relevance is not None:
        flat = relevance if relevance.ndim == 1 else relevance.reshape(-1, relevance.shape[-1])
        values = stretch(flat, len(data), min(flat.shape[-1], PIXELS) if flat.shape[-1] else 1)
        shade(ax, colours(values[:shown], full_scale(values)), (0, seconds, shown - 0.5, -0.5))
    for row in range(shown):
        low, high = float(data[row].min(initial=0)), float(data[row].max(initial=0))
        middle, half = (low + high) / 2, (high - low) / 2 or 1.0
        line(ax, times, row - 0.45 * (data[row] - middle) / half, color="0.15", linewidth=0.8)
    if shown < len(data):
        ax.set_title(f"{shown} of {len(data)} channels", fontsize="small", loc="right")
    plain(ax)


def picture(
    ax: Any,
    image: Tensor | Array,
    relevance: Tensor | Array | None = None,
    *,
    extent: tuple[float, float, float, float] | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    full: float | None = None,
) -> None:
    """A grey picture (H, W), its first row on top, and relevance (h, w) of any resolution over it.

    Args:
        ax: a matplotlib Axes.
        image: the picture.
        relevance: over the same area.
        extent: left, right, bottom and top, in equal units; None: pixels.
        limits: the values of black and white.
        full: the relevance of the full colour.
    """
    values = np.asarray(image, dtype=np.float64)
    extent = extent or (0.0, float(values.shape[1]), float(values.shape[0]), 0.0)
    ax.imshow(values, cmap="gray", vmin=limits[0], vmax=limits[1], extent=extent, interpolation="antialiased")
    if relevance is not None:
        painted = colours(relevance, full)
        ax.imshow(painted, extent=extent, interpolation="bilinear" if painted.shape[0] < len(values) else "nearest")


def as_relevance(values: Any) -> Tensor:
    """Relevance as a float32 tensor on the CPU."""
    return torch.as_tensor(values).detach().float().cpu()
