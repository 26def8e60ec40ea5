"""Augmentations of motion signals (C, T) in physical units, before standardisation. A masked channel is NaN.

Put masks last: an axis that is masked cannot be rotated back, so that a rotation spreads it over its device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from modalign.modalities.base import Augmentation, Signal
from modalign.modalities.motion.fields import split_channel, triples


def axis_rotation(axis: Tensor, angle: float) -> Tensor:
    """Rodrigues' rotation: axis (3,), angle in radians -> matrix (3, 3), det +1.

    Example:
        >>> axis_rotation(torch.tensor([0.0, 0.0, 2.0]), math.pi / 2).round().int().tolist()
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    """
    x, y, z = axis.tolist()  # plain numbers: a matrix is made for every row, and tensor operations cost ten times this
    norm = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / norm, y / norm, z / norm
    s, c = math.sin(angle), math.cos(angle)
    d = 1 - c
    return torch.tensor(
        [
            [c + x * x * d, x * y * d - z * s, x * z * d + y * s],
            [y * x * d + z * s, c + y * y * d, y * z * d - x * s],
            [z * x * d - y * s, z * y * d + x * s, c + z * z * d],
        ],
        dtype=torch.float64,
    )


def uniform_rotation(generator: Generator) -> Tensor:
    """A rotation drawn uniformly (3, 3): a normalised Gaussian quaternion, as in UniMTS."""
    q = torch.randn(4, generator=generator, dtype=torch.float64)
    w, x, y, z = (q / q.norm()).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def _rows(rows: list[int]) -> slice | list[int]:
    """Neighbouring rows as a slice: a view in place of a copy, at a fifth of the time."""
    return slice(rows[0], rows[-1] + 1) if rows == list(range(rows[0], rows[-1] + 1)) else rows


class _Rotation(Augmentation):
    """Turn each device: one matrix for its accelerometer and gyroscope, all moments alike.

    Attributes:
        shared: the same draw for all devices; else each has its own. A device without all three axes of a sensor
            stays as it is.
    """

    shared: bool = False

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Rotate the signal; norms stay."""
        sensors = triples(signal.channels)
        data = signal.data.clone()
        make: Callable[[Tensor | None], Tensor | None] | None = None
        for location in sorted({split[0] for name in signal.channels if (split := split_channel(name))}):
            mine = {sensor: rows for (place, sensor), rows in sensors.items() if place == location}
            if make is None or not self.shared:
                make = self._draw(generator)
            if sum(len(rows) for rows in mine.values()) != _count(signal.channels, location):
                continue
            gravity = signal.data[_rows(mine["acc"])].double().mean(1) if "acc" in mine else None
            matrix = make(gravity)
            if matrix is None:
                continue
            for rows in mine.values():
                at = _rows(rows)
                data[at] = (matrix @ signal.data[at].double()).to(data.dtype)
        return replace(signal, data=data)

    def _draw(self, generator: Generator) -> Callable[[Tensor | None], Tensor | None]:
        """Draw once; return the function from a device's mean acceleration (3,) to its rotation."""
        raise NotImplementedError("abstract: a rotation draws its matrix")


def _count(channels: Sequence[str], location: str) -> int:
    return sum(1 for name in channels if (split := split_channel(name)) and split[0] == location)


class YawRotation(_Rotation):
    """Turn about gravity, whose direction is the window's mean acceleration: the heading changes, what is up stays.

    Attributes:
        max_degrees: the angle is uniform within plus or minus this.
    """

    max_degrees: float = Field(180.0, ge=0, le=180)

    def _draw(self, generator: Generator) -> Callable[[Tensor | None], Tensor | None]:
        angle = _uniform(-math.radians(self.max_degrees), math.radians(self.max_degrees), generator)

        def matrix(gravity: Tensor | None) -> Tensor | None:
            # In free fall, or masked, there is no direction to turn about.
            return axis_rotation(gravity, angle) if gravity is not None and gravity.norm() > 0.1 else None

        return matrix


class FullRotation(_Rotation):
    """Turn anywhere, uniformly: what is up is lost (METHODS: UniMTS turns every device so)."""

    breaks: ClassVar[frozenset[str]] = frozenset({"gravity"})

    def _draw(self, generator: Generator) -> Callable[[Tensor | None], Tensor | None]:
        drawn = uniform_rotation(generator)
        return lambda _: drawn


class SmallRotation(_Rotation):
    """Tilt about a random axis: a device that is worn a little differently.

    Attributes:
        max_degrees: the angle is uniform up to this.
    """

    max_degrees: float = Field(15.0, ge=0, le=90)

    def _draw(self, generator: Generator) -> Callable[[Tensor | None], Tensor | None]:
        axis = torch.randn(3, generator=generator, dtype=torch.float64)
        drawn = axis_rotation(axis, _uniform(0, math.radians(self.max_degrees), generator))
        return lambda _: drawn


def groups(channels: Sequence[str], by: Literal["group", "channel", "location"]) -> list[list[int]]:
    """Rows that go together: each sensor of each device, each channel, or each device.

    Example:
        >>> groups(["acc_x", "acc_y", "gyro_x"], "group")
        [[0, 1], [2]]
    """
    if by == "channel":
        return [[i] for i in range(len(channels))]
    found: dict[tuple[str, ...], list[int]] = {}
    for i, name in enumerate(channels):
        location, sensor, _ = split_channel(name) or ("", name, "")
        found.setdefault((location,) if by == "location" else (location, sensor), []).append(i)
    return list(found.values())


class Scaling(Augmentation):
    """Multiply each sensor of each device by its own factor, uniform in 1 - amplitude to 1 + amplitude."""

    breaks: ClassVar[frozenset[str]] = frozenset({"amplitude"})
    amplitude: float = Field(0.1, ge=0, lt=1)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Scale the signal."""
        data = signal.data.clone()
        for rows in groups(signal.channels, "group"):
            data[_rows(rows)] *= _uniform(1 - self.amplitude, 1 + self.amplitude, generator)
        return replace(signal, data=data)


class Jitter(Augmentation):
    """Add white noise.

    Attributes:
        acc: standard deviation, m/s2.
        gyro: standard deviation, rad/s.
    """

    acc: float = Field(0.05, ge=0)
    gyro: float = Field(0.01, ge=0)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Add noise to the signal."""
        sizes = [getattr(self, (split_channel(name) or ("", "acc", ""))[1]) for name in signal.channels]
        noise = torch.randn(signal.data.shape, generator=generator)
        return replace(signal, data=signal.data + noise * torch.tensor(sizes).unsqueeze(1))


class TimeShift(Augmentation):
    """Move the window in time by up to `max_seconds` either way; the value at the edge is held where nothing is known.

    Not a roll, which would join the end to the beginning.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"timing"})
    max_seconds: float = Field(0.2, ge=0)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Shift the signal by a whole number of samples; its length stays."""
        length = signal.data.shape[1]
        most = min(int(self.max_seconds * (signal.rate or 1.0)), length - 1)
        shift = int(torch.randint(-most, most + 1, (), generator=generator))
        at = (torch.arange(length) - shift).clamp(0, length - 1)
        return replace(signal, data=signal.data[:, at])


def mask_rows(data: Tensor, units: Sequence[Sequence[int]], probability: float, generator: Generator) -> Tensor:
    """A copy of (C, T) in which each unit of rows is NaN with a probability, but never all that are there."""
    present = [rows for rows in units if not torch.isnan(data[list(rows)]).all()]
    drop = torch.rand(len(present), generator=generator) < probability
    keep = int(torch.randint(max(len(present), 1), (), generator=generator))  # drawn always: the same draws each time
    if present and drop.all():
        drop[keep] = False
    masked = data.clone()
    for rows, dropped in zip(present, drop.tolist()):
        if dropped:
            masked[list(rows)] = float("nan")
    return masked


class ChannelMask(Augmentation):
    """Mask sensors (or single channels), never all: what a model meets where a device has no gyroscope.

    Attributes:
        by: "group": a sensor of a device at a time; "channel": an axis at a time.
        probability: of each.
    """

    by: Literal["group", "channel"] = "group"
    probability: float = Field(0.2, ge=0, le=1)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Mask the signal."""
        return replace(
            signal, data=mask_rows(signal.data, groups(signal.channels, self.by), self.probability, generator)
        )


class LocationMask(Augmentation):
    """Mask whole devices, never all.

    Attributes:
        probability: of each device.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"location"})
    probability: float = Field(0.2, ge=0, le=1)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Mask the signal."""
        return replace(
            signal, data=mask_rows(signal.data, groups(signal.channels, "location"), self.probability, generator)
        )


class KeepLocations(Augmentation):
    """Keep a few devices and mask all others: what a model of the whole body meets where few devices are worn.

    As UniMTS's pretraining, where 1 to 5 of the 22 joints are kept.

    Attributes:
        least: devices kept at least.
        most: devices kept at most; how many is uniform between both.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"location"})
    least: int = Field(1, ge=1)
    most: int = Field(5, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least ({self.least}) is at most most ({self.most})")
        return self

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Mask the signal; devices that are masked already do not count."""
        units = groups(signal.channels, "location")
        present = [rows for rows in units if not torch.isnan(signal.data[rows]).all()]
        count = int(torch.randint(self.least, self.most + 1, (), generator=generator))
        dropped = torch.randperm(len(present), generator=generator)[count:].tolist()
        data = signal.data.clone()
        data[[row for unit in dropped for row in present[unit]]] = float("nan")
        return replace(signal, data=data)
