"""Some slices of a volume: how a manifest names them, and what is then known of the space between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.base import Signal

_PART = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")


def parse_slices(value: Any) -> Any:
    """Slices as written in a cell, the lowest being 0 -> their numbers, rising.

    Example:
        >>> parse_slices("0-2, 7")
        (0, 1, 2, 7)

    Raises:
        ValueError: it is no list of numbers and spans, or does not rise.
    """
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else list(value)
    numbers: list[int] = []
    for part in parts:
        match = _PART.fullmatch(str(part).strip())
        if match is None:
            raise ValueError(f"{str(part).strip()!r} is no slice; write numbers and spans, as '0-3, 7'")
        first, last = int(match[1]), int(match[2] or match[1])
        numbers += range(first, last + 1)
    if not numbers or any(b <= a for a, b in pairwise(numbers)):
        raise ValueError("names no slice, or one twice, or not from the lowest to the highest")
    return tuple(numbers)


def keep_slices(signal: Signal, numbers: Sequence[int], where: str) -> Signal:
    """The slices of a volume (1, X, Y, Z) with these numbers along z; meta `slices` says which.

    Evenly spaced ones are a volume with slices further apart. Of others the spacing is no longer known, so that nothing
    that works in mm takes the gaps for tissue.

    Raises:
        ReadError: the volume has fewer slices.
    """
    count = signal.data.shape[3]
    if numbers[-1] >= count:
        raise ReadError(
            f"{where}: ct.slices asks for slice {numbers[-1]}, and the volume has {count}, 0 to {count - 1}; mend it, "
            "or reduce this volume again"
        )
    meta = {**signal.meta, "slices": tuple(numbers)}
    steps = set(np.diff(numbers).tolist()) or {1}
    if meta.get("affine") is not None and len(steps) == 1:
        affine = np.array(meta["affine"], dtype=np.float64)
        affine[:3, 3] += affine[:3, 2] * numbers[0]
        affine[:3, 2] *= steps.pop()
        meta["affine"] = tuple(tuple(float(v) for v in row) for row in affine)
        meta["spacing"] = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    else:
        meta |= {"affine": None, "spacing": None}
    return replace(signal, data=signal.data[..., list(numbers)], meta=meta)
