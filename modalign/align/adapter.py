"""Adapters: only what training changed, a few MB, on a base that is named and hashed.

adapter.json          the base (config or folder), its hash, the processing's constants
adapter.safetensors   every trained tensor, and every buffer that is no longer as it was built
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from modalign.align.config import ModelConfig
from modalign.errors import ModelError

if TYPE_CHECKING:
    from modalign.align.model import AlignmentModel

M = TypeVar("M", bound="AlignmentModel")


def fingerprints(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """name -> SHA-256 of shape, dtype and bytes."""
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def changed_tensors(model: AlignmentModel) -> dict[str, Tensor]:
    """Every trainable parameter, and every saved buffer that differs from the freshly built model's."""
    saved = model.state_dict()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    fresh = model.fresh_buffers
    now = fingerprints({n: b for n, b in model.named_buffers() if n in saved})
    changed = trained | {name for name, value in now.items() if fresh.get(name) != value}
    return {name: saved[name].detach().contiguous().cpu() for name in sorted(changed)}


def base_hash(model: AlignmentModel, without: set[str]) -> str:
    """SHA-256 over all tensors that the adapter does not hold."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name not in without:
            digest.update(f"{name} {_digest(tensor)}\n".encode())
    return digest.hexdigest()


def save_adapter(model: AlignmentModel, folder: Path) -> None:
    """Write the adapter's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = changed_tensors(model)
    save_file(tensors, folder / "adapter.safetensors")
    about = {
        "base": model.base,
        "seed": model.seed,
        "config": model.source.model_dump(mode="json"),
        "base_sha256": base_hash(model, set(tensors)),
        "processing": {name: model.tower(name).processing.parameters() for name in model.towers},
    }
    (folder / "adapter.json").write_text(json.dumps(about, indent=1))


def load_adapter(cls: type[M], folder: Path, base: str | Path | None = None) -> M:
    """Build the base again, check that it is the one the adapter was trained on, and put the adapter on it.

    Args:
        cls: AlignmentModel.
        folder: what `save_adapter` wrote.
        base: the base's folder, when it is no longer where it was.

    Raises:
        ModelError: a file is missing or damaged, or the base is another one.
    """
    about, tensors = _read(folder)
    source = str(base) if base is not None else about["base"]
    if source is not None:
        model = cls.from_pretrained(source)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(about["seed"] or 0)
            model = cls(ModelConfig(**about["config"]))
        model.seed = about["seed"]
    state = model.state_dict()
    unknown = [name for name in tensors if name not in state or state[name].shape != tensors[name].shape]
    if unknown:
        raise ModelError(f"{folder}: {unknown[0]} has no place in the base; this adapter is for another model")
    if base_hash(model, set(tensors)) != about["base_sha256"]:
        raise ModelError(
            f"{folder}: the base's weights are not those that the adapter was trained on; "
            "give the right one as base=, and the same versions of the checkpoints"
        )
    model.load_state_dict(tensors, strict=False)
    for name, parameters in about["processing"].items():
        tower = model.tower(name)
        tower.processing = tower.processing.model_copy(update=_constants(tower.processing.parameters(), parameters))
    return model.eval()


def _constants(now: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in saved.items() if now.get(key) != v}


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        about = json.loads((folder / "adapter.json").read_text())
        tensors = load_file(folder / "adapter.safetensors")
        missing = {"base", "seed", "config", "base_sha256", "processing"} - set(about)
    except Exception as error:  # damaged files fail in many ways
        raise ModelError(f"{folder}: not a saved adapter, or damaged ({error})") from None
    if missing:
        raise ModelError(f"{folder / 'adapter.json'}: {sorted(missing)[0]} is missing; save the adapter again")
    return about, tensors


def _digest(tensor: Tensor) -> str:
    tensor = tensor.detach().contiguous().cpu()
    head = f"{tuple(tensor.shape)} {tensor.dtype}".encode()
    return hashlib.sha256(head + tensor.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
