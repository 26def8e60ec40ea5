"""What a public data set is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class PublicDataset:
    """A public data set.

    Attributes:
        name: as in `modalign data prepare NAME`.
        about: one line: what, whose, licence.
        prepare: `(root, out, **options)`: reads the files under `root` and writes the manifest `out`, and its sidecar.
        url: where the owner offers it.
        files: name -> (address, SHA-256) of what can be downloaded as a file; empty where the owner asks for a form.
        options: option -> what it does.
    """

    name: str
    about: str
    prepare: Callable[..., Path]
    url: str
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
