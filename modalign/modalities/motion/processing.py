"""Signal -> model input: one rate, one order of channels, one length, and constants of the training set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from modalign.errors import ModelError, ReadError, suggest
from modalign.modalities.base import Processing, Signal
from modalign.modalities.motion.fields import STANDARD, split_channel
from modalign.modalities.motion.placement import check_placement, place_on_joints
from modalign.modalities.resampling import ratio, resample, same_rate
from modalign.modalities.windows import restore


class MotionProcessing(Processing):
    """Resample, choose channels, cut, standardise. No window is standardised by itself: gravity would vanish.

    Attributes:
        rate: the model's rate, Hz.
        channels: the model's channels, in its order; channels of the signal that are not named here are left out.
        window: the model's length in seconds, `round(window * rate)` samples; None takes any length. From what is
            longer, training takes a random window each epoch.
        hop: seconds between the windows that cover what is longer at inference, at most the window, the last one
            ending with it; None takes only the one about its centre.
        short: what to do with what is shorter than the window: "refuse" (default), "wrap" (begin again from the
            start; UniMTS) or "zero" (zeros after standardisation: the training mean). One sample that rounding takes
            is always filled, with the last value.
        mean: of each channel over the training set (m/s2, rad/s), found by `fit`; None before: 0.
        std: standard deviation likewise; None before: 1.
        missing: a channel that the signal lacks, or that an augmentation masked by NaN: "zero" makes it 0 after
            standardisation, the training mean; "refuse" refuses a signal that lacks one. A signal that has none of
            the channels is always refused.
        placement: puts each device's channels under the names of the joints that it is on, by the location before its
            channels' names, or by `motion.location` where there is none: "body" (words for places on the body), the
            name of a public data set (UniMTS's table for it), or a table as {place: [joint, ...]}. Joints without a
            device are masked, by `missing`. None: channels keep their names.
        padding: whether the encoder takes padded batches ("exact"); dictated by the encoder.

    Example:
        >>> signal = Signal(torch.zeros(3, 200), 100.0, ("acc_x", "acc_y", "acc_z"))
        >>> tuple(MotionProcessing(rate=50, window=2)(signal)["values"].shape)
        (6, 100)
    """

    rate: float = Field(50.0, gt=0, allow_inf_nan=False)
    channels: tuple[str, ...] = STANDARD
    window: float | None = Field(None, gt=0, allow_inf_nan=False)
    hop: float | None = Field(None, gt=0, allow_inf_nan=False)
    short: Literal["refuse", "wrap", "zero"] = "refuse"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    missing: Literal["zero", "refuse"] = "zero"
    placement: str | dict[str, tuple[str, ...]] | None = None
    padding: Literal["exact", "fixed"] = "fixed"

    @field_validator("placement")
    @classmethod
    def _placed(cls, placement: str | dict[str, tuple[str, ...]] | None) -> str | dict[str, tuple[str, ...]] | None:
        return check_placement(placement)

    @field_validator("channels")
    @classmethod
    def _known(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if not channels:
            raise ValueError("names no channel")
        for name in channels:
            if split_channel(name) is None:
                raise ValueError(f"{name!r} is not a channel: {suggest(name, STANDARD)}")
            if channels.count(name) > 1:
                raise ValueError(f"{name!r} is given twice")
        return channels

    @model_validator(mode="after")
    def _constants_fit(self) -> Self:
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != len(self.channels):
                raise ValueError(f"{key} has {len(values)} values for {len(self.channels)} channels")
            if values is not None and not all(math.isfinite(v) and (key == "mean" or v > 0) for v in values):
                raise ValueError(f"{key} must be finite" + (" and above 0" if key == "std" else ""))
        if self.window is not None and self.hop is not None and self.hop > self.window:
            raise ValueError(f"hop ({self.hop:g} s) is above the window ({self.window:g} s): parts would be left out")
        if self.window is not None and self.samples == 0:
            raise ValueError(f"window of {self.window} s holds no sample at {self.rate} Hz")
        return self

    @property
    def samples(self) -> int | None:
        """The window's length in samples, or None where any length is taken."""
        return None if self.window is None else round(self.window * self.rate)

    def __call__(self, signal: Signal) -> dict[str, Tensor]:
        """Signal (C', T') -> `values` (C, T), float32, standardised.

        Raises:
            ReadError: the signal has none of the channels (or lacks one, by `missing`), or is too short.
        """
        signal = self._place(signal)
        values = resample(signal.data, self._source_rate(signal), self.rate)
        if signal.channels != self.channels:
            values = self._choose(values, signal)
        if self.samples is not None:
            values = self._fit_length(values, self._source_rate(signal))
        if self.mean is not None and self.std is not None:
            mean, std = _constants(self.mean, self.std)
            values = (values - mean) / std
        # After standardisation, where 0 is the training mean.
        return {"values": values.nan_to_num(0.0)}

    def crop(self, signal: Signal, generator: torch.Generator) -> Signal:
        """A random window of a longer signal; a shorter one as it is."""
        spare = self._spare(signal)
        if spare <= 0:
            return signal
        return self._window(signal, int(torch.randint(spare + 1, (), generator=generator)))

    def segments(self, signal: Signal) -> list[Signal]:
        """Windows `hop` seconds apart that cover a longer signal, to its very end."""
        starts = self._starts(signal)
        return [signal] if len(starts) == 1 else [self._window(signal, start) for start in starts]

    def _starts(self, signal: Signal) -> list[int]:
        """The first source sample of each window of `segments`."""
        spare = self._spare(signal)
        if spare <= 0 or self.hop is None:
            return [0]
        step = max(round(self.hop * self._source_rate(signal)), 1)
        return [*range(0, spare, step), spare]

    def restore(self, relevances: Sequence[Tensor], signal: Signal) -> Tensor:
        """Relevance of the signal's own channels and samples: (C', T'). What stands on two joints adds up."""
        rate = self._source_rate(signal)
        up, down = (1, 1) if same_rate(rate, self.rate) else ratio(rate, self.rate)
        lengths = [math.ceil(window.data.shape[1] * up / down) for window in self.segments(signal)]
        placed = restore(
            relevances, self._starts(signal), lengths, rate / self.rate, signal.data.shape[1], self.short == "wrap"
        )
        # Which of the signal's rows each placed row is, by sending their numbers the same way.
        numbers = replace(signal, data=torch.arange(len(signal.data), dtype=torch.float32).unsqueeze(1))
        sources = self._place(numbers)
        rows = dict(zip(sources.channels, sources.data[:, 0].long().tolist()))
        out = torch.zeros_like(signal.data)
        for name, row in zip(self.channels, placed):
            if name in rows:
                out[rows[name]] += row
        return out

    def _spare(self, signal: Signal) -> int:
        """Source samples that the signal has beyond the window."""
        if self.window is None:
            return 0
        return signal.data.shape[1] - round(self.window * self._source_rate(signal))

    def _window(self, signal: Signal, start: int) -> Signal:
        length = round((self.window or 0) * self._source_rate(signal))
        return replace(signal, data=signal.data[:, start : start + length])

    def collate(self, items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Batch: `values` (B, C, T) and `mask` (B, T).

        Raises:
            ModelError: lengths differ, and the encoder's embedding of an item would move with the padding. Checked
                here, where lengths are plain numbers: on a GPU a check of the mask would stall every step.
        """
        lengths = {item["values"].shape[-1] for item in items}
        if self.padding == "fixed" and len(lengths) > 1:
            raise ModelError(
                f"motion: this encoder takes no padding, and the batch has windows of {min(lengths)} to {max(lengths)} "
                "samples; set processing.window (seconds), and processing.short for what is shorter"
            )
        return super().collate(items)

    def fit(self, signals: Iterable[Signal]) -> Self:
        """A copy with the mean and standard deviation of each channel over these signals, in one pass, in float64.

        Masked and missing channels do not count. A channel that is constant, or that no signal has, gets 1.

        Raises:
            ReadError: there is no signal.
        """
        count = np.zeros(len(self.channels))
        mean, squares = np.zeros(len(self.channels)), np.zeros(len(self.channels))
        seen = False
        for given in signals:
            seen, signal = True, self._place(given)
            values = self._choose(resample(signal.data, self._source_rate(signal), self.rate), signal)
            known = torch.isfinite(values).all(1).numpy()
            block = values[torch.from_numpy(known)].double().numpy()
            # Chan's update: the sum of squares alone would lose a small deviation beside 9.81.
            n, own = block.shape[1], block.mean(1)
            shift, total = own - mean[known], count[known] + n
            squares[known] += ((block - own[:, None]) ** 2).sum(1) + shift**2 * count[known] * n / total
            mean[known] += shift * n / total
            count[known] = total
        if not seen:
            raise ReadError("motion: no training signal to take the mean and deviation from; check the split column")
        std = np.sqrt(squares / np.maximum(count, 1))
        std = np.where(std > 1e-6, std, 1.0)
        return self.model_copy(update={"mean": tuple(mean.tolist()), "std": tuple(std.tolist())})

    def _source_rate(self, signal: Signal) -> float:
        if signal.rate is None:
            raise ReadError("motion: the signal has no rate; read it with motion.rate (Hz)")
        return signal.rate

    def _place(self, signal: Signal) -> Signal:
        return signal if self.placement is None else place_on_joints(signal, self.placement)

    def _choose(self, values: Tensor, signal: Signal) -> Tensor:
        """Rows in the model's order; NaN where the signal has no such channel."""
        rows = _rows(self.channels, signal.channels)
        lacking = [name for name, row in zip(self.channels, rows) if row < 0]
        if len(lacking) == len(rows) or (lacking and self.missing == "refuse"):
            raise ReadError(
                f"motion: the signal has {', '.join(signal.channels) or 'no named channel'}, and the model wants "
                f"{', '.join(lacking)}; mend motion.columns, or processing.channels (and processing.missing)"
            )
        if not lacking:
            return values[list(rows)]
        chosen = values.new_full((len(rows), values.shape[1]), float("nan"))
        here = [i for i, row in enumerate(rows) if row >= 0]
        chosen[here] = values[[rows[i] for i in here]]
        return chosen

    def _fit_length(self, values: Tensor, source_rate: float) -> Tensor:
        wanted, length = self.samples or 0, values.shape[1]
        if length >= wanted:
            first = (length - wanted) // 2
            return values[:, first : first + wanted]
        lacking = wanted - length
        if lacking <= max(math.ceil(self.rate / source_rate), 1):
            return torch.cat([values, values[:, -1:].expand(-1, lacking)], 1)
        if self.short == "wrap":
            return values[:, torch.arange(wanted) % length]
        if self.short == "zero":
            return torch.nn.functional.pad(values, (0, lacking), value=float("nan"))
        raise ReadError(
            f"motion: a signal of {length / self.rate:.3g} s is shorter than processing.window ({self.window:g} s); "
            "give longer windows, or set processing.short to wrap or zero"
        )


@lru_cache(maxsize=256)
def _rows(wanted: tuple[str, ...], given: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(given.index(name) if name in given else -1 for name in wanted)


@lru_cache(maxsize=32)
def _constants(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    return torch.tensor(mean).unsqueeze(1), torch.tensor(std).unsqueeze(1)
