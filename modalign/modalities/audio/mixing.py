"""Two clips into one: overlaid by how loud they sound, or one after the other. Pure functions, for composed captions.

Source: CompA (Sreyan88/CompA), after between-class learning (Tokozume et al. 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FRAME = 2048
SILENT = -120.0


def a_weighting(hertz: Tensor) -> Tensor:
    """The A-weighting of IEC 61672 in dB, 0 at 1 kHz: how loud a tone of this frequency sounds.

    Example:
        >>> [round(v, 1) for v in a_weighting(torch.tensor([100.0, 1000.0, 10_000.0])).tolist()]
        [-19.1, 0.0, -2.5]
    """
    f2 = hertz.double().square()
    top = 12194.0**2 * f2.square()
    bottom = (f2 + 20.6**2) * ((f2 + 107.7**2) * (f2 + 737.9**2)).sqrt() * (f2 + 12194.0**2)
    return (20 * (top / bottom).clamp_min(1e-30).log10() + 2.0).clamp_min(SILENT)


def a_weighted_gain(wave: Tensor, rate: float) -> float:
    """The A-weighted level of the loudest frame of a waveform (T,), in dB; -120 for silence."""
    wave = F.pad(wave.double(), (0, max(0, FRAME - len(wave))))
    frames = wave.unfold(0, FRAME, FRAME // 2) * torch.hann_window(FRAME, dtype=torch.float64)
    power = torch.fft.rfft(frames).abs().square()
    weights = 10 ** (a_weighting(torch.fft.rfftfreq(FRAME, 1 / rate, dtype=torch.float64)) / 10)
    return max(SILENT, 10 * float((power @ weights).max().clamp_min(1e-12).log10()))


def mix(x1: Tensor, x2: Tensor, rate: float, r: float = 0.5) -> Tensor:
    """Overlay two waveforms so that they sound as loud as r to 1 - r: (T1,), (T2,) -> (max(T1, T2),).

    `(t x1 + (1 - t) x2) / sqrt(t^2 + (1 - t)^2)`, `t = 1 / (1 + 10^((g1 - g2) / 20) (1 - r) / r)`, where g is the
    A-weighted gain. The shorter one ends earlier. The sum may pass 1.

    Example:
        >>> x = torch.sin(torch.arange(8000) / 3)
        >>> torch.allclose(mix(x, x, 8000), 2**0.5 * x)
        True

    Raises:
        ValueError: r is not between 0 and 1.
    """
    if not 0 < r < 1:
        raise ValueError(f"r is between 0 and 1, not {r}")
    t = 1 / (1 + 10 ** ((a_weighted_gain(x1, rate) - a_weighted_gain(x2, rate)) / 20) * (1 - r) / r)
    length = max(len(x1), len(x2))
    a, b = (F.pad(x, (0, length - len(x))) for x in (x1, x2))
    out: Tensor = (t * a + (1 - t) * b) / (t**2 + (1 - t) ** 2) ** 0.5
    return out


def concatenate(x1: Tensor, x2: Tensor, overlap: float = 0.1, peak: float | None = 0.5) -> Tensor:
    """One waveform after the other, faded linearly into each other over a share of the shorter one.

    Args:
        x1: (T1,).
        x2: (T2,).
        overlap: the share.
        peak: the largest absolute sample of the result; None leaves it.

    Raises:
        ValueError: overlap is not from 0 to 1.
    """
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is from 0 to 1, not {overlap}")
    n = int(overlap * min(len(x1), len(x2)))
    fade = torch.linspace(0, 1, n) if n > 1 else torch.full((n,), 0.5)
    joint = x1[len(x1) - n :] * (1 - fade) + x2[:n] * fade
    out = torch.cat([x1[: len(x1) - n], joint, x2[n:]])
    loudest = out.abs().max() if len(out) else out.new_zeros(())
    return out if peak is None or loudest == 0 else out * (peak / loudest)
