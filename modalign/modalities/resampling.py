"""Anti-aliased, zero-phase resampling of (C, T) by a small rational ratio."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

SAME_RATE = 1e-3
"""Relative difference of two rates below which nothing is resampled: clocks are no better."""
RATIO_TOLERANCE = 1e-5
"""How exact the rational ratio is: 0.1 ms in a recording of 10 s."""


def same_rate(source: float, target: float) -> bool:
    """Whether two rates are one, within 0.1 %."""
    return abs(source / target - 1) <= SAME_RATE


@lru_cache(maxsize=256)
def ratio(source: float, target: float) -> tuple[int, int]:
    """The smallest (up, down) with up / down = target / source within 0.001 %.

    Example:
        >>> ratio(100.0, 50.0), ratio(44.1, 50.0), ratio(99.62, 50.0)
        ((1, 2), (339, 299), (263, 524))
    """
    exact = Fraction(target) / Fraction(source)
    for bound in range(1, 1_000_000):
        near = exact.limit_denominator(bound)
        if near and abs(float(near / exact) - 1) <= RATIO_TOLERANCE:
            return near.numerator, near.denominator
    raise ValueError(f"no ratio for {source} and {target} Hz")


@lru_cache(maxsize=64)
def _filter(up: int, down: int) -> np.ndarray[Any, Any]:
    """Low pass: flat within 1e-4 up to 0.6 of the lower Nyquist rate, and 63 dB down from that rate on.

    scipy's default (Kaiser 5, cutoff at the Nyquist rate) lets through 6 dB down what aliases next to it.
    """
    from scipy.signal import firwin

    widest = max(up, down)
    return np.asarray(firwin(2 * 16 * widest + 1, 0.85 / widest, window=("kaiser", 8.0)))


def resample(values: Tensor, source: float, target: float) -> Tensor:
    """Resample (C, T) from `source` to `target` Hz: (C, ceil(T * up / down)), the first sample stays where it is.

    Channels that are masked (all NaN) stay so. The ends are continued by odd reflection, since zeros beyond them would
    make an edge of a baseline, and bend gravity down to nothing.

    Example:
        >>> tuple(resample(torch.ones(6, 200), 100.0, 50.0).shape)
        (6, 100)
    """
    if same_rate(source, target):
        return values
    from scipy.signal import resample_poly

    up, down = ratio(float(source), float(target))
    array = values.detach().numpy().astype(np.float64)
    # upfirdn reads no further than its filter reaches; one sample has no slope to continue.
    mode = "antireflect" if array.shape[1] > 1 else "edge"
    done = resample_poly(array, up, down, axis=1, window=_filter(up, down), padtype=mode)
    return torch.from_numpy(np.ascontiguousarray(done, dtype=np.float32))
