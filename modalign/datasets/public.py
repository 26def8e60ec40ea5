"""What a public data set is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Options = Mapping[str, Any]


def every(name: str, options: Options) -> bool:
    """Whether a file is needed: every one is."""
    return True


@dataclass(frozen=True)
class PublicDataset:
    """A public data set.

    Attributes:
        name: as in `modalign data prepare NAME`.
        about: one line: what, whose, licence.
        prepare: `(root, out, **options)`: reads the files under `root` and writes the manifest `out`, and its sidecar.
        url: where the owner offers it.
        files: name -> (address, "sha256:..." or "md5:..."): what can be downloaded and checked. Archives are unpacked.
        sums: the address of the owner's own list of SHA-256 sums, as PhysioNet has beside every project; the files
            lie beside it under the names it gives.
        needed: `(file's name, options)`: whether these options need the file.
        local: finds a copy that an installed package brings.
        options: option -> what it does.

    Where there are neither files nor sums nor a local copy, the user gets the data set from `url` and passes `--root`.
    """

    name: str
    about: str
    prepare: Callable[..., Path]
    url: str
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sums: str = ""
    needed: Callable[[str, Options], bool] = every
    local: Callable[[], Path] | None = None
    options: Mapping[str, str] = field(default_factory=dict)
