"""An ECG as it is read: on paper, 25 mm/s and 10 mm/mV, three rows of four leads and a rhythm strip."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from modalign.modalities import drawing
from modalign.modalities.base import Signal
from modalign.modalities.ecg.leads import STANDARD

SPEED, GAIN = 25.0, 10.0
"""mm/s and mm/mV."""
STRIP = 10.0
"""Seconds on a sheet."""
ROOM = 10.0
"""mm left of the traces, for the calibration pulse: 1 mV for 0.2 s."""
MOST_ROWS = 12
PINK = {1: "#fbe3e3", 5: "#f0b4b4"}
GREY = {1: "#efefef", 5: "#d6d6d6"}
"""mm between lines -> their colour; grey under relevance, so that colour means one thing."""


class Piece(NamedTuple):
    """A lead from one second to another, in a row, that begins so many mm right of the traces' beginning."""

    lead: int
    first: float
    last: float
    row: int
    left: float


class Sheet(NamedTuple):
    """Where everything lies: pieces, mm of each row's baseline below the top, width and height of the paper in mm."""

    pieces: list[Piece]
    baselines: list[float]
    width: float
    height: float


def shown_seconds(signal: Signal, relevance: Tensor | None = None) -> tuple[float, float]:
    """The 10 s that are drawn: the first, or those with the most relevance; all of what is not much longer."""
    rate = signal.rate or 1.0
    total = signal.data.shape[1] / rate
    if total <= STRIP * 1.05:
        return 0.0, total
    if relevance is None:
        return 0.0, STRIP
    count, length = signal.data.shape[1], round(STRIP * rate)
    strength = np.abs(drawing.stretch(relevance, len(signal.data), count)).sum(0)
    sums = np.concatenate([[0.0], np.cumsum(strength)])
    first = int(np.argmax(sums[length:] - sums[: count - length + 1]))
    return first / rate, first / rate + STRIP


def layout(signal: Signal, relevance: Tensor | None = None) -> Sheet:
    """The sheet: 3 x 4 leads of 2.5 s and lead II below for the standard 12 and 10 s, else a row a lead.

    Example:
        >>> import torch
        >>> sheet = layout(Signal(torch.zeros(12, 5000), 500.0, STANDARD))
        >>> len(sheet.pieces), sheet.width
        (13, 260.0)
    """
    first, last = shown_seconds(signal, relevance)
    place = {name: i for i, name in enumerate(signal.channels)}
    pieces = []
    if all(name in place for name in STANDARD) and last - first >= STRIP * 0.95:
        quarter = (last - first) / 4
        for k, name in enumerate(STANDARD):
            column, row = divmod(k, 3)
            begin = first + column * quarter
            pieces.append(Piece(place[name], begin, begin + quarter, row, column * quarter * SPEED))
        pieces.append(Piece(place["II"], first, last, 3, 0.0))
    else:
        pieces = [Piece(i, first, last, i, 0.0) for i in range(min(len(signal.data), MOST_ROWS))]
    rows = max((piece.row for piece in pieces), default=0) + 1
    up, down = np.full(rows, 10.0), np.full(rows, 10.0)
    for piece in pieces:
        values = trace(signal, piece)[1]
        if len(values):
            up[piece.row] = max(up[piece.row], min(float(np.percentile(values, 99.9)), 40.0))
            down[piece.row] = max(down[piece.row], min(-float(np.percentile(values, 0.1)), 40.0))
    baselines, y = [], 5.0
    for above, below in zip(up, down):
        y += np.ceil(above / 5) * 5
        baselines.append(float(y))
        y += np.ceil(below / 5) * 5
    width = ROOM + np.ceil((last - first) * SPEED / 5) * 5
    return Sheet(pieces, baselines, float(width), float(y + 10))


def trace(signal: Signal, piece: Piece) -> tuple[Any, Any]:
    """A piece in mm: right of its beginning, and above its baseline, which is its median."""
    rate = signal.rate or 1.0
    start, stop = round(piece.first * rate), round(piece.last * rate)
    values = signal.data[piece.lead, start:stop].detach().cpu().double().numpy()
    values = np.where(np.isfinite(values), values, 0.0)
    middle = float(np.median(values)) if len(values) else 0.0
    return np.arange(len(values)) / rate * SPEED, (values - middle) * GAIN


def paper_inches(signal: Signal) -> tuple[float, float]:
    """Width and height at which a millimetre of the paper is one."""
    sheet = layout(signal)
    return sheet.width / 25.4, sheet.height / 25.4


def plot_ecg(signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
    """Draw on ECG paper; each lead is drawn about its median.

    Args:
        signal: (C, T) in mV. Of more than 10 s, the first, or the most relevant; of more than 12 leads, 12.
        ax: a matplotlib Axes; its unit becomes mm, equal in both directions.
        relevance: (C, T'), or (T',) for all leads; columns lie evenly over the recording.
    """
    sheet = layout(signal, relevance)
    ax.set(xlim=(0, sheet.width), ylim=(-sheet.height, 0), aspect="equal")
    ax.set_xticks([])
    ax.set_yticks([])
    collections = drawing.matplotlib_module("collections")
    for step, colour in (PINK if relevance is None else GREY).items():
        lines: list[Any] = [((x, -sheet.height), (x, 0.0)) for x in range(0, int(sheet.width) + 1, step)]
        lines += [((0.0, -y), (sheet.width, -y)) for y in range(0, int(sheet.height) + 1, step)]
        ax.add_collection(
            collections.LineCollection(lines, colors=colour, linewidths=0.35 if step == 1 else 0.6, zorder=0)
        )
    for spine in ax.spines.values():
        spine.set_edgecolor("0.7")
    rate, full, values = signal.rate or 1.0, 1.0, None
    if relevance is not None:
        # A cell is a millimetre of paper: gradients of single samples are thinner than a pen.
        cells = max(1, round(signal.data.shape[1] / rate * SPEED))
        values = drawing.coarse(drawing.stretch(relevance, len(signal.data), signal.data.shape[1]), cells)
        full = drawing.full_scale(values)
    for base in sheet.baselines:
        ax.plot(np.array([1, 2, 2, 7, 7, 8]), np.array([0, 0, GAIN, GAIN, 0, 0]) - base, color="0.1", linewidth=0.8)
    for piece in sheet.pieces:
        x, y = trace(signal, piece)
        left, base = ROOM + piece.left, sheet.baselines[piece.row]
        if values is not None and len(x):
            share = values.shape[1] / (signal.data.shape[1] / rate)  # cells in a second
            start, stop = round(piece.first * share), round(piece.last * share)
            painted = drawing.colours(values[piece.lead : piece.lead + 1, start:stop], full)
            right = left + len(x) / rate * SPEED
            drawing.shade(ax, painted, (left, right, -base - 8, -base + 9))
        ax.plot(left + x, y - base, color="0.05", linewidth=0.8, solid_joinstyle="round")
        if piece.left:
            ax.plot([left, left], [-base - 3, -base + 3], color="0.1", linewidth=0.6)
        ax.text(left + 1, -base + 6, _name(signal, piece.lead), fontsize=8, va="bottom", fontweight="bold", zorder=4)
    first, last = shown_seconds(signal, relevance)
    total = signal.data.shape[1] / rate
    part = f"     {first:.1f} to {last:.1f} s of {total:.1f} s" if last - first < total * 0.99 else ""
    hidden = len(signal.data) - len({piece.lead for piece in sheet.pieces})
    part += f"     {hidden} leads not shown" if hidden else ""
    ax.text(ROOM, -sheet.height + 3, f"25 mm/s     10 mm/mV{part}", fontsize=7, va="bottom", color="0.25")


def _name(signal: Signal, lead: int) -> str:
    return signal.channels[lead] if lead < len(signal.channels) else str(lead)
