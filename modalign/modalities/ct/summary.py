"""Hand features for the linear floor: how much there is of each density, how large it is, and a coarse picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional as F

from modalign.modalities.base import Signal

EDGES = (-950.0, -700.0, -200.0, -30.0, 10.0, 60.0, 150.0, 400.0, 1000.0)
"""HU between air, emphysema and lung, fat, water, soft tissue, enhanced vessels, spongy bone, cortical bone, metal."""
GRID = 8


def features(signal: Signal) -> NDArray[np.float64]:
    """(20 + 8^3,): ten shares of densities, volume of what is dense, its extents, mean and spread, and an 8^3 grid.

    For a shape (`ct.unit = none`) the same numbers say its volume, extents and form.
    """
    data = signal.data[0]
    counts = np.zeros(len(EDGES) + 1)
    values = data.reshape(-1).numpy()
    places = np.searchsorted(np.array(EDGES), values)
    counts += np.bincount(places, minlength=len(counts))
    spacing = np.array(signal.meta.get("spacing") or (1.0, 1.0, 1.0))
    dense = data > (0 if signal.meta.get("unit") == "none" else -300)
    volume = float(dense.sum()) * float(spacing.prod())
    extents = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        there = np.flatnonzero(dense.amax(others).numpy())
        extents.append(float(there[-1] - there[0] + 1) * spacing[axis] if len(there) else 0.0)
    sizes = np.array(data.shape) * spacing
    grid = F.adaptive_avg_pool3d(signal.data.float(), GRID).reshape(-1).numpy()
    whole = [volume, np.log1p(volume), *extents, *sizes, values.mean(), values.std()]
    return np.concatenate([counts / max(len(values), 1), np.array(whole), grid]).astype(np.float64)
