"""Mel filterbanks and windows: made once for each front end, device and dtype."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MelScale = Literal["htk", "slaney", "kaldi"]
Array = NDArray[Any]


def hertz_to_mel(hertz: Array | float, scale: MelScale) -> Array:
    """Hz -> mel. HTK and Kaldi: logarithmic all over; Slaney: linear up to 1 kHz.

    Example:
        >>> hertz_to_mel(1000.0, "slaney").item(), round(hertz_to_mel(1000.0, "htk").item(), 2)
        (15.0, 999.99)
    """
    f = np.asarray(hertz, dtype=np.float64)
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + f / 700.0))
    if scale == "kaldi":
        return np.asarray(1127.0 * np.log(1.0 + f / 700.0))
    return np.where(f < 1000.0, f * 3.0 / 200.0, 15.0 + np.log(np.maximum(f, 1e-9) / 1000.0) * 27.0 / math.log(6.4))


def mel_to_hertz(mel: Array | float, scale: MelScale) -> Array:
    """mel -> Hz, the inverse of `hertz_to_mel`."""
    m = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (m / 2595.0) - 1.0))
    if scale == "kaldi":
        return np.asarray(700.0 * (np.exp(m / 1127.0) - 1.0))
    return np.where(m < 15.0, m * 200.0 / 3.0, 1000.0 * np.exp((m - 15.0) * math.log(6.4) / 27.0))


def mel_filterbank(rate: float, n_fft: int, mels: int, fmin: float, fmax: float, scale: MelScale) -> Array:
    """Triangular filters (n_fft // 2 + 1, mels), float64.

    "htk" has peaks of 1 (torchaudio's default), "slaney" equal areas (librosa's default), and "kaldi" triangles in mel
    instead of in Hz, without the highest bin.
    """
    bins = np.linspace(0.0, rate / 2.0, n_fft // 2 + 1)
    corners = np.linspace(hertz_to_mel(fmin, scale), hertz_to_mel(fmax, scale), mels + 2)
    if scale == "kaldi":
        bins = hertz_to_mel(bins, scale)
    else:
        corners = mel_to_hertz(corners, scale)
    widths = np.diff(corners)
    slopes = corners[None, :] - bins[:, None]
    filters = np.maximum(0.0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))
    if scale == "slaney":
        filters *= 2.0 / (corners[2:] - corners[:-2])
    if scale == "kaldi":
        filters[-1] = 0.0
    return filters


@lru_cache(maxsize=64)
def window(name: Literal["hann", "hann_symmetric"], length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A Hann window (length,): periodic for spectrograms, symmetric for Kaldi."""
    return torch.hann_window(length, name == "hann", dtype=torch.float64).to(device, dtype)


@lru_cache(maxsize=64)
def band(
    rate: float,
    n_fft: int,
    mels: int,
    fmin: float,
    fmax: float,
    scale: MelScale,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[int, int, Tensor]:
    """The bins `first:last` that any filter hears, and the filters for real and imaginary squares in turn.

    Bins outside a band of 50 to 14,000 Hz at 48 kHz are two fifths of all; squares in turn spare one pass to add them.
    Filters: (2 * (last - first), mels).
    """
    filters = mel_filterbank(rate, n_fft, mels, fmin, fmax, scale)
    heard = np.flatnonzero(filters.any(1))
    first, last = (int(heard[0]), int(heard[-1]) + 1) if len(heard) else (0, 1)
    both = torch.from_numpy(np.repeat(filters[first:last], 2, axis=0))
    return first, last, both.to(device, dtype)
