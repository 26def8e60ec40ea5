"""Signal -> model input: one size, CLAHE where asked, one mean and standard deviation.

`prepare` is the part that is the same for every epoch, and may be done once and kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import Tensor
from torch.nn import functional as F

from modalign.errors import ModelError, ReadError
from modalign.modalities.base import Processing, Signal
from modalign.modalities.xray.clahe import clahe

MORE = (0.499, 0.293)
"""MoRE's mean and standard deviation."""
FITTED = 2000
"""Images from which constants are taken, at most."""


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, (int, float)) else value


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, H, W) -> (1, *size), bilinear; antialiased where it shrinks, so that fine lines do not turn into patterns."""
    if tuple(image.shape[1:]) == size:
        return image
    shrinks = size[0] < image.shape[1] or size[1] < image.shape[2]
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=shrinks)[0]


def fitted_size(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same aspect that fits into `size`.

    Example:
        >>> fitted_size(2000, 1000, (224, 224))
        (224, 112)
    """
    scale = min(size[0] / height, size[1] / width)
    return max(1, min(size[0], round(height * scale))), max(1, min(size[1], round(width * scale)))


class XrayProcessing(Processing):
    """Resize, equalise, normalise, replicate: in this order.

    Attributes:
        size: (height, width) of the model's input, or one number for both.
        reserve: an image is first shrunk to so many times `size`, once, before augmentations: a detector's 2,000 pixels
            a side would make each epoch ten times slower. Crops then still have the pixels they need.
        aspect: "pad" (default; the whole image, black beside it) or "stretch" (as MoRE and many classifiers do).
        clahe: contrast-limited adaptive histogram equalisation, after resizing and of the image alone, not its padding.
            As MoRE does, the image is divided by its maximum first.
        clip: CLAHE's limit, as a share of a part's pixels.
        tiles: CLAHE's parts a side.
        channels: 1, or 3 equal ones for nets of colour photographs.
        constants: where mean and standard deviation come from when none are given: "train" (the training set, by
            `fit`), "more" (MoRE's) or "none" (values stay in [0, 1]).
        mean: subtracted, one value or one a channel. A checkpoint's own come from its encoder.
        std: divided by, likewise.

    Example:
        >>> tuple(XrayProcessing(size=224)(Signal(torch.rand(1, 300, 250)))["values"].shape)
        (1, 224, 224)
    """

    size: Annotated[tuple[int, int], BeforeValidator(_pair)] = (224, 224)
    reserve: float = Field(1.5, ge=1, le=64)
    aspect: Literal["pad", "stretch"] = "pad"
    clahe: bool = False
    clip: float = Field(0.01, gt=0, le=1)
    tiles: int = Field(8, ge=1, le=64)
    channels: Literal[1, 3] = 1
    constants: Literal["train", "more", "none"] = "train"
    mean: Annotated[tuple[float, ...] | None, BeforeValidator(_several)] = None
    std: Annotated[tuple[float, ...] | None, BeforeValidator(_several)] = None

    @field_validator("size")
    @classmethod
    def _some(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(8 <= side <= 4096 for side in size):
            raise ValueError("is 8 to 4096 pixels a side")
        return size

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is None:
                continue
            if len(values) not in (1, self.channels):
                raise ValueError(
                    f"{key} has {len(values)} values for {self.channels} channels; give one, or one a channel"
                )
            if not all(math.isfinite(v) and (key == "mean" or v > 0) for v in values):
                raise ValueError(f"{key} must be finite" + (" and above 0" if key == "std" else ""))
        return self

    def prepare_parameters(self) -> dict[str, Any]:
        """What `prepare` depends on."""
        return {"size": self.size, "reserve": self.reserve, "aspect": self.aspect}

    def prepare(self, signal: Signal) -> Signal:
        """Shrink the image to `reserve` times the size, its aspect kept; a smaller one comes back as it is.

        Idempotent, and marked in the signal's meta, so that a crop of a prepared image is not shrunk again.

        Raises:
            ReadError: the signal is no image.
        """
        if signal.data.ndim != 3 or signal.data.shape[0] != 1:
            raise ReadError(f"xray: the signal has the shape {tuple(signal.data.shape)}; an image is (1, H, W)")
        done = repr(sorted(self.prepare_parameters().items()))
        if signal.meta.get("prepared") == done:
            return signal
        height, width = signal.data.shape[1:]
        # The larger of the two scales, so that neither side has fewer pixels than the model's, also when stretched.
        scales = [self.reserve * side / own for side, own in zip(self.size, (height, width))]
        scale = min(scales) if self.aspect == "pad" else max(scales)
        data = signal.data
        if scale < 1:
            data = resize(data, (max(1, round(height * scale)), max(1, round(width * scale))))
        return Signal(data, signal.rate, signal.channels, {**signal.meta, "prepared": done})

    def image(self, signal: Signal) -> Tensor:
        """The image (1, h, w) in [0, 1], resized and equalised, without padding.

        Raises:
            ReadError: the signal is no image.
        """
        data = self.prepare(signal).data
        size = self.size if self.aspect == "stretch" else fitted_size(data.shape[1], data.shape[2], self.size)
        data = resize(data, size).clamp(0.0, 1.0)
        if self.clahe:
            scaled = data / data.max().clamp_min(1e-6)
            data = torch.from_numpy(clahe(scaled[0].numpy(), self.clip, min(self.tiles, *size)))[None]
        return data

    def __call__(self, signal: Signal) -> dict[str, Tensor]:
        """Signal (1, H, W) -> `values` (channels, height, width), float32.

        Raises:
            ReadError: the signal is no image.
        """
        data = self.image(signal)
        lacking = self.size[0] - data.shape[1], self.size[1] - data.shape[2]
        if any(lacking):
            above, left = lacking[0] // 2, lacking[1] // 2
            data = F.pad(data, (left, lacking[1] - left, above, lacking[0] - above))
        mean, std = self._constants()
        return {"values": (data.expand(self.channels, -1, -1) - mean) / std}

    def restore(self, relevances: Sequence[Tensor], signal: Signal) -> Tensor:
        """Relevance of the image's own pixels: (1, H, W). The padding's is left out; channels add up."""
        height, width = self.prepare(signal).data.shape[1:]
        size = self.size if self.aspect == "stretch" else fitted_size(height, width, self.size)
        above, left = ((whole - own) // 2 for whole, own in zip(self.size, size))
        own = relevances[0].float().sum(0)[above : above + size[0], left : left + size[1]]
        full = F.interpolate(own[None, None], size=tuple(signal.data.shape[1:]), mode="bilinear")[0]
        scale = own.abs().sum() / full.abs().sum().clamp_min(1e-12)
        return full * scale

    def blank(self, values: Tensor) -> Tensor:
        """The training mean; where values are not standardised, each image's own."""
        if self.mean is not None:
            return torch.zeros_like(values)
        return values.mean(tuple(range(1, values.ndim)), keepdim=True).expand_as(values).clone()

    def _constants(self) -> tuple[Tensor, Tensor]:
        mean, std = self.mean, self.std
        if mean is None or std is None:
            given = MORE if self.constants == "more" else (0.0, 1.0)
            mean, std = given[:1], given[1:]
        return torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def collate(self, items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Batch: `values` (B, channels, height, width).

        Raises:
            ModelError: items of different sizes, which one processing never gives.
        """
        shapes = {tuple(item["values"].shape) for item in items}
        if len(shapes) > 1:
            raise ModelError(f"xray: the batch has items of {sorted(shapes)}; process all of it in one way")
        return {"values": torch.stack([item["values"] for item in items])}

    def fit(self, signals: Iterable[Signal]) -> Self:
        """A copy with the mean and standard deviation over the pixels of these (up to 2,000) images.

        Nothing changes where constants are given, MoRE's, or none.

        Raises:
            ReadError: there is no signal.
        """
        if self.mean is not None or self.constants != "train":
            return self
        count, total, squares = 0, 0.0, 0.0
        for signal in islice(signals, FITTED):
            pixels = self.image(signal).double()
            count += pixels.numel()
            total += float(pixels.sum())
            squares += float(pixels.square().sum())
        if not count:
            raise ReadError("xray: no training image to take the mean and deviation from; check the split column")
        mean = total / count
        std = math.sqrt(max(squares / count - mean**2, 0.0))
        # Five digits, so that the last bits of another machine's sums do not make another model.
        return self.model_copy(
            update={"mean": (float(f"{mean:.5g}"),), "std": (float(f"{std:.5g}") if std > 1e-6 else 1.0,)}
        )
