"""Augmentations of volumes (1, X, Y, Z) in HU, before windows; X runs to the right, Y forward, Z to the head."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from modalign.modalities.base import Augmentation, Signal


def _uniform(generator: Generator, *size: int) -> Tensor:
    """Between -1 and 1."""
    return 2 * torch.rand(*size, generator=generator, dtype=torch.float64) - 1


class Flip(Augmentation):
    """Mirror the volume along an axis. Left becomes right with "x"; organs leave their places with any.

    Attributes:
        axis: "x" (left-right), "y" (front-back) or "z" (head-feet).
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"laterality", "location"})
    p: float = Field(0.5, ge=0, le=1)
    axis: Literal["x", "y", "z"] = "x"

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Mirror it."""
        return replace(signal, data=signal.data.flip(1 + "xyz".index(self.axis)))


class Affine(Augmentation):
    """A small rotation about each axis and a small shift, trilinear; sizes stay. What comes in is as the border was.

    Attributes:
        degrees: the largest angle about each axis.
        shift: mm (voxels, where no spacing is known), the largest along each axis.
    """

    degrees: float = Field(10.0, ge=0, le=45)
    shift: float = Field(5.0, ge=0)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Rotate and shift it."""
        angles = (_uniform(generator, 3) * math.radians(self.degrees)).tolist()
        shift = _uniform(generator, 3) * self.shift
        spacing = torch.tensor(signal.meta.get("spacing") or (1.0, 1.0, 1.0), dtype=torch.float64)
        half = torch.tensor(signal.data.shape[1:], dtype=torch.float64) * spacing / 2  # mm from the centre to a face
        turn = _rotation(angles)
        # grid_sample counts in halves of the volume, and its axes in the order z, y, x.
        matrix = torch.cat([turn * half / half.unsqueeze(1), (shift / half).unsqueeze(1)], 1)
        order = [2, 1, 0]
        matrix = torch.cat([matrix[order][:, order], matrix[order][:, 3:]], 1)
        data = signal.data.unsqueeze(0)
        grid = F.affine_grid(matrix.unsqueeze(0).to(data), list(data.shape), align_corners=False)
        moved = F.grid_sample(data, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return replace(signal, data=moved.squeeze(0))


def _rotation(angles: list[float]) -> Tensor:
    """About x, then y, then z: (3, 3)."""
    turn = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        one = torch.eye(3, dtype=torch.float64)
        one[i, i] = one[j, j] = math.cos(angle)
        one[i, j], one[j, i] = -math.sin(angle), math.sin(angle)
        turn = one @ turn
    return turn


class Intensity(Augmentation):
    """Multiply HU + 1000 by a factor and add a shift, as scanners and kernels differ: densities move.

    Attributes:
        scale: the factor is uniform in 1 - scale to 1 + scale.
        shift: HU, the largest.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"amplitude"})
    scale: float = Field(0.05, ge=0, lt=1)
    shift: float = Field(20.0, ge=0)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Change the densities."""
        factor, shift = (_uniform(generator, 2) * torch.tensor([self.scale, self.shift], dtype=torch.float64)).tolist()
        return replace(signal, data=(signal.data + 1000) * (1 + factor) - 1000 + shift)


class Noise(Augmentation):
    """Add Gaussian noise, as a lower dose would.

    Attributes:
        sd: HU, the largest standard deviation; drawn between 0 and this.
    """

    sd: float = Field(20.0, ge=0)

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Add it."""
        sd = float(torch.rand((), generator=generator, dtype=torch.float64)) * self.sd
        return replace(signal, data=signal.data + sd * torch.randn(signal.data.shape, generator=generator))


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "flip": Flip, "affine": Affine, "intensity": Intensity, "noise": Noise,
}  # fmt: skip
