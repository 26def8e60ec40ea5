"""The encoders of ECG by name."""

from __future__ import annotations

from collections.abc import Callable

from modalign.modalities.base import Encoder
from modalign.modalities.ecg.convolutional import cnn, resnet1d18, xresnet1d
from modalign.modalities.ecg.vit import more_vit, vit1d_base, vit1d_small, vit1d_tiny
from modalign.modalities.layers.minirocket import MiniRocket


def minirocket(channels: int = 12, *, samples: int = 1000, features: int = 9996) -> MiniRocket:
    """Fixed random kernels (`layers/minirocket.py`), for a few hundred recordings. `samples`: 10 s at 100 Hz."""
    return MiniRocket(channels, samples=samples, features=features)


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "cnn": cnn,
    "resnet1d18": resnet1d18,
    "vit1d-tiny": vit1d_tiny,
    "vit1d-small": vit1d_small,
    "vit1d-base": vit1d_base,
    "more_vit": more_vit,
    "xresnet1d": xresnet1d,
    "minirocket": minirocket,
}
