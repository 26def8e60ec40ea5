"""Adapters: only what training changed, a few MB, on a base that is named and hashed.

adapter.json          the base (config or folder), its hash, the processing's constants
adapter.safetensors   every trained tensor, and every buffer that is no longer as it was built
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from modalign.align.storage import check_checksums, write_checksums
from modalign.errors import ModelError


def fingerprints(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """name -> SHA-256 of shape, dtype and bytes."""
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def base_hash(tensors: Mapping[str, Tensor], without: set[str]) -> str:
    """SHA-256 over all tensors that the adapter does not hold."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if name not in without:
            digest.update(f"{name} {_digest(tensor)}\n".encode())
    return digest.hexdigest()


def write_adapter(folder: Path, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write the adapter's two files, and their hashes.

    Args:
        folder: made when needed.
        about: `base` (a folder, or None), `seed` and `config` (to build it where there is none), `base_sha256`,
            `processing` (tower -> parameters).
        tensors: what training changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, folder / "adapter.safetensors")
    (folder / "adapter.json").write_text(json.dumps(dict(about), indent=1))
    write_checksums(folder)


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `write_adapter` wrote.

    Raises:
        ModelError: a file is missing or damaged.
    """
    check_checksums(folder)
    try:
        about = json.loads((folder / "adapter.json").read_text())
        tensors = load_file(folder / "adapter.safetensors")
        missing = {"base", "seed", "config", "base_sha256", "processing"} - set(about)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise ModelError(f"{folder}: not a saved adapter, or damaged ({error})") from None
    if missing:
        raise ModelError(f"{folder / 'adapter.json'}: {sorted(missing)[0]} is missing; save the adapter again")
    return about, tensors


def _digest(tensor: Tensor) -> str:
    tensor = tensor.detach().contiguous().cpu()
    head = f"{tuple(tensor.shape)} {tensor.dtype}".encode()
    return hashlib.sha256(head + tensor.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
