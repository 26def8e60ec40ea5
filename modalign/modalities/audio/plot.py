"""Audio as it is looked at: the waveform, and the spectrogram on a mel scale below."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modalign.modalities import drawing
from modalign.modalities.audio.mel import hertz_to_mel, mel_to_hertz
from modalign.modalities.base import Signal

Array = NDArray[Any]
BANDS = 128
COLUMNS = 1200
RANGE = 80.0
"""dB below the loudest that are shown."""
TICKS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)


def mel_axis(rate: float, bands: int) -> Array:
    """Hz of the middles of `bands` rows that lie evenly on HTK's mel scale between 0 and half the rate.

    Example:
        >>> mel_axis(16_000, 2).round().tolist()
        [614.0, 3934.0]
    """
    top = float(hertz_to_mel(rate / 2, "htk"))
    return mel_to_hertz((np.arange(bands) + 0.5) / bands * top, "htk")


def spectrogram(wave: Tensor, rate: float, bands: int = BANDS) -> Array:
    """Waveform (T,) -> dB (bands, columns) on `mel_axis`, lowest first, the loudest 0."""
    size = 1 << max(6, round(np.log2(rate * 0.032)))
    hop = max(size // 4, len(wave) // COLUMNS)
    wave = torch.nn.functional.pad(wave.float(), (size // 2, size // 2 + size))
    frames = torch.stft(wave, size, hop, window=torch.hann_window(size), center=False, return_complex=True)
    power = frames.abs().square().numpy()[:, : max(1, (len(wave) - 2 * size) // hop + 1)]
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    place = np.clip(mel_axis(rate, bands) / rate * size, 0, size / 2)
    low = np.minimum(place.astype(int), len(decibels) - 2)
    part = (place - low)[:, None]
    shown: Array = decibels[low] * (1 - part) + decibels[low + 1] * part
    shown -= shown.max()
    return shown


def plot_audio(signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
    """Draw the waveform and its spectrogram.

    Args:
        signal: (1, T).
        ax: the area; two panels are put into it.
        relevance: (T',) or (1, T'), over time; or (F, T'): rows lie evenly on the mel scale between 0 and half the
            signal's rate (`mel_axis`), the lowest first. Columns lie evenly over the recording.
    """
    times, seconds, unit = drawing.seconds_of(signal)
    wave = signal.data[0].detach().float().cpu()
    rate = signal.rate or 2.0
    above, below = drawing.panels(ax, [1.0, 2.2], gap=0.06)
    most = float(wave.abs().max()) * 1.05 if wave.numel() and wave.any() else 1.0
    above.set(xlim=(0, seconds), ylim=(-most, most))
    above.set_xticklabels([])
    above.tick_params(labelsize=7)
    top = float(hertz_to_mel(rate / 2, "htk"))
    below.set(xlim=(0, seconds), ylim=(0, top))
    shown = spectrogram(wave, rate)
    below.imshow(
        shown, origin="lower", aspect="auto", extent=(0, seconds, 0, top), vmin=-RANGE, vmax=0,
        cmap="magma" if relevance is None else "gray",
    )  # fmt: skip
    if relevance is not None:
        values = np.asarray(relevance, dtype=np.float64)
        values = values[None] if values.ndim == 1 else values
        full = drawing.full_scale(values)
        over = values.mean(0, keepdims=True)  # of a spectrogram, over its bands: on a scale of its own
        drawing.shade(above, drawing.colours(over, full if len(values) == 1 else None), (0, seconds, -most, most))
        if len(values) > 1:
            drawing.shade(
                below, drawing.colours(values, full), (0, seconds, 0, top), origin="lower", zorder=2,
                interpolation="nearest" if len(values) >= BANDS else "bilinear",
            )  # fmt: skip
        else:
            drawing.shade(below, drawing.colours(values, full), (0, seconds, 0, top), zorder=2)
    drawing.line(above, times, wave.numpy(), color="0.15", linewidth=0.6)
    ticks = [hertz for hertz in TICKS if hertz < rate / 2]
    below.set_yticks(
        [float(hertz_to_mel(hertz, "htk")) for hertz in ticks],
        [f"{hertz // 1000}k" if hertz >= 1000 else str(hertz) for hertz in ticks],
    )
    below.tick_params(labelsize=7)
    below.set_xlabel(unit, fontsize=8)
    below.set_ylabel("Hz", fontsize=8)
    drawing.plain(above)
