"""NumPy files: opened without reading their voxels, and without running anything in them."""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.errors import ReadError

DAMAGE = (ValueError, OSError, EOFError, OverflowError, SyntaxError, tokenize.TokenError)
"""What numpy raises for headers that are damaged or say impossible shapes."""


def load_npy(path: Path) -> NDArray[Any]:
    """Map the one array of a .npy file, so that a header that lies takes no memory.

    Raises:
        ReadError: it is damaged, pickled, or several arrays (.npz).
    """
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                raise ReadError(f"{path}: holds several arrays (.npz); save the one image or volume as .npy")
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGE as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ReadError(f"{path}: is no readable .npy file of numbers ({said}); save it again") from error
    return array
