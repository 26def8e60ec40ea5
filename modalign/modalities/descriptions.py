"""What a modality knows of labels: sentences in a YAML file beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import yaml


class Descriptions(Mapping[str, Sequence[str]]):
    """A YAML file of label -> sentences, read when it is first asked for.

    A label is found whatever its case, and with underscores or spaces.

    Args:
        path: the file.

    Example:
        >>> Descriptions(Path("descriptions.yaml"))["Dog_bark"]     # doctest: +SKIP
        ('a dog barks', ...)
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _sentences(self) -> dict[str, tuple[str, ...]]:
        tree = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        return {_key(label): tuple(sentences) for label, sentences in tree.items()}

    def __getitem__(self, label: str) -> Sequence[str]:
        """The sentences of a label."""
        return self._sentences[_key(label)]

    def __iter__(self) -> Iterator[str]:
        """The labels, in lower case."""
        return iter(self._sentences)

    def __len__(self) -> int:
        """How many labels there are."""
        return len(self._sentences)


def _key(label: str) -> str:
    return label.strip().lower().replace("_", " ")
