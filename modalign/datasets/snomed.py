"""SNOMED CT codes of ECG headers -> names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def _table() -> dict[str, dict[str, str]]:
    loaded: dict[str, dict[Any, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {part: {str(code): str(name) for code, name in rows.items()} for part, rows in loaded.items()}


def snomed_names(codes: Iterable[str], scored: bool = False, merge: bool = True) -> tuple[str, ...]:
    """The names of codes, each once, in their order. A code that is not in the table is its own name.

    Args:
        codes: of one recording.
        scored: leave out what the challenge of 2021 did not score.
        merge: give the pairs that the challenge scored as one diagnosis the same name.

    Example:
        >>> snomed_names(["426783006", "713427006", "1"])
        ('sinus rhythm', 'right bundle branch block', 'SNOMED 1')
    """
    table = _table()
    names = {**table["scored"], **table["other"]}
    kept = [code for code in codes if not scored or code in table["scored"]]
    if merge:
        kept = [table["same"].get(code, code) for code in kept]
    return tuple(dict.fromkeys(names.get(code, f"SNOMED {code}") for code in kept))
