"""Filters of (C, T) signals. Pure functions; every one is zero-phase, so that no wave moves in time.

Rows that hold NaN (masked leads) come out as NaN. scipy.signal takes a second to import, hence inside.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from modalign.modalities.ecg.recording import Array

NOTCH_LIMIT = 0.45
"""A notch is made only below this share of the rate: nearer to the Nyquist rate there is no room for it."""


def notch(values: Tensor, rate: float, frequency: float, quality: float = 30.0) -> Tensor:
    """Take mains hum out: a second-order notch, forwards and backwards, `frequency / quality` Hz wide.

    Raises:
        ValueError: the frequency is not below 0.45 of the rate.
    """
    if frequency >= NOTCH_LIMIT * rate:
        raise ValueError(
            f"a notch at {frequency:g} Hz needs a rate above {frequency / NOTCH_LIMIT:.0f} Hz, not {rate:g}"
        )
    from scipy.signal import filtfilt, iirnotch

    b, a = iirnotch(frequency, quality, fs=rate)
    return _by_row(values, lambda x: filtfilt(b, a, x, axis=1, padlen=min(x.shape[1] - 1, int(rate))))


def highpass(values: Tensor, rate: float, cutoff: float) -> Tensor:
    """Take drift out: a second-order Butterworth high-pass, forwards and backwards: half the amplitude at `cutoff`."""
    from scipy.signal import butter, sosfiltfilt

    sos = butter(2, cutoff, "highpass", fs=rate, output="sos")
    pad = int(3 * rate / cutoff)
    return _by_row(values, lambda x: sosfiltfilt(sos, x, axis=1, padlen=min(x.shape[1] - 1, pad)))


def median_baseline(values: Tensor, rate: float, first: float = 0.2, second: float = 0.6) -> Tensor:
    """MoRE's baseline: a median over 0.2 s takes P and QRS out, a second over 0.6 s takes T out (21 and 61 at 100 Hz).

    Beyond the ends the first and last values are held. It bends with long ST changes: see docs/modalities/ecg.md.
    """
    from scipy.ndimage import median_filter

    def cascade(x: Array) -> Array:
        for seconds in (first, second):
            size = 2 * round(seconds * rate / 2) + 1
            # Row by row: scipy's filter of one dimension is 40 times as fast, and gives the same bits.
            x = np.stack([median_filter(row, size=size, mode="nearest") for row in x])
        return x

    return _by_row(values, cascade)


def without_baseline(values: Tensor, rate: float, kind: str, cutoff: float) -> Tensor:
    """The signal as the processing's `baseline` leaves it: "none", "highpass" or "median"."""
    if kind == "highpass":
        return highpass(values, rate, cutoff)
    return values - median_baseline(values, rate) if kind == "median" else values


def _by_row(values: Tensor, function: object) -> Tensor:
    """Apply a function of float64 arrays to the rows that are finite."""
    assert callable(function)
    known = torch.isfinite(values).all(1)
    out = torch.full_like(values, float("nan"))
    if known.any() and values.shape[1] > 1:
        done = np.ascontiguousarray(function(values[known].double().numpy()), dtype=np.float32)
        out[known] = torch.from_numpy(done).to(out.dtype)
    elif known.any():
        out[known] = values[known]
    return out
