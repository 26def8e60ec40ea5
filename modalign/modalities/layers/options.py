"""Checks of encoder options: each refuses with the option's name and the value given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modalign.errors import RecipeError


def positive(encoder: str, **options: float | Sequence[float]) -> None:
    """Numbers above 0, or sequences of them that are not empty."""
    for key, value in options.items():
        numbers = value if isinstance(value, Sequence) else [value]
        bad = [n for n in numbers if not isinstance(n, (int, float)) or isinstance(n, bool) or n <= 0]
        if bad or not numbers:
            raise RecipeError(f"encoder {encoder!r}: {key} is above 0, not {value!r}")


def fraction(encoder: str, **options: float) -> None:
    """Numbers from 0 to under 1."""
    for key, value in options.items():
        if not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise RecipeError(f"encoder {encoder!r}: {key} is from 0 to under 1, not {value!r}")


def one_of(encoder: str, key: str, value: Any, choices: Sequence[Any]) -> None:
    """One of a few values."""
    if value not in choices:
        raise RecipeError(f"encoder {encoder!r}: {key} is one of {', '.join(map(str, choices))}, not {value!r}")
