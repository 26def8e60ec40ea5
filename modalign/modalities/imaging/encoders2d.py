"""The 2-D encoders by name, for X-ray and for CT's slices. Each takes `values` (B, C, H, W) of equal sizes."""

from __future__ import annotations

from collections.abc import Callable

from modalign.modalities.base import Encoder
from modalign.modalities.imaging.convolutional import cnn, densenet121, resnet18, resnet50
from modalign.modalities.imaging.vit import VitEncoder

ENCODERS_2D: dict[str, Callable[..., Encoder]] = {
    "cnn": cnn,
    "densenet121": densenet121,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "vit": VitEncoder,
}
