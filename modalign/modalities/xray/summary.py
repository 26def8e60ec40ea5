"""Pixels of a small copy, for the linear floor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modalign.modalities.base import Signal
from modalign.modalities.xray.processing import resize

SIDE = 48


def pixels(signal: Signal) -> NDArray[np.float64]:
    """The image shrunk to 48 x 48, its aspect not kept: (2304,)."""
    return resize(signal.data, (SIDE, SIDE)).double().numpy().reshape(-1)
