"""Eval mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_eval(module: nn.Module) -> Iterator[None]:
    """Eval mode within; each submodule's own mode is put back, whatever happens (a file that cannot be read).

    Example:
        >>> layer = nn.Dropout()
        >>> with in_eval(layer):
        ...     print(layer.training)
        False
        >>> layer.training
        True
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
