"""The registry of public data sets: name -> a function that writes a manifest from a local root."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from modalign.datasets.public import PublicDataset
from modalign.errors import RecipeError, suggest

__all__ = ["PublicDataset", "get_dataset", "list_datasets", "prepare", "register_dataset"]

MODULES: tuple[str, ...] = (
    "chestxray14", "cinc", "cmu_mocap", "cpsc2018", "esc50", "fsdd", "hapt", "iu_xray", "kermany", "ludb", "medmnist",
    "mednist", "motionsense", "pamap2", "ptb_xl", "shoulder_exercises", "uci_har", "uea_ts", "wisdm",
)  # fmt: skip
"""The modules of this package that register data sets; imported when the registry is first asked."""


_datasets: dict[str, PublicDataset] = {}


def register_dataset(dataset: PublicDataset) -> PublicDataset:
    """Make a data set known by its name."""
    _datasets[dataset.name] = dataset
    return dataset


def list_datasets() -> list[PublicDataset]:
    """All of them, by name."""
    for module in MODULES:
        import_module(f"modalign.datasets.{module}")
    return [_datasets[name] for name in sorted(_datasets)]


def get_dataset(name: str) -> PublicDataset:
    """A data set by name.

    Raises:
        RecipeError: there is none.
    """
    known = {dataset.name: dataset for dataset in list_datasets()}
    if name not in known:
        raise RecipeError(f"no data set {name!r}: {suggest(name, known)}")
    return known[name]


def prepare(name: str, root: Path | None, out: Path, options: Mapping[str, Any] | None = None) -> Path:
    """Write a data set's manifest from a local root, else a copy that is installed, else the owner's download.

    Raises:
        RecipeError: the data set or an option is not known.
        ReadError: the root is not what it should be, or the download fails.
    """
    dataset = get_dataset(name)
    for option in options or {}:
        if option not in dataset.options:
            raise RecipeError(f"data set {name!r} has no option {option!r}: {suggest(option, dataset.options)}")
    if root is None and dataset.local is not None:
        root = dataset.local()
    if root is None:
        from modalign.datasets.download import fetch

        root = fetch(dataset, options)
    return dataset.prepare(root, out, **(options or {}))
