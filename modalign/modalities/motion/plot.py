"""Motion as it is read: accelerometers in m/s2 with g beside, gyroscopes in rad/s, a panel a device and sensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from modalign.modalities import drawing
from modalign.modalities.base import Signal
from modalign.modalities.motion.fields import split_channel
from modalign.modalities.motion.units import STANDARD_GRAVITY as G

AXIS_COLOURS = {"x": "#1f77b4", "y": "#2ca02c", "z": "#9467bd"}
"""No red and no amber: those are relevance's."""
MOST_DEVICES = 3
CELLS = 250
"""Of relevance along time, at most."""
SENSORS = {"acc": ("acceleration", "m/s²"), "gyro": ("rotation", "rad/s")}


def sensors_of(signal: Signal) -> dict[tuple[str, str], list[int]]:
    """(location, sensor) -> its rows, accelerometers first within a location."""
    found: dict[tuple[str, str], list[int]] = {}
    for row, name in enumerate(signal.channels):
        location, sensor, _ = split_channel(name) or ("", name, "")
        found.setdefault((location, sensor), []).append(row)
    return found


def panel_inches(signal: Signal) -> tuple[float, float]:
    """Width and height of a drawing that can be read."""
    shown = _chosen(sensors_of(signal), None)
    return 9.0, 0.8 + 1.7 * len(shown) + (2.2 if _many(signal) else 0)


def plot_motion(signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
    """Draw a panel for each device's accelerometer and gyroscope: three devices at most, the most relevant ones.

    Args:
        signal: (C, T) in m/s2 and rad/s.
        ax: the area; panels are put into it.
        relevance: (C, T'), or (T',) for all channels; columns lie evenly over the recording. Behind the traces is the
            mean over a panel's channels, with a strip for each of them below; of more devices than are drawn, a map of
            all over seconds comes first.
    """
    times, seconds, unit = drawing.seconds_of(signal)
    data = signal.data.detach().cpu().double().numpy()
    found = sensors_of(signal)
    values, full = None, 1.0
    if relevance is not None:
        values = drawing.coarse(drawing.stretch(relevance, len(data), relevance.shape[-1]), CELLS)
        full = drawing.full_scale(values)
    shown = _chosen(found, values)
    mapped = _many(signal)
    areas = drawing.panels(ax, [1.4] * mapped + [1.0] * len(shown), gap=0.3 / (2 + len(shown)))
    if mapped:
        _joint_map(areas[0], found, data, values, full, seconds)
    for panel, (location, sensor) in zip(areas[mapped:], shown):
        rows = found[location, sensor]
        what, units = SENSORS.get(sensor, (sensor, ""))
        low, high = float(np.nanmin(data[rows])), float(np.nanmax(data[rows]))
        room = 0.08 * (high - low) or 1.0
        strips = values is not None and len(rows) > 1 and bool(np.ptp(values[rows], axis=0).any())
        bottom = low - room - (0.3 * (high - low + 2 * room) if strips else 0)
        panel.set(xlim=(0, seconds), ylim=(bottom, high + room))
        if values is not None:
            behind = values[rows].mean(0, keepdims=True)
            drawing.shade(panel, drawing.colours(behind, full), (0, seconds, low - room, high + room))
            if strips:
                drawing.shade(panel, drawing.colours(values[rows], full), (0, seconds, bottom, low - room))
                panel.axhline(low - room, color="0.6", linewidth=0.6)
        for k, row in enumerate(rows):
            axis = (split_channel(signal.channels[row]) or ("", "", ""))[2]
            colour = AXIS_COLOURS.get(axis, "0.2")
            drawing.line(panel, times, data[row], color=colour, linewidth=0.9, label=axis or signal.channels[row])
            if strips:
                y = low - room - (k + 0.5) / len(rows) * (low - room - bottom)
                panel.text(0.003 * seconds, y, axis, fontsize=7, va="center", color=colour, fontweight="bold")
        panel.set_ylabel(units, fontsize=8)
        panel.set_title(" ".join(filter(None, (location.replace("_", " "), what))), fontsize=9, loc="left", pad=3)
        panel.tick_params(labelsize=7)
        panel.set_yticks([tick for tick in panel.get_yticks() if low - room <= tick <= high + room])
        if sensor == "acc":
            _gravity(panel, low, high)
        drawing.plain(panel)
        if panel is not areas[-1]:
            panel.set_xticklabels([])
    areas[mapped].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=7, frameon=False, borderpad=0)
    areas[-1].set_xlabel(unit, fontsize=8)


def _gravity(panel: Any, low: float, high: float) -> None:
    """A scale in g on the right, and faint lines at 0 and at one g either way where they are in sight."""
    scale = panel.secondary_yaxis("right", functions=(lambda a: a / G, lambda g: g * G))
    ticks = drawing.matplotlib_module("ticker").MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low / G, high / G)
    scale.set_yticks([tick for tick in ticks if low <= tick * G <= high])
    scale.set_ylabel("g", fontsize=8)
    scale.tick_params(labelsize=7)
    for level in (-G, 0.0, G):
        if low <= level <= high:
            panel.axhline(level, color="0.5", linewidth=0.5, linestyle="--" if level else "-", zorder=0.8)


def _many(signal: Signal) -> bool:
    return len({location for location, _ in sensors_of(signal)}) > MOST_DEVICES


def _chosen(found: dict[tuple[str, str], list[int]], values: Any) -> list[tuple[str, str]]:
    """The panels: every sensor of the first devices, or of those with the most relevance."""
    locations = list(dict.fromkeys(location for location, _ in found))
    if values is not None and len(locations) > MOST_DEVICES:
        weight = {
            location: max(np.abs(values[rows]).mean() for (where, _), rows in found.items() if where == location)
            for location in locations
        }
        kept = sorted(locations, key=lambda location: -weight[location])[:MOST_DEVICES]
        locations = [location for location in locations if location in kept]
    return [key for location in locations[:MOST_DEVICES] for key in found if key[0] == location]


def _joint_map(panel: Any, found: Any, data: Any, values: Any, full: float, seconds: float) -> None:
    """All devices over seconds: how much each moves in grey, and relevance over it."""
    locations = list(dict.fromkeys(location for location, _ in found))
    rows = {name: [r for (where, _), own in found.items() if where == name for r in own] for name in locations}
    moving = np.stack([np.abs(data[own] - data[own].mean(1, keepdims=True)).mean(0) for own in rows.values()])
    extent = (0.0, seconds, len(locations) - 0.5, -0.5)
    panel.imshow(-moving, cmap="gray", aspect="auto", extent=extent, vmax=0, vmin=-np.percentile(moving, 99) or -1)
    if values is not None:
        drawing.shade(
            panel, drawing.colours(np.stack([values[own].mean(0) for own in rows.values()]), full), extent, zorder=2
        )
    panel.set_yticks(range(len(locations)), [name.replace("_", " ") for name in locations], fontsize=6)
    panel.set_xticklabels([])
