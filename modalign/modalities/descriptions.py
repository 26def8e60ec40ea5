"""What a modality knows of labels, in YAML files beside it that a user can copy: sentences, templates, label sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml


class Descriptions(Mapping[str, Sequence[str]]):
    """A YAML file of label -> sentences, read when it is first asked for.

    A label is found whatever its case, and with underscores or spaces.

    Args:
        path: the file.
        part: the key under which the labels stand; empty: they are the whole file.

    Example:
        >>> Descriptions(Path("descriptions.yaml"))["Dog_bark"]     # doctest: +SKIP
        ('a dog barks', ...)
    """

    def __init__(self, path: Path, part: str = "") -> None:
        self.path, self.part = path, part

    @cached_property
    def _sentences(self) -> dict[str, tuple[str, ...]]:
        tree = _read(self.path)
        return {label_key(label): tuple(s) for label, s in (tree.get(self.part, {}) if self.part else tree).items()}

    def __getitem__(self, label: str) -> Sequence[str]:
        """The sentences of a label."""
        return self._sentences[label_key(label)]

    def __iter__(self) -> Iterator[str]:
        """The labels, in lower case."""
        return iter(self._sentences)

    def __len__(self) -> int:
        """How many labels there are."""
        return len(self._sentences)


class LabelSet(NamedTuple):
    """Labels that belong together: those of a data set, of a task.

    Attributes:
        about: whose labels they are.
        tree: a list of labels, or group -> labels (or groups again).
    """

    about: str
    tree: Any


class LabelSets(Mapping[str, LabelSet]):
    """A YAML file of name -> {about, labels}, read when it is first asked for.

    Example:
        >>> LabelSets(Path("label_sets.yaml"))["esc10"].tree        # doctest: +SKIP
        ['dog', 'rain', ...]
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _sets(self) -> dict[str, LabelSet]:
        return {name: LabelSet(said["about"], said["labels"]) for name, said in _read(self.path).items()}

    def __getitem__(self, name: str) -> LabelSet:
        """A set by name."""
        return self._sets[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._sets)

    def __len__(self) -> int:
        """How many sets there are."""
        return len(self._sets)


class Wording(NamedTuple):
    """How prompts are made: `templates` and `negations` with `{label}`; `opposites`: label -> what its absence is."""

    templates: tuple[str, ...]
    negations: tuple[str, ...]
    opposites: Mapping[str, Sequence[str]]


def read_wording(path: Path) -> Wording:
    """Read a modality's `templates.yaml`: the keys `templates`, `negations`, and, where there are any, `opposites`."""
    tree = _read(path)
    return Wording(tuple(tree["templates"]), tuple(tree["negations"]), Descriptions(path, "opposites"))


def label_key(label: str) -> str:
    """The form in which labels are compared: lower case, with spaces."""
    return label.strip().lower().replace("_", " ")


def _read(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tree
