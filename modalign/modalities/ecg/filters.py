"""Filters and resampling of (C, T) signals. Pure functions; every one is zero-phase, so that no wave moves in time.

Rows that hold NaN (masked leads) come out as NaN. scipy.signal takes a second to import, hence inside.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from modalign.modalities.ecg.recording import Array

NOTCH_LIMIT = 0.45
"""A notch is made only below this share of the rate: nearer to the Nyquist rate there is no room for it."""
SAME_RATE = 1e-3
"""Relative difference of two rates below which nothing is resampled."""


def resample(values: Tensor, source: float, target: float) -> Tensor:
    """Polyphase resampling (C, T) -> (C, ceil(T * up / down)); the first sample stays where it is.

    The low pass is flat to 0.7 of the lower Nyquist rate and 63 dB down from that rate on. The ends are continued by
    odd reflection, since zeros beyond them would make an edge of the baseline.

    Example:
        >>> tuple(resample(torch.ones(12, 5000), 500, 100).shape)
        (12, 1000)
    """
    if abs(source / target - 1) <= SAME_RATE:
        return values
    from scipy.signal import resample_poly

    up, down = _ratio(float(source), float(target))
    array = values.numpy().astype(np.float64)
    mode = "antireflect" if array.shape[1] > 1 else "edge"
    done = resample_poly(array, up, down, axis=1, window=_low_pass(up, down), padtype=mode)
    return torch.from_numpy(np.ascontiguousarray(done, dtype=np.float32))


@lru_cache(maxsize=64)
def _ratio(source: float, target: float) -> tuple[int, int]:
    near = (Fraction(target) / Fraction(source)).limit_denominator(1000)
    return near.numerator, near.denominator


@lru_cache(maxsize=64)
def _low_pass(up: int, down: int) -> Array:
    from scipy.signal import firwin

    widest = max(up, down)
    return np.asarray(firwin(2 * 16 * widest + 1, 0.85 / widest, window=("kaiser", 8.0)))


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
            x = median_filter(x, size=(1, 2 * round(seconds * rate / 2) + 1), mode="nearest")
        return x

    return _by_row(values, cascade)


def _by_row(values: Tensor, function: object) -> Tensor:
    """Apply a function of float64 arrays to the rows that are finite."""
    assert callable(function)
    known = torch.isfinite(values).all(1)
    out = torch.full_like(values, float("nan"))
    if known.any() and values.shape[1] > 1:
        done = np.ascontiguousarray(function(values[known].double().numpy()), dtype=np.float32)
        out[known] = torch.from_numpy(done)
    elif known.any():
        out[known] = values[known]
    return out
