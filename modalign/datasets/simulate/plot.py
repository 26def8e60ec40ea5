"""Simulated beside real: traces and spectra of the same activities on the same axes, to be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities.base import Signal
from modalign.modalities.motion.fields import triples
from modalign.modalities.resampling import resample

Array = np.ndarray[Any, Any]
AXES = ("x", "y", "z")


def spectrum(signal: Signal, sensor: str, rate: float, seconds: float = 5.12) -> tuple[Array, Array]:
    """Frequencies (Hz) and power density of a sensor, its three axes summed, so that its mounting does not matter.

    Args:
        signal: of one device.
        sensor: "acc" or "gyro".
        rate: Hz of the spectrum.
        seconds: of the pieces that are averaged; one over it is the step of the frequencies.

    Raises:
        ReadError: the signal has no such sensor, or is shorter than a piece.
    """
    from scipy.signal import welch

    rows = next((rows for (_, kind), rows in triples(signal.channels).items() if kind == sensor), None)
    if rows is None:
        raise ReadError(f"the signal has {', '.join(signal.channels)} and no {sensor}_x, {sensor}_y and {sensor}_z")
    values = resample(signal.data[rows], signal.rate or rate, rate).double().numpy()
    size = round(seconds * rate)
    if size > values.shape[1]:
        raise ReadError(f"a signal of {values.shape[1] / rate:.2g} s is too short for a spectrum; give {seconds:g} s")
    frequencies, power = welch(values - values.mean(1, keepdims=True), rate, nperseg=size, axis=1)
    return frequencies, power.sum(0)


def plot_beside(
    real: Mapping[str, Sequence[Signal]],
    simulated: Mapping[str, Sequence[Signal]],
    path: Path,
    *,
    seconds: float = 5.0,
    rate: float = 50.0,
) -> Path:
    """Draw, for each activity that both have, a trace of each and the spectra of all (median and quartiles).

    Args:
        real: activity -> signals.
        simulated: likewise.
        path: the picture to write (.png, .svg, .pdf).
        seconds: of each trace, from the middle of the first signal.
        rate: Hz of the spectra.

    Raises:
        ReadError: no activity is in both.
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a plot", "plot") from error
    labels = [label for label in real if simulated.get(label) and real[label]]
    if not labels:
        raise ReadError(f"no activity is in both: real {', '.join(real)}; simulated {', '.join(simulated)}")
    figure = Figure(figsize=(16, 3.1 * len(labels)), layout="constrained")
    panels = figure.subplots(len(labels), 4, squeeze=False)
    for row, label in zip(panels, labels):
        pair = (real[label][0], simulated[label][0])
        shown = [_middle(signal, min(seconds, *map(_length, pair))) for signal in pair]
        # Pieces that most recordings of both have, and no more than a spectrum needs.
        piece = min(
            5.12, *(float(np.median([_length(s) for s in signals])) for signals in (real[label], simulated[label]))
        )
        limits = min(v.min() for _, v in shown) - 1, max(v.max() for _, v in shown) + 1
        for panel, (time, values), what in zip(row[:2], shown, ("real", "simulated")):
            for axis, trace in zip(AXES, values):
                panel.plot(time, trace, label=axis, linewidth=0.9)
            panel.set(ylim=limits, title=f"{label}, {what}", xlabel="s", ylabel="acceleration, m/s²")
        for panel, sensor in zip(row[2:], ("acc", "gyro")):
            for signals, colour, what in ((real[label], "C0", "real"), (simulated[label], "C1", "simulated")):
                spectra = [spectrum(signal, sensor, rate, piece) for signal in signals if _length(signal) >= piece]
                low, middle, high = np.quantile([power for _, power in spectra], [0.25, 0.5, 0.75], axis=0)
                panel.fill_between(spectra[0][0], low, high, color=colour, alpha=0.2, linewidth=0)
                panel.plot(spectra[0][0], middle, color=colour, label=f"{what} ({len(spectra)})")
            unit = "(m/s²)²/Hz" if sensor == "acc" else "(rad/s)²/Hz"
            panel.set(yscale="log", xlim=(0, min(20, rate / 2)), xlabel="Hz", title=f"{sensor}, {unit}")
            panel.legend()
        row[0].legend(loc="upper right", ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)
    return path


def _length(signal: Signal) -> float:
    return signal.data.shape[1] / (signal.rate or 1.0)


def _middle(signal: Signal, seconds: float) -> tuple[Array, Array]:
    """Times (s) and the accelerometer's axes (3, T) about the middle of a signal."""
    rows = next((rows for (_, kind), rows in triples(signal.channels).items() if kind == "acc"), None)
    if rows is None:
        raise ReadError(f"the signal has {', '.join(signal.channels)} and no acc_x, acc_y and acc_z")
    rate = signal.rate or 1.0
    count = min(round(seconds * rate), signal.data.shape[1])
    first = (signal.data.shape[1] - count) // 2
    return np.arange(count) / rate, signal.data[rows, first : first + count].double().numpy()
