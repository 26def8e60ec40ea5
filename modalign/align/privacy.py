"""What is written into files that people share says nothing of this machine's folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_PLACE = re.compile(r"^(/|~|\.{1,2}[/\\]|[A-Za-z]:[/\\])|\\|/.*/")
"""From a root, a home or a folder, or with two slashes or more: a Hub id (`user/name`) is none of these."""


def without_paths(tree: Any) -> Any:
    """A copy of a tree of mappings, lists and values in which every path is cut to its last part.

    What names a file or folder that is here is a path, however it is written.

    Example:
        >>> without_paths({"checkpoint": "/home/ann/models/bert", "name": "user/bert", "epochs": 3})
        {'checkpoint': 'bert', 'name': 'user/bert', 'epochs': 3}
    """
    if isinstance(tree, dict):
        return {key: without_paths(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [without_paths(value) for value in tree]
    if isinstance(tree, Path) or (isinstance(tree, str) and _is_path(tree)):
        return re.split(r"[/\\]", str(tree).rstrip("/\\"))[-1]
    return tree


def _is_path(text: str) -> bool:
    if ("/" not in text and "\\" not in text) or len(text) > 1000:
        return False
    return Path(text).exists() or (" " not in text and _PLACE.search(text) is not None)
