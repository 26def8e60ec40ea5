"""The errors that a user can mend: each names the place (file, row, key) and the mend.

The command line prints these as one message and exits with 2; everything else is a defect and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ModalignError(Exception):
    """Base of every error that the user can mend."""


class ReadError(ModalignError):
    """A source (file, array, cell) that cannot be read as what it is said to be."""


class ManifestError(ModalignError):
    """A manifest, or a row of it, that cannot be used."""


class RecipeError(ModalignError):
    """A recipe, or a key of it, that cannot be used."""


class ModelError(ModalignError):
    """A model folder or checkpoint that cannot be loaded or used as asked."""


class MissingExtraError(ModalignError):
    """A part whose optional dependencies are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs packages that are not installed. Install them with: pip install 'modalign[{extra}]'"
        )


def suggest(name: str, known: Iterable[str]) -> str:
    """Say the near match, or all the choices, for a name that is not known.

    Example:
        >>> suggest("motoin", ["motion", "text"])
        "did you mean 'motion'? (known: motion, text)"
    """
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1)
    head = f"did you mean {near[0]!r}? " if near else ""
    return f"{head}(known: {', '.join(choices) or 'none'})"
