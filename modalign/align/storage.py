"""A saved model: one folder that needs no other checkpoint, no pickle, and no code but this package.

config.json         the architecture, processing and constants
model.safetensors   every weight and buffer
training.json       what it was trained on: labels, rows, recipe; no ids
TOWER/              files that a tower's processing needs (a tokenizer)
README.md           the model card
checksums.json      SHA-256 of the files above but the card, checked on loading
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from modalign.align.config import ModelConfig
from modalign.align.files import sha256_of
from modalign.errors import ModelError
from modalign.modalities.base import Processing
from modalign.modalities.messages import first_problem

CHECKSUMS = "checksums.json"
CARD = "README.md"
WEIGHTS = "model.safetensors"
NOT_HASHED = {CHECKSUMS, CARD}


def write_checksums(folder: Path) -> None:
    """Write `checksums.json`: relative path -> SHA-256, for every file but the card."""
    hashes = {name: sha256_of(folder / name) for name in _files(folder)}
    (folder / CHECKSUMS).write_text(json.dumps(hashes, indent=1, sort_keys=True))


def check_checksums(folder: Path) -> None:
    """Compare a folder with its `checksums.json`.

    Raises:
        ModelError: names the first file that is missing, changed or added.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        raise ModelError(
            f"{path}: no such file; this is not a folder that modalign saved, or it was saved only in part"
        )
    try:
        expected = json.loads(path.read_text())
        assert isinstance(expected, dict)
    except (ValueError, AssertionError):
        raise ModelError(f"{path}: damaged; copy the folder again") from None
    present = set(_files(folder))
    for name, sha256 in expected.items():
        if name not in present:
            raise ModelError(f"{folder / name}: missing; copy the folder again")
        if sha256_of(folder / name) != sha256:
            raise ModelError(f"{folder / name}: its content is not what was saved; copy the folder again")
    for name in present - set(expected):
        raise ModelError(f"{folder / name}: was not saved with this model; take it out of the folder")


@dataclass(frozen=True)
class Saved:
    """What a saved folder holds; `weights` is the hash of the weights, for which `card` was written."""

    folder: Path
    config: ModelConfig
    record: dict[str, Any] | None
    tensors: dict[str, Tensor]
    card: str | None
    weights: str


def write_folder(
    folder: Path,
    config: ModelConfig,
    record: Mapping[str, Any] | None,
    tensors: Mapping[str, Tensor],
    assets: Mapping[str, Processing],
) -> None:
    """Write the folder that `read_folder` reads, without a card; one of other weights that is there is taken away."""
    before = weights_hash(folder)
    (folder / "config.json").write_text(json.dumps(config.model_dump(mode="json"), indent=1))
    if record is not None:
        (folder / "training.json").write_text(json.dumps(record, indent=1))
    save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, folder / WEIGHTS)
    for name, processing in assets.items():
        processing.save_assets(folder / name)
    write_checksums(folder)
    if before != weights_hash(folder):
        (folder / CARD).unlink(missing_ok=True)


def weights_hash(folder: Path) -> str:
    """The SHA-256 of a folder's weights as its checksums say it; empty where it has none."""
    try:
        return str(json.loads((folder / CHECKSUMS).read_text())[WEIGHTS])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def read_folder(model_id: str, **options: Any) -> Saved:
    """Read a folder, or a Hub repository (downloaded first), its checksums verified.

    Raises:
        ModelError: names the file and what is wrong with it.
    """
    folder = Path(model_id)
    if not folder.is_dir():
        folder = _download(model_id, options)
    check_checksums(folder)
    try:
        config = ModelConfig(**json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise ModelError(f"{folder / 'config.json'}: {problem}") from None
    record = folder / "training.json"
    try:
        tensors = load_file(folder / WEIGHTS)
        said = json.loads(record.read_text()) if record.is_file() else None
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder}: {' '.join(str(error).split())[:400]}") from None
    card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else None
    return Saved(folder, config, said, tensors, card, weights_hash(folder))


def _download(model_id: str, options: dict[str, Any]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    known = ("revision", "cache_dir", "force_download", "token", "local_files_only")
    try:
        return Path(snapshot_download(model_id, **{k: options[k] for k in known if options.get(k) is not None}))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{model_id}: no such folder, and no model of that name could be downloaded ({type(error).__name__})"
        ) from None


def _files(folder: Path) -> list[str]:
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
    return [n for n in names if n not in NOT_HASHED and not n.startswith(".")]
