"""How an error names a source, and what is wrong with a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError


def describe_source(source: Any) -> str:
    """How an error names a source: its path, its text (cut), or what kind of array it is."""
    if isinstance(source, (str, Path)):
        text = str(source)
        return text if len(text) <= 200 else f"{text[:200]}..."
    shape = getattr(source, "shape", None)
    return f"in-memory {type(source).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")


def first_problem(error: ValidationError) -> str:
    """One line for a pydantic error: the key, what is wrong, and the value given."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "value"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"{where} is not a key that is known here"
    given = "" if problem["type"] == "missing" else f" (given: {problem['input']!r})"
    return f"{where}: {message}{given}"
