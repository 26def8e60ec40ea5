"""`modalign modalities new`: a plugin package to start from, whose tests pass as it stands."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from modalign.errors import RecipeError

RESERVED = ("id", "split", "group", "cluster", "label", "labels", "new", "show")
"""Columns that every manifest may have, and words of this command."""
CHANNEL = re.compile(r"\w[\w .+/-]*")


def command(
    name: Annotated[
        str, typer.Argument(help="A Python identifier in lower case, e.g. eeg: it names manifest columns.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The folder to make; modalign-NAME by default.")] = None,
    channels: Annotated[str, typer.Option("--channels", help="The channels' names, with commas between.")] = "ch1,ch2",
    rate: Annotated[float, typer.Option("--rate", help="The model's rate, Hz.")] = 100.0,
    window: Annotated[float, typer.Option("--window", help="The model's length, seconds.")] = 2.0,
) -> None:
    """Write a plugin package for a modality of your own: reader, processing, encoder, augmentation, tests.

    Example:

      modalign modalities new eeg --channels C3,C4 --rate 250
    """
    folder = write_plugin(name, out, [part.strip() for part in channels.split(",")], rate, window)
    print(
        f"Wrote {folder}. Try next:\n  pip install -e '{folder}[dev]'\n  pytest {folder}\n  modalign modalities {name}"
    )


def write_plugin(name: str, out: Path | None, channels: list[str], rate: float, window: float) -> Path:
    """Write the package; return its folder.

    Raises:
        RecipeError: the name cannot be used or is taken, a number or a channel cannot be used, or the folder is there.
    """
    check_name(name)
    bad = [channel for channel in channels if not CHANNEL.fullmatch(channel) or _is_number(channel)]
    if bad or len(set(channels)) < len(channels):
        raise RecipeError(
            f"--channels {','.join(channels)}: are different names, no numbers, with commas between, e.g. C3,C4"
        )
    if not (0 < rate < float("inf") and 0 < window < float("inf") and rate * window >= 16):
        raise RecipeError(f"--rate {rate:g} --window {window:g}: a window must hold 16 samples or more")
    folder = out or Path(f"modalign-{name.replace('_', '-')}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(f"{folder}: is there and not empty; give another --out")
    package = f"modalign_{name}"
    values = values_of(name, package, channels, rate, window)
    places = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "test.py": f"tests/test_{name}.py",
        **{
            part: f"{package}/{part}"
            for part in ("__init__.py", "reader.py", "processing.py", "encoder.py", "augment.py")
        },
    }
    for template, place in places.items():
        text = (files("modalign.cli") / "plugin" / f"{template}.tmpl").read_text(encoding="utf-8")
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(text).substitute(values), encoding="utf-8")
    return folder


def _is_number(text: str) -> bool:
    """A table's first row of numbers, `nan` among them, is no header."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def values_of(name: str, package: str, channels: list[str], rate: float, window: float) -> dict[str, str]:
    """What stands in the templates for `$name` and the others."""
    from modalign import __version__

    return {
        "name": name,
        "package": package,
        "distribution": package.replace("_", "-"),
        # The parts' names have endings of their own, so that no class hides one of modalign's.
        "cls": "".join(part.capitalize() for part in name.split("_")),
        "version": __version__,
        "channels": repr(tuple(channels)).replace("'", '"'),
        "channel_list": ", ".join(channels[:6]) + (" and others" if len(channels) > 6 else ""),
        "rate": repr(float(rate)),
        "window": repr(float(window)),
    }


def check_name(name: str) -> None:
    """Refuse what cannot name a modality.

    Raises:
        RecipeError: it is no identifier in lower case, means something else in a manifest, or is taken.
    """
    from modalign.modalities.registry import list_modalities

    if not (name.isascii() and name.isidentifier() and name == name.lower()) or name.strip("_") != name:
        raise RecipeError(f"{name!r} cannot name a modality: write a Python identifier in lower case, such as eeg")
    if keyword.iskeyword(name) or name in RESERVED:
        raise RecipeError(f"{name!r} cannot name a modality: it means something else already; add a word to it")
    if name in list_modalities():
        raise RecipeError(f"the modality {name!r} is there already (known: {', '.join(list_modalities())})")
