"""Hand features for the linear floor: what a textbook would measure first, leads by name, the rest zeros."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modalign.modalities.base import Signal
from modalign.modalities.ecg.leads import STANDARD
from modalign.modalities.ecg.recording import Array
from modalign.modalities.resampling import resample

RATE = 100.0
BEAT = (-25, 45)
"""Samples about the R peak that a mean beat spans: 0.25 s before to 0.45 s after."""
POINTS = {"p": (-20, -8), "q": (-5, -1), "r": (-2, 3), "s": (1, 6), "st": (8, 12), "t": (15, 40)}
"""Wave -> samples about the R peak in which it lies."""


def beats(values: Array) -> Array:
    """Positions of the R peaks in (C, T) at 100 Hz: peaks of the leads' joint slope, 0.3 s apart at least."""
    from scipy.signal import find_peaks

    if values.shape[1] < 50:
        return np.zeros(0, dtype=int)
    slope = np.sqrt((np.diff(values, axis=1, prepend=values[:, :1]) ** 2).sum(0))
    smooth = np.convolve(slope, np.ones(8) / 8, mode="same")
    found, _ = find_peaks(smooth, height=0.4 * np.quantile(smooth, 0.98), distance=30)
    return np.asarray(found, dtype=int)


def features(signal: Signal) -> NDArray[np.float64]:
    """(5 + 11 * 12,): heart rate and its variation; each lead's statistics, and the waves of its median beat.

    Heart rate (1/min), standard deviation of RR and of its differences, and their shares of RR; then, lead by lead:
    mean, standard deviation, minimum, maximum, energy (mV and mV^2), and the height of P, Q, R, S, ST and T.
    """
    data = resample(signal.data.nan_to_num(0.0), signal.rate or RATE, RATE).double().numpy()
    values = np.zeros((len(STANDARD), data.shape[1]))
    for row, name in enumerate(STANDARD):
        if name in signal.channels:
            values[row] = data[signal.channels.index(name)]
    peaks = beats(values)
    intervals = np.diff(peaks) / RATE
    rhythm = np.zeros(5)
    if len(intervals):
        middle, spread = float(np.median(intervals)), float(intervals.std())
        changes = float(np.abs(np.diff(intervals)).mean()) if len(intervals) > 1 else 0.0
        rhythm = np.array([60 / middle, spread, changes, spread / middle, changes / middle])
    plain = [values.mean(1), values.std(1), values.min(1), values.max(1), (values**2).mean(1)]
    return np.concatenate([rhythm, *plain, _waves(values, peaks).reshape(-1)])


def _waves(values: Array, peaks: Array) -> Array:
    """(12, 6): the largest swing from the PR level in each wave of the median beat, with its sign."""
    inside = [p for p in peaks if p + BEAT[0] >= 0 and p + BEAT[1] <= values.shape[1]]
    if not inside:
        return np.zeros((len(values), len(POINTS)))
    beat = np.median(np.stack([values[:, p + BEAT[0] : p + BEAT[1]] for p in inside]), axis=0)
    beat = beat - beat[:, -BEAT[0] - 8 : -BEAT[0] - 4].mean(1, keepdims=True)
    waves = []
    for name, (first, last) in POINTS.items():
        part = beat[:, first - BEAT[0] : last - BEAT[0]]
        largest = np.take_along_axis(part, np.abs(part).argmax(1)[:, None], 1)[:, 0]
        waves.append(part.mean(1) if name == "st" else largest)
    return np.stack(waves, axis=1)
