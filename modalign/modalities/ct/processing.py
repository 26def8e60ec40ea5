"""Signal -> model input: one spacing, the body alone, windows as channels, one shape; volumes, or stacks of slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator
from torch import Tensor

from modalign.errors import ModelError, ReadError
from modalign.modalities.base import Processing, Signal
from modalign.modalities.ct.fields import Spacing
from modalign.modalities.ct.geometry import AIR
from modalign.modalities.ct.relevance import as_stored, to_source, uncut
from modalign.modalities.ct.resample import centred, cut, foreground, resample
from modalign.modalities.ct.windows import apply_window, parse_window

DEFAULT_WINDOWS = {1: ("chest",), 3: ("lung", "chest", "bone")}
"""Channels -> windows where a recipe names none."""


def _moved(affine: Any, first: Sequence[int]) -> Any:
    """An affine (nested tuples, or None) of the part of a volume that begins at voxel `first`."""
    if affine is None:
        return None
    matrix = np.array(affine, dtype=np.float64)
    matrix[:3, 3] += matrix[:3, :3] @ np.array(first, dtype=np.float64)
    return tuple(tuple(float(v) for v in row) for row in matrix)


def _parts(value: Any) -> Any:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    return tuple(value) if isinstance(value, (list, tuple)) else value


class CtProcessing(Processing):
    """Spacing, foreground, resizing (the costly part: `prepare`), then shape and windows.

    Values are in the order that a reader of CT sees: slices from the feet to the head, rows from the front to the
    back, columns from the patient's right to the left.

    Attributes:
        mode: "volume": values (C, D, H, W); "slices": values (S, C, H, W) with a mask (S,), for 2-D encoders.
        spacing: mm along x (right), y (front) and z (head); one number stands for all; None keeps the source's.
        foreground: HU above which a voxel is foreground: the box about all of them is kept. None: everything.
        margin: mm kept about the foreground.
        windows: names (lung, chest, abdomen, bone, brain, angio) or "level/width"; a channel each. None: chest.
        range: (low, high) of values that go to 0 and 1, in place of windows: for sources without HU.
        channels: how many the encoder takes; dictated by it. Without `windows`, 1 is chest and 3 are lung, chest and
            bone; a `range` is repeated.
        mean, std: subtracted and divided by, a number a channel: of checkpoints that were trained so. None: 0 and 1.
        shape: voxels (D, H, W), or (H, W) in the mode "slices". What is larger is cut, what is smaller padded with air.
            None keeps the size, and a batch then takes equal sizes only.
        sizing: "cut" (and pad) to `shape`, so that mm stay mm; or "resize" the whole volume (or slices) to it.
        larger: of what is larger than `shape`: "centre": the part about the centre; "random": a part at random in
            training, and parts that cover the volume at inference, whose features are averaged.
        slices: in the mode "slices": how many, evenly chosen over the volume (all where it has fewer). None: all.
        step: in the mode "slices": every which slice is taken, before `slices` are chosen.

    Example:
        >>> signal = Signal(torch.zeros(1, 64, 64, 20), None, ("HU",), {"spacing": (1.0, 1.0, 2.0), "unit": "HU"})
        >>> CtProcessing(windows="lung, bone", channels=2, shape=(32, 48, 48))(signal)["values"].shape
        torch.Size([2, 32, 48, 48])
    """

    mode: Literal["volume", "slices"] = "volume"
    spacing: Spacing | None = None
    foreground: float | None = Field(None, allow_inf_nan=False)
    margin: float = Field(10.0, ge=0, le=1000)
    windows: Annotated[tuple[str, ...] | None, BeforeValidator(_parts)] = None
    range: tuple[float, float] | None = None
    channels: int = Field(1, ge=1)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    shape: tuple[int, ...] | None = None
    sizing: Literal["cut", "resize"] = "cut"
    larger: Literal["centre", "random"] = "centre"
    slices: int | None = Field(None, ge=1)
    step: int = Field(1, ge=1)
    _seen: int = PrivateAttr(0)
    _odd: dict[str, int] = PrivateAttr(default_factory=dict)

    @field_validator("spacing")
    @classmethod
    def _possible(cls, spacing: Spacing | None) -> Spacing | None:
        if spacing is not None and not all(0.05 <= mm <= 100 for mm in spacing):
            raise ValueError("is mm along three axes, 0.05 to 100")
        return spacing

    @field_validator("windows")
    @classmethod
    def _known(cls, windows: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if windows is not None and not windows:
            raise ValueError("names no window")
        for window in windows or ():
            parse_window(window)
        return windows

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.windows is not None and self.range is not None:
            raise ValueError("windows and range are two ways to the same thing; give one")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range goes from low to high, not {self.range[0]:g} to {self.range[1]:g}")
        axes = 2 if self.mode == "slices" else 3
        if self.shape is not None and (len(self.shape) != axes or not all(1 <= n <= 2048 for n in self.shape)):
            what = "(rows, columns)" if axes == 2 else "(slices, rows, columns)"
            raise ValueError(f"shape is {what} of 1 to 2048 in the mode {self.mode}, not {self.shape}")
        named = self._names()
        if self.range is None and len(named) != self.channels:
            raise ValueError(
                f"{len(named)} windows ({', '.join(named) or 'none named'}) for an encoder of {self.channels} "
                "channels; name as many, or set the encoder's option channels"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (len(values) != self.channels or (name == "std" and min(values) <= 0)):
                raise ValueError(f"{name} is {self.channels} numbers, one a channel, not {values}")
        if self.sizing == "resize" and (self.shape is None or self.larger != "centre"):
            raise ValueError("sizing = resize needs a shape, and nothing is then larger than it")
        if self.mode == "volume" and (self.slices is not None or self.step != 1):
            raise ValueError("slices and step go with mode = slices")
        return self

    def prepare_parameters(self) -> dict[str, Any]:
        """What `prepare` depends on."""
        said: dict[str, Any] = {"spacing": self.spacing, "foreground": self.foreground, "margin": self.margin}
        return {**said, "mode": self.mode, "size": self.shape} if self.sizing == "resize" else said

    def prepare(self, signal: Signal) -> Signal:
        """Resample to `spacing`, cut to the foreground, and resize; a signal prepared so is returned as it is.

        Raises:
            ReadError: the spacing of the signal is not known, and `spacing` is asked for.
        """
        done = repr(sorted(self.prepare_parameters().items()))
        if signal.meta.get("prepared") == done:
            return signal
        data, spacing, meta = signal.data, signal.meta.get("spacing"), dict(signal.meta)
        affine = None if meta.get("affine") is None else np.array(meta["affine"], dtype=np.float64)
        if self.spacing is not None:
            if spacing is None:
                if signal.meta.get("slices"):
                    raise ReadError(
                        "ct: processing.spacing is set, and the slices of ct.slices are not evenly spaced; take "
                        "processing.spacing away, and use mode = slices"
                    )
                raise ReadError(
                    "ct: processing.spacing is set, and the volume does not say how far its voxels are apart; set "
                    "ct.spacing and ct.axes, or take processing.spacing away"
                )
            data, affine = resample(data, spacing, self.spacing, affine)
            spacing = self.spacing
        if self.foreground is not None:
            margin = [round(self.margin / mm) for mm in spacing] if spacing else [round(self.margin)] * 3
            box = foreground(data, self.foreground, margin)
            if box is not None:
                data = data[(slice(None), *box)].contiguous()
                affine = None if affine is None else np.array(_moved(affine, [part.start for part in box]))
        if self.sizing == "resize":
            sizes = tuple(data.shape[1:])
            factors = [n / w for n, w in zip(sizes, self._wanted(data))]
            old = spacing or (1.0, 1.0, 1.0)
            new = [mm * factor for mm, factor in zip(old, factors)]
            data, affine = resample(data, old, new, affine)
            spacing = None if spacing is None else tuple(new)
        meta |= {
            "spacing": None if spacing is None else tuple(float(mm) for mm in spacing),
            "affine": _moved(affine, (0, 0, 0)),
            "prepared": done,
        }
        return replace(signal, data=data, meta=meta)

    def __call__(self, signal: Signal) -> dict[str, Tensor]:
        """Signal (1, X, Y, Z) -> `values` (C, D, H, W), or (S, C, H, W) with `mask` (S,); float32, 0 to 1.

        Raises:
            ReadError: the signal has no HU, and windows are asked for.
        """
        self._seen += 1
        signal = self.prepare(signal)
        data = signal.data
        if self.mode == "slices":
            data = data[..., self.chosen(data.shape[3])]
        wanted = self._wanted(data)
        if wanted != tuple(data.shape[1:]):
            self._note_shape(tuple(data.shape[1:]), wanted)
            fill = 0.0 if signal.meta.get("unit") == "none" else AIR
            data = cut(data, [centred(n, w) for n, w in zip(data.shape[1:], wanted)], wanted, fill)
        seen = data[0].flip(0, 1).permute(2, 1, 0).contiguous()
        values = torch.stack(self._channels(seen, signal))
        if self.mean is not None:
            values = values - values.new_tensor(self.mean).view(-1, 1, 1, 1)
        if self.std is not None:
            values = values / values.new_tensor(self.std).view(-1, 1, 1, 1)
        if self.mode == "volume":
            return {"values": values}
        values = values.transpose(0, 1).contiguous()
        return {"values": values, "mask": torch.ones(len(values), dtype=torch.bool)}

    def chosen(self, count: int) -> list[int]:
        """Which of `count` slices are taken: the middle of each of equal parts.

        Example:
            >>> CtProcessing(mode="slices", slices=3).chosen(9)
            [1, 4, 7]
        """
        stepped = list(range(0, count, self.step))
        if self.slices is None or len(stepped) <= self.slices:
            return stepped
        return [stepped[int((i + 0.5) * len(stepped) / self.slices)] for i in range(self.slices)]

    def collate(self, items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Batch: `values` (B, C, D, H, W); or (B, S, C, H, W) and `mask` (B, S), with zeros after the last slice.

        Raises:
            ModelError: sizes differ, and no `shape` is set.
        """
        sizes = {tuple(item["values"].shape[1:]) for item in items}
        if len(sizes) > 1:
            said = " and ".join(" x ".join(map(str, size[-3:])) for size in sorted(sizes)[:2])
            raise ModelError(f"ct: the batch has sizes {said}; set processing.shape")
        if self.mode == "volume":
            return {"values": torch.stack([item["values"] for item in items])}
        most = max(len(item["mask"]) for item in items)
        values = items[0]["values"].new_zeros(len(items), most, *items[0]["values"].shape[1:])
        mask = torch.zeros(len(items), most, dtype=torch.bool)
        for i, item in enumerate(items):
            values[i, : len(item["mask"])], mask[i, : len(item["mask"])] = item["values"], item["mask"]
        return {"values": values, "mask": mask}

    def crop(self, signal: Signal, generator: torch.Generator) -> Signal:
        """With `larger: random`, a part of the prepared volume at random."""
        signal = self.prepare(signal)
        if self.larger == "centre" or self.shape is None:
            return signal
        first, shape = [], self._wanted(signal.data)
        for length, wanted in zip(signal.data.shape[1:], shape):
            draw = torch.rand((), generator=generator, dtype=torch.float64)  # drawn always: the same draws each time
            spare = length - wanted
            first.append(int(draw * (spare + 1)) if spare > 0 else 0)
        return self._part(signal, first, shape)

    def segments(self, signal: Signal) -> list[Signal]:
        """With `larger: random`, parts of `shape` that cover the prepared volume evenly; else the volume."""
        signal = self.prepare(signal)
        if self.larger == "centre" or self.shape is None:
            return [signal]
        return [self._part(signal, first, self._wanted(signal.data)) for first in self._starts(signal)]

    def _starts(self, signal: Signal) -> list[tuple[int, ...]]:
        """The first voxel of each part of a prepared volume."""
        if self.larger == "centre" or self.shape is None:
            return [(0, 0, 0)]
        starts = []
        for length, wanted in zip(signal.data.shape[1:], self._wanted(signal.data)):
            parts = math.ceil(length / wanted)
            starts.append([round(i * (length - wanted) / (parts - 1)) for i in range(parts)] if parts > 1 else [0])
        return list(product(*starts))

    def restore(self, relevances: Sequence[Tensor], signal: Signal) -> Tensor:
        """Relevance of the source's own voxels: (1, X, Y, Z). Windows (channels) add up."""
        # A source whose voxels are their own places: the prepared volume's affine then says where its voxels lie.
        unit = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
        meta = {key: value for key, value in signal.meta.items() if key != "prepared"}
        prepared = self.prepare(replace(signal, meta={**meta, "affine": unit}))
        whole = torch.zeros(tuple(prepared.data.shape[1:]))
        for relevance, first in zip(relevances, self._starts(prepared)):
            own = relevance.float().sum(1 if self.mode == "slices" else 0)
            part = as_stored(own)
            size = tuple(min(n, w) for n, w in zip(whole.shape, self._wanted(prepared.data)))
            box = tuple(slice(f, f + n) for f, n in zip(first, size))
            target = whole[box] if self.larger == "random" and self.shape is not None else whole
            if self.mode == "slices":
                chosen = self.chosen(target.shape[2])
                target[..., chosen] += uncut(part, (*target.shape[:2], len(chosen)))
            else:
                target += uncut(part, target.shape)
        affine = prepared.meta["affine"]
        places = [(affine[i][3], affine[i][i]) for i in range(3)]
        return to_source(whole, places, tuple(signal.data.shape[1:])).unsqueeze(0)

    def blank(self, values: Tensor) -> Tensor:
        """What is black in its window (air, in most of them), after `mean` and `std`."""
        blank = torch.zeros_like(values)
        channels = 2 if self.mode == "slices" else 1
        shape = [-1 if axis == channels else 1 for axis in range(values.ndim)]
        if self.mean is not None:
            blank = blank - values.new_tensor(self.mean).view(shape)
        return blank if self.std is None else blank / values.new_tensor(self.std).view(shape)

    def cells(self, shape: Sequence[int]) -> tuple[int, ...]:
        """In the mode "slices", a quarter of a side of one slice."""
        if self.mode == "volume":
            return super().cells(shape)
        return 1, shape[1], math.ceil(shape[2] / 4), math.ceil(shape[3] / 4)

    def notes(self) -> list[str]:
        """What was cut or padded of the volumes processed so far in this process."""
        return [f"{count} of {self._seen} volumes {what}" for what, count in self._odd.items()]

    def _names(self) -> tuple[str, ...]:
        return self.windows if self.windows is not None else DEFAULT_WINDOWS.get(self.channels, ())

    def _wanted(self, data: Tensor) -> tuple[int, ...]:
        """`shape` along x, y and z."""
        if self.shape is None:
            return tuple(data.shape[1:])
        depth = data.shape[3] if self.mode == "slices" else self.shape[0]
        return self.shape[-1], self.shape[-2], depth

    def _part(self, signal: Signal, first: Sequence[int], shape: Sequence[int]) -> Signal:
        box = tuple(slice(f, f + n) for f, n in zip(first, shape))
        meta = {**signal.meta, "affine": _moved(signal.meta.get("affine"), first)}
        return replace(signal, data=signal.data[(slice(None), *box)], meta=meta)

    def _channels(self, values: Tensor, signal: Signal) -> list[Tensor]:
        if self.range is not None:
            low, high = self.range
            return [((values - low) / (high - low)).clamp(0, 1)] * self.channels
        if signal.meta.get("unit") == "none":
            raise ReadError(
                "ct: the volume has no Hounsfield units (ct.unit = none), so windows mean nothing; set "
                "processing.range, as [0, 255]"
            )
        return [apply_window(values, parse_window(window)) for window in self._names()]

    def _note_shape(self, size: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if self.larger == "centre" and any(n > w for n, w in zip(size, wanted)):
            self._note("are larger than processing.shape, and cut about their centre")
        if any(n < w for n, w in zip(size, wanted)):
            self._note("are smaller than processing.shape, and padded with air")

    def _note(self, what: str) -> None:
        self._odd[what] = self._odd.get(what, 0) + 1
