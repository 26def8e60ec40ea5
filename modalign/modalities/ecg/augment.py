"""Augmentations of ECGs (C, T) in mV, after the filters of `prepare`, before normalisation. A dropped lead is NaN.

What changes the rate, the rhythm or the voltage says so in `breaks`: captions and labels are about these.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from modalign.errors import ReadError
from modalign.modalities.base import Augmentation, Signal
from modalign.modalities.ecg import filters

_RHYTHM = frozenset({"rate", "rhythm", "order"})


def interpolate(data: Tensor, at: Tensor) -> Tensor:
    """Values of (C, T) at fractional positions (T',), linearly; positions are clamped to the ends."""
    at = at.clamp(0, data.shape[1] - 1)
    low = at.floor().long().clamp(max=max(data.shape[1] - 2, 0))
    high = (low + 1).clamp(max=data.shape[1] - 1)
    part = (at - low).to(data.dtype)
    return data[:, low] * (1 - part) + data[:, high] * part


def warp(data: Tensor, segments: int, strength: float, generator: Generator) -> Tensor:
    """Stretch or squeeze each of `segments` parts by a factor in 1 - strength to 1 + strength; the length stays."""
    length = data.shape[1]
    speed = 1 + strength * (2 * torch.rand(segments, generator=generator, dtype=torch.float64) - 1)
    steps = speed.repeat_interleave(math.ceil(length / segments))[:length]
    at = steps.cumsum(0) - steps[0]
    return interpolate(data, at * (length - 1) / at[-1].clamp_min(1e-9))


def permute(data: Tensor, segments: int, generator: Generator) -> Tensor:
    """Cut into `segments` parts of about one length, and put them in a random order."""
    parts = torch.tensor_split(data, segments, dim=1)
    return torch.cat([parts[i] for i in torch.randperm(segments, generator=generator).tolist()], 1)


class TimeWarp(Augmentation):
    """MoRE's time warp: four parts, each up to a quarter faster or slower, so that heart rate and intervals change.

    Values between samples are interpolated linearly: at 100 Hz a narrow QRS may lose a fifth of its height.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"rate", "rhythm", "timing", "amplitude"})
    segments: int = Field(4, ge=1)
    strength: float = Field(0.25, ge=0, lt=1)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Warp time; all leads alike."""
        return replace(signal, data=warp(signal.data, self.segments, self.strength, generator))


class SegmentPermutation(Augmentation):
    """MoRE's permutation: four parts in a random order; beats are cut, and RR intervals change at the joints."""

    breaks: ClassVar[frozenset[str]] = frozenset({"rhythm", "order"})
    segments: int = Field(4, ge=2)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Permute the parts; all leads alike."""
        return replace(signal, data=permute(signal.data, self.segments, generator))


class WarpOrPermute(Augmentation):
    """MoRE's policy: exactly one of time warp, permutation and nothing, each with one chance in three."""

    breaks: ClassVar[frozenset[str]] = _RHYTHM | {"timing", "amplitude"}
    segments: int = Field(4, ge=2)
    strength: float = Field(0.25, ge=0, lt=1)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Draw one of the three, and apply it."""
        choice = int(torch.randint(3, (), generator=generator))
        if choice == 0:
            return replace(signal, data=warp(signal.data, self.segments, self.strength, generator))
        if choice == 1:
            return replace(signal, data=permute(signal.data, self.segments, generator))
        return signal


class LeadDropout(Augmentation):
    """Drop leads, never all: what a model meets where electrodes are off or a device has fewer.

    Attributes:
        probability: of each lead.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"location"})
    probability: float = Field(0.1, ge=0, le=1)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Make dropped leads NaN."""
        there = torch.isfinite(signal.data).all(1)
        drop = torch.rand(len(there), generator=generator) < self.probability
        order = torch.randperm(len(there), generator=generator).tolist()  # drawn always: the same draws each time
        if bool((drop | ~there).all()):
            kept = next((i for i in order if there[i]), order[0])
            drop[kept] = False
        data = signal.data.clone()
        data[drop] = float("nan")
        return replace(signal, data=data)


class BaselineWander(Augmentation):
    """Add a slow drift to each lead: two sines of 0.05 to 0.5 Hz, as from breathing. ST is read against it.

    Where the processing takes the baseline out, the drift is filtered alike, so that no more is added than it leaves.

    Attributes:
        millivolts: the drift's largest amplitude.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"amplitude"})
    millivolts: float = Field(0.1, ge=0)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Add the drift."""
        channels, length = signal.data.shape
        t = torch.arange(length, dtype=torch.float64) / _rate(signal)
        drift = torch.zeros(channels, length, dtype=torch.float64)
        for _ in range(2):
            frequency = 0.05 + 0.45 * torch.rand((), generator=generator, dtype=torch.float64)
            phase = 2 * math.pi * torch.rand((), generator=generator, dtype=torch.float64)
            size = torch.rand(channels, 1, generator=generator, dtype=torch.float64) * self.millivolts / 2
            drift += size * torch.sin(2 * math.pi * frequency * t + phase)
        kind, cutoff = signal.meta.get("baseline", "none"), signal.meta.get("cutoff", 0.5)
        drift = filters.without_baseline(drift.to(signal.data.dtype), _rate(signal), kind, cutoff)
        return replace(signal, data=signal.data + drift)


class Noise(Augmentation):
    """Add noise at a signal-to-noise ratio drawn from a range, by the power of all leads together.

    Attributes:
        kind: "white", or "powerline" (one sine with its third harmonic, as far as the rate shows them).
        low: dB, the worst ratio.
        high: dB, the best.
        frequency: of the mains, Hz.
    """

    kind: Literal["white", "powerline"] = "white"
    low: float = Field(15.0, ge=-20, le=100)
    high: float = Field(30.0, ge=-20, le=100)
    frequency: Literal[50, 60] = 50

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g} dB) is above high ({self.high:g} dB)")
        return self

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Add the noise.

        Raises:
            ReadError: the rate shows no hum of this frequency.
        """
        data = signal.data
        ratio = self.low + (self.high - self.low) * torch.rand((), generator=generator, dtype=torch.float64)
        if self.kind == "white":
            noise = torch.randn(data.shape, generator=generator, dtype=torch.float64)
        else:
            noise = self._hum(data.shape[0], data.shape[1], _rate(signal), generator)
        known = data[torch.isfinite(data).all(1)].double()
        power = (known - known.mean(1, keepdim=True)).square().mean() if known.numel() else torch.zeros(())
        own = noise.square().mean()
        if own == 0:
            return signal
        size = (power / own / 10 ** (ratio / 10)).sqrt()
        return replace(signal, data=data + (size * noise).to(data.dtype))

    def _hum(self, channels: int, length: int, rate: float, generator: Generator) -> Tensor:
        if 2 * self.frequency >= rate:
            raise ReadError(
                f"ecg: noise of the kind powerline at {self.frequency} Hz needs a rate above {2 * self.frequency} Hz, "
                f"not {rate:g}; raise processing.rate, or take the kind white"
            )
        t = torch.arange(length, dtype=torch.float64) / rate
        phase = 2 * math.pi * torch.rand(2, generator=generator, dtype=torch.float64)
        share = 0.5 + 0.5 * torch.rand(channels, 1, generator=generator, dtype=torch.float64)
        hum = torch.zeros(length, dtype=torch.float64)
        for order, size, shift in zip((1, 3), (1.0, 0.2), phase):
            if order * self.frequency < rate / 2:
                hum += size * torch.sin(2 * math.pi * order * self.frequency * t + shift)
        return share * hum


class Scaling(Augmentation):
    """Multiply all leads by one factor, uniform in 1 - amplitude to 1 + amplitude: voltage criteria move."""

    breaks: ClassVar[frozenset[str]] = frozenset({"amplitude"})
    amplitude: float = Field(0.1, ge=0, lt=1)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Scale the signal."""
        factor = 1 + self.amplitude * (2 * float(torch.rand((), generator=generator, dtype=torch.float64)) - 1)
        return replace(signal, data=signal.data * factor)


class TimeShift(Augmentation):
    """Move the recording in time by up to `max_seconds` either way; the value at the edge is held."""

    max_seconds: float = Field(0.5, ge=0)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Shift by a whole number of samples."""
        length = signal.data.shape[1]
        most = min(int(self.max_seconds * _rate(signal)), length - 1)
        shift = int(torch.randint(-most, most + 1, (), generator=generator))
        return replace(signal, data=signal.data[:, (torch.arange(length) - shift).clamp(0, length - 1)])


def _rate(signal: Signal) -> float:
    if signal.rate is None:
        raise ReadError("ecg: the signal has no rate; read it with ecg.rate (Hz)")
    return signal.rate


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "time_warp": TimeWarp,
    "segment_permutation": SegmentPermutation,
    "warp_or_permute": WarpOrPermute,
    "lead_dropout": LeadDropout,
    "baseline_wander": BaselineWander,
    "noise": Noise,
    "scaling": Scaling,
    "time_shift": TimeShift,
}
