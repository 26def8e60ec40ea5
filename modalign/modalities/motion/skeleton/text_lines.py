"""Lines of a text file (maybe gzipped) with their numbers, for parsers whose errors name the line."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from modalign.errors import ReadError

LARGEST = 512 * 2**20
"""Bytes; a longer text is no motion file, and unpacking it whole would take the memory."""


class Lines:
    """A cursor over the lines of a file that are not empty and not comments (`#`)."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        if not path.is_file():
            raise ReadError(f"{path}: no such file")
        try:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ReadError(f"{path}: not readable ({error}); copy it again") from error
        if len(data) > LARGEST:
            raise ReadError(f"{path}: longer than {LARGEST >> 20} MB; cut it")
        if b"\x00" in data or not data.strip():
            raise ReadError(f"{path}: {'binary, not text' if data.strip() else 'empty'}; copy or export it again")
        text = data.decode("utf-8-sig", errors="replace")
        numbered = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
        self._lines = [(n, line) for n, line in numbered if line and not line.startswith("#")]
        self._at = 0

    @property
    def number(self) -> int:
        """The number of the line that was taken last."""
        return self._lines[self._at - 1][0] if self._at else 0

    def peek(self) -> str:
        """The next line, or "" at the end."""
        return self._lines[self._at][1] if self._at < len(self._lines) else ""

    def take(self, wanted: str) -> str:
        """The next line, taken; `wanted` is what an error says is missing."""
        if self._at >= len(self._lines):
            self._at = len(self._lines)
            self.refuse(f"the file ends here, where {wanted} should follow; export it again")
        self._at += 1
        return self._lines[self._at - 1][1]

    def refuse(self, problem: str) -> NoReturn:
        """Raise a `ReadError` that names the file and the line."""
        raise ReadError(f"{self.where}: line {self.number}: {problem}")

    def floats(self, words: Sequence[str], count: int | None, what: str) -> list[float]:
        """Words as finite numbers."""
        if count is not None and len(words) != count:
            self.refuse(f"{what} has {len(words)} numbers and must have {count}")
        numbers = []
        for word in words:
            try:
                value = float(word)
            except ValueError:
                self.refuse(f"{what}: {word!r} is not a number")
            if not math.isfinite(value):
                self.refuse(f"{what}: {word!r} is not finite")
            numbers.append(value)
        return numbers
