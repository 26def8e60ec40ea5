"""Augmentations of images (1, H, W) in [0, 1], before resizing and CLAHE: MoRE's four, and small moves.

A flip turns left into right, so it says that it breaks laterality: it is in no recipe by default, since reports and
labels name sides. A crop may leave out what a report is about, so it says that it breaks location.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Generator, Tensor
from torch.nn import functional as F

from modalign.modalities.base import Augmentation, Signal


def uniform(low: float, high: float, generator: Generator) -> float:
    """One number between low and high."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


class RandomResizedCrop(Augmentation):
    """A part of the image, its area and aspect at random, enlarged to the image's size by the processing.

    Attributes:
        scale: least and largest share of the area (MoRE: 0.2 to 1).
        ratio: least and largest change of the aspect, width over height.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"location"})
    p: float = Field(0.8, ge=0, le=1)
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    @field_validator("scale", "ratio")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("is two numbers above 0, the lower one first")
        return value

    @field_validator("scale")
    @classmethod
    def _share(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[1] > 1:
            raise ValueError("is a share of the area, 1 at most")
        return value

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Crop."""
        _, height, width = signal.data.shape
        area = uniform(*self.scale, generator)
        aspect = math.exp(uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), generator))
        rows = min(height, max(1, round(height * math.sqrt(area / aspect))))
        columns = min(width, max(1, round(width * math.sqrt(area * aspect))))
        top = int(torch.randint(height - rows + 1, (), generator=generator))
        left = int(torch.randint(width - columns + 1, (), generator=generator))
        return replace(signal, data=signal.data[:, top : top + rows, left : left + columns])


class BrightnessContrast(Augmentation):
    """Multiply by a factor of brightness, then move away from or towards the mean: as colour jitter does for grey.

    Attributes:
        brightness: largest change of the factor from 1 (MoRE: 0.4).
        contrast: likewise.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"amplitude"})
    p: float = Field(0.8, ge=0, le=1)
    brightness: float = Field(0.4, ge=0, lt=1)
    contrast: float = Field(0.4, ge=0, lt=1)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Change brightness and contrast."""
        bright = uniform(1 - self.brightness, 1 + self.brightness, generator)
        factor = uniform(1 - self.contrast, 1 + self.contrast, generator)
        data = (signal.data * bright).clamp(0.0, 1.0)
        mean = data.mean()
        return replace(signal, data=((data - mean) * factor + mean).clamp(0.0, 1.0))


class GaussianBlur(Augmentation):
    """Blur with a Gaussian.

    Attributes:
        kernel: its width in pixels of an image of `reference` pixels a side (MoRE: 23 of 224): odd.
        sigma: least and largest standard deviation, in the same pixels.
        reference: the side that kernel and sigma are for; larger images are blurred in proportion.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"spectrum"})
    p: float = Field(0.5, ge=0, le=1)
    kernel: int = Field(23, ge=3)
    sigma: tuple[float, float] = (0.1, 2.0)
    reference: int = Field(224, ge=16)

    @field_validator("kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("is odd, so that the blur does not move the image")
        return value

    @field_validator("sigma")
    @classmethod
    def _positive(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("is two numbers above 0, the lower one first")
        return value

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Blur, by rows and then by columns, the edges mirrored."""
        scale = min(signal.data.shape[1:]) / self.reference
        sigma = uniform(*self.sigma, generator) * scale
        half = min(max(1, round(self.kernel // 2 * scale)), min(signal.data.shape[1:]) - 1)
        return replace(signal, data=blur(signal.data, sigma, half))


def blur(data: Tensor, sigma: float, half: int) -> Tensor:
    """Convolve (1, H, W) with a Gaussian of 2 * half + 1 pixels; weights sum to 1."""
    places = torch.arange(-half, half + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (places / max(sigma, 1e-3)) ** 2)
    weights = weights / weights.sum()
    padded = F.pad(data[None], (half, half, half, half), mode="reflect")
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))[0]


class HorizontalFlip(Augmentation):
    """Mirror left and right. The heart is then on the right, so it is wrong wherever a text or label names a side."""

    breaks: ClassVar[frozenset[str]] = frozenset({"laterality"})
    p: float = Field(0.5, ge=0, le=1)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Mirror."""
        return replace(signal, data=signal.data.flip(2))


class Shift(Augmentation):
    """Turn, move and scale a little, as patients stand differently; black comes in at the edges.

    Attributes:
        degrees: largest turn to either side.
        translate: largest move, as a share of the height and width.
        zoom: largest change of size from 1.
    """

    p: float = Field(0.8, ge=0, le=1)
    degrees: float = Field(7.0, ge=0, le=45)
    translate: float = Field(0.05, ge=0, le=0.25)
    zoom: float = Field(0.1, ge=0, lt=0.5)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Turn about the centre, in pixels, so that the aspect stays."""
        _, height, width = signal.data.shape
        angle = math.radians(uniform(-self.degrees, self.degrees, generator))
        down, across = (2 * uniform(-self.translate, self.translate, generator) for _ in range(2))
        scale = math.exp(uniform(-math.log1p(self.zoom), math.log1p(self.zoom), generator))
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        matrix = torch.tensor([[[cos, -sin * height / width, across], [sin * width / height, cos, down]]])
        grid = F.affine_grid(matrix, [1, 1, height, width], align_corners=False)
        return replace(signal, data=F.grid_sample(signal.data[None], grid, align_corners=False)[0].clamp(0.0, 1.0))


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "random_resized_crop": RandomResizedCrop,
    "brightness_contrast": BrightnessContrast,
    "gaussian_blur": GaussianBlur,
    "horizontal_flip": HorizontalFlip,
    "shift": Shift,
}
