"""What was measured of each composition: a table from which every figure of the ladder is computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from modalign.align.metrics import composition_scores, two_way_bootstrap
from modalign.align.metrics.composition import CHANCE, ONE_RECORDING, prefers
from modalign.errors import ManifestError

Array = NDArray[Any]
COSINES = [f"cos text {text} recording {recording}" for text in "12" for recording in "12"]
"""Of a 2 x 2 level: text 1 is true of recording 1, and text 2, which swaps the labels, of recording 2."""


@dataclass(frozen=True)
class Level:
    """What one level measured of N compositions.

    Attributes:
        right: name of a figure -> (N,) 1 right, 0 wrong, 0.5 neither.
        kept: further columns of the predictions: (N,) each.
        notes: what a reader must know.
    """

    right: dict[str, Array]
    kept: dict[str, Array]
    notes: list[str] = field(default_factory=list)


def named_level(name: str, chosen: Sequence[str], true: Sequence[str]) -> Level:
    """A level in which one text of several is chosen."""
    right = np.array([a == b for a, b in zip(chosen, true)], dtype=float)
    return Level({name: right}, {f"{name}: chosen": np.array(chosen), f"{name}: true": np.array(true)})


def two_by_two_level(name: str, scores: torch.Tensor, notes: Sequence[str] = ()) -> Level:
    """A level of scores (N, 2, 2): [n, i, j] = cos(text i, recording j)."""
    cosines = scores.reshape(-1, 4).double().cpu().numpy()
    kept = {f"{name}: {column}": values for column, values in zip(COSINES, cosines.T)}
    return Level(_two_by_two(name, scores.double().cpu()), kept, list(notes))


def _two_by_two(name: str, scores: torch.Tensor) -> dict[str, Array]:
    found = composition_scores(scores)._asdict()
    right = {f"{name}, {part} score": values.double().numpy() for part, values in found.items()}
    return right | {f"{name}, {ONE_RECORDING}": prefers(scores[:, 0, 0], scores[:, 1, 0]).numpy()}


def predictions_table(about: pd.DataFrame, found: Mapping[str, Sequence[Level]]) -> pd.DataFrame:
    """A row a method and composition: the method, `about` the composition, and what every level kept.

    Args:
        about: N rows, with the columns `unit a` and `unit b`: what intervals resample.
        found: method -> levels.
    """
    parts = []
    for method, levels in found.items():
        part = about.copy()
        part.insert(0, "method", method)
        for level in levels:
            part = part.assign(**level.kept)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def recompute_ladder(predictions: pd.DataFrame | str | Path, method: str = "modalign") -> dict[str, dict[str, Any]]:
    """Every figure of the ladder anew from its predictions: name -> `value` and `ci`.

    Args:
        predictions: the `predictions.parquet` of a composition test, or its table.
        method: modalign or untrained.

    Example:
        >>> recompute_ladder("composition/predictions.parquet")["order, text score"]["value"]   # doctest: +SKIP
        0.31

    Raises:
        ManifestError: it has no row of this method.
    """
    table = predictions if isinstance(predictions, pd.DataFrame) else pd.read_parquet(predictions)
    if "method" not in table or not (table["method"] == method).any():
        raise ManifestError(f"no row of the predictions has the method {method!r}; is it of 'modalign compose'?")
    table = table[table["method"] == method]
    right: dict[str, Array] = {}
    for column in table:
        name, colon, what = str(column).rpartition(": ")
        if colon and what == "chosen":
            right[name] = (table[column] == table[f"{name}: true"]).to_numpy(dtype=float)
        elif colon and what == COSINES[0]:
            cosines = table[[f"{name}: {cosine}" for cosine in COSINES]].to_numpy()
            right |= _two_by_two(name, torch.tensor(cosines).view(-1, 2, 2))
    units = table["unit a"].tolist(), table["unit b"].tolist()
    return {name: {"value": float(r.mean()), "ci": two_way_bootstrap(r, *units)} for name, r in right.items()}


def chance_of(name: str, labels: int) -> float:
    """Of a figure of the ladder, by its name."""
    if name.startswith("one of"):
        return 1 / labels
    if name.startswith("both"):
        return 2 / (labels * (labels - 1))
    part = name.rsplit(", ", 1)[1]
    return 1 / 2 if part == ONE_RECORDING else CHANCE[part.removesuffix(" score")]
