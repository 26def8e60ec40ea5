"""Clips of any length -> what an encoder takes: filling short ones, fusing long ones. Pure functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def fill(wave: Tensor, samples: int, mode: str) -> tuple[Tensor, int]:
    """Fill a waveform (T,) that is shorter than `samples`; return it and how many samples of it are sound.

    Args:
        wave: (T,), T <= samples.
        samples: the length wanted.
        mode: "repeatpad": whole repetitions, then zeros; "repeat": repetitions, the last one cut; "pad": zeros; "keep":
            nothing.

    Example:
        >>> fill(torch.ones(200_000), 480_000, "repeatpad")[1]
        400000
    """
    length = wave.shape[0]
    if mode == "keep" or length >= samples:
        return wave, length
    if mode == "repeat":
        return wave.repeat(samples // length + 1)[:samples], samples
    real = samples // length * length if mode == "repeatpad" else length
    return F.pad(wave.repeat(real // length), (0, samples - real)), real


def thirds(total: int, chunk: int, fractions: Tensor | None = None) -> list[int]:
    """The first frames of the front, middle and back chunk.

    The possible starts are split into three parts as numpy's `array_split` does (earlier parts are longer by one);
    each chunk starts in its own part: in its middle, or where `fractions` (3,), from 0 to below 1, say. A part
    without starts gives 0.

    Example:
        >>> thirds(1011, 1001)
        [1, 5, 9]
    """
    count = total - chunk + 1
    starts = []
    first = 0
    for part in range(3):
        size = count // 3 + (part < count % 3)
        inside = (size - 1) // 2 if fractions is None else min(int(fractions[part] * size), size - 1)
        starts.append(first + inside if size > 0 else 0)
        first += size
    return starts


def fuse(mel: Tensor, chunk: int, fractions: Tensor | None = None) -> tuple[Tensor, bool]:
    """CLAP's fusion: (T, M) -> ((4, chunk, M) in the order global, front, middle, back; whether it was longer).

    The global view is the whole mel resized bilinearly. A clip of `chunk` frames gives four copies.
    """
    total = mel.shape[0]
    if total == chunk:
        return mel.expand(4, -1, -1), False
    whole = F.interpolate(mel[None, None], size=[chunk, mel.shape[1]], mode="bilinear", align_corners=False)[0, 0]
    return torch.stack([whole, *(mel[s : s + chunk] for s in thirds(total, chunk, fractions))]), True
