"""HU windows: the parts of the scale that readers look at, brought to 0-1."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from modalign.errors import suggest


class Window(NamedTuple):
    """Level and width in HU."""

    level: float
    width: float


WINDOWS = {
    "lung": Window(-400, 1500),
    "chest": Window(40, 400),
    "abdomen": Window(60, 400),
    "bone": Window(300, 1500),
    "brain": Window(40, 80),
    "angio": Window(300, 600),
}
"""Name -> level and width, as in the CT study of Wolf et al. (Wolfda95/SSL-MedicalImagining-CL-MAE)."""


def parse_window(text: str) -> Window:
    """A window by name, or as "level/width".

    Raises:
        ValueError: the name is not known, or the width is not above 1.

    Example:
        >>> parse_window("brain"), parse_window("50/350")
        (Window(level=40, width=80), Window(level=50.0, width=350.0))
    """
    name = text.strip().lower()
    if name in WINDOWS:
        return WINDOWS[name]
    level, slash, width = name.partition("/")
    try:
        window = Window(float(level), float(width))
    except ValueError:
        if slash:
            raise ValueError(f"window {text!r} is not level/width in HU, as 40/400") from None
        raise ValueError(f"no window {text!r}: {suggest(name, WINDOWS)}, or level/width, as 40/400") from None
    if not (1 < window.width < 1e6 and abs(window.level) < 1e6):
        raise ValueError(f"window {text!r}: the width is above 1 HU")
    return window


def apply_window(hu: Tensor, window: Window) -> Tensor:
    """HU -> 0 to 1 by DICOM's linear function (PS3.3 C.11.2.1.2).

    Example:
        >>> import torch
        >>> [round(v, 6) for v in apply_window(torch.tensor([40.0, -160.0, 240.0]), WINDOWS["chest"]).tolist()]
        [0.501253, 0.0, 1.0]
    """
    return ((hu - (window.level - 0.5)) / (window.width - 1) + 0.5).clamp(0, 1)
