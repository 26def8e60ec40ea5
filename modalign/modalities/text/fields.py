"""What a manifest may say of a text beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _several(value: Any) -> Any:
    """A list as it is, or a cell with `|` between captions."""
    if isinstance(value, str):
        return [part.strip() for part in value.split("|") if part.strip()]
    return list(value) if isinstance(value, Iterable) else value


Captions = Annotated[list[str], BeforeValidator(_several)]


class TextFields(BaseModel):
    """Further captions of a row: `<tower>.hard` are wrong in one detail, `<tower>.parts` true of a part of it.

    Each is a list, or a cell with `|` between the captions. Losses such as `compa` take them.
    """

    model_config = ConfigDict(extra="forbid")
    hard: Captions = []
    parts: Captions = []
