"""One rate for all: polyphase filtering with a windowed sinc, made once for each ratio."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST = 50_000
"""The largest number of a ratio: rates of whole Hz are exact, odder ones off by less than a sample in 100 million."""


@lru_cache(maxsize=32)
def _sinc(up: int, down: int) -> NDArray[Any]:
    """Low-pass at 0.92 of the lower Nyquist frequency, down by 70 dB at 1.01 of it, 24 zero crossings a side."""
    from scipy.signal import firwin

    most = max(up, down)
    return np.asarray(firwin(48 * most + 1, 0.92 / most, window=("kaiser", 7.0)), dtype=np.float32)


def ratio(source: float, target: float) -> Fraction:
    """target / source as a fraction, neither of whose numbers is above 50,000.

    Example:
        >>> ratio(44_100, 48_000), ratio(44_099, 48_000)
        (Fraction(160, 147), Fraction(48000, 44099))
    """
    exact = Fraction(target) / Fraction(source)
    return exact.limit_denominator(int(MOST / max(float(exact), 1.0)))


def resample(wave: Tensor, source: float, target: float) -> Tensor:
    """(T,) at `source` Hz -> (ceil(T * target / source),) at `target` Hz; the very tensor where the rates are equal.

    Example:
        >>> resample(torch.zeros(44_100), 44_100, 16_000).shape
        torch.Size([16000])
    """
    if source == target:
        return wave
    from scipy.signal import resample_poly

    by = ratio(source, target)
    done = resample_poly(wave.numpy(), by.numerator, by.denominator, window=_sinc(by.numerator, by.denominator))
    return torch.from_numpy(np.ascontiguousarray(done, dtype=np.float32))
