"""Lines and tables of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Result:
    """One line of a table: a method, its figure, its 95 % interval, and its scores.

    Attributes:
        decided: (N, C) of 0 and 1, where rows may have several labels: what was decided, by thresholds of val.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None
    scores: Array | None = field(default=None, repr=False)
    note: str = ""
    decided: Array | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Table:
    """A further table of an evaluation: classes, subgroups, templates, shots. Cells are words or figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]
    note: str = ""
