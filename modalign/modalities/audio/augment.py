"""Augmentations of audio signals (1, T), before the front end. SpecAugment is drawn here, and applied to features."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from modalign.modalities.audio.background import MixBackground
from modalign.modalities.audio.processing import MASKS, replace_meta
from modalign.modalities.base import Augmentation, Signal


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


class Gain(Augmentation):
    """Louder or quieter, uniformly in dB.

    Attributes:
        low: dB.
        high: dB.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"amplitude"})
    low: float = Field(-6.0, allow_inf_nan=False)
    high: float = Field(6.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Gain:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g} dB) is above high ({self.high:g} dB)")
        return self

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Scale the signal."""
        return replace(signal, data=signal.data * 10 ** (_uniform(self.low, self.high, generator) / 20))


def coloured_noise(samples: int, colour: Literal["white", "pink"], generator: Generator) -> Tensor:
    """Gaussian noise (samples,) of mean square 1: white, or pink (power falls as 1 / frequency)."""
    noise = torch.randn(samples, generator=generator)
    if colour == "pink" and samples > 2:
        spectrum = torch.fft.rfft(noise)
        spectrum = spectrum / torch.arange(len(spectrum)).clamp_min(1).sqrt()
        spectrum[0] = 0
        noise = torch.fft.irfft(spectrum, samples)
    return noise / noise.square().mean().sqrt().clamp_min(1e-12)


class Noise(Augmentation):
    """Add noise at a signal-to-noise ratio drawn uniformly in dB. Silence stays silent; a constant offset is no signal.

    Attributes:
        colour: "white" or "pink".
        low: dB.
        high: dB.
    """

    colour: Literal["white", "pink"] = "white"
    low: float = Field(10.0, allow_inf_nan=False)
    high: float = Field(30.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Noise:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g} dB) is above high ({self.high:g} dB)")
        return self

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Add the noise."""
        snr = _uniform(self.low, self.high, generator)
        noise = coloured_noise(signal.data.shape[-1], self.colour, generator)
        level = signal.data.std(correction=0) * 10 ** (-snr / 20)
        return replace(signal, data=signal.data + level * noise)


class TimeShift(Augmentation):
    """Move the sound in time; silence comes in. Not a roll, which would put the end before the beginning.

    Attributes:
        max_share: of the signal's length, either way.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"timing"})
    max_share: float = Field(0.2, ge=0, lt=1)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Shift by a whole number of samples; the length stays."""
        length = signal.data.shape[-1]
        most = int(self.max_share * length)
        shift = int(torch.randint(-most, most + 1, (), generator=generator))
        data = torch.zeros_like(signal.data)
        if shift >= 0:
            data[:, shift:] = signal.data[:, : length - shift]
        else:
            data[:, :shift] = signal.data[:, -shift:]
        return replace(signal, data=data)


class SpecAugment(Augmentation):
    """Blank stripes of the log-mel features (Park et al. 2019): the masked places take the clip's mean.

    The stripes are drawn here, from the row's own generator, and carried to the front end by `meta`.

    Attributes:
        time_masks: how many stripes of time.
        time_share: the widest, as a share of the sound.
        band_masks: how many stripes of bands.
        band_share: the widest, as a share of the bands.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"spectrum"})
    time_masks: int = Field(2, ge=0)
    time_share: float = Field(0.064, ge=0, le=1)  # 64 of CLAP's 1001 frames
    band_masks: int = Field(2, ge=0)
    band_share: float = Field(0.125, ge=0, le=1)  # 8 of its 64 bands

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Draw the stripes; the samples stay."""
        stripes = []
        for count, share, time in (
            (self.time_masks, self.time_share, True),
            (self.band_masks, self.band_share, False),
        ):
            for _ in range(count):
                width = _uniform(0, share, generator)
                first = _uniform(0, 1 - width, generator)
                edges = (first, first + width)
                stripes.append((*edges, 0.0, 1.0) if time else (0.0, 1.0, *edges))
        return replace_meta(signal, {MASKS: (*signal.meta.get(MASKS, ()), *stripes)})


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "spec_augment": SpecAugment,
    "gain": Gain,
    "noise": Noise,
    "time_shift": TimeShift,
    "mix_background": MixBackground,
}
