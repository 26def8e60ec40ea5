"""The encoders of CT by name."""

from __future__ import annotations

from collections.abc import Callable

from modalign.modalities.base import Encoder
from modalign.modalities.ct.slicewise import SliceEncoder
from modalign.modalities.ct.volumes import Vit3d, cnn3d, densenet121_3d, swin_unetr

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "cnn3d": cnn3d,
    "densenet121_3d": densenet121_3d,
    "swin_unetr": swin_unetr,
    "vit3d": Vit3d,
    "slices": SliceEncoder,
}
