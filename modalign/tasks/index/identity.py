"""A hash of all that an embedding depends on: the model's weights, buffers and processing."""

from __future__ import annotations

import hashlib
import json

import torch

from modalign.align.model import AlignmentModel


def identity_of(model: AlignmentModel) -> str:
    """The same for a model and its saved and loaded copy; another as soon as one weight or constant differs."""
    processing = {name: model.tower(name).processing.parameters() for name in sorted(model.towers)}
    digest = hashlib.sha256(json.dumps(processing, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(content.numpy().tobytes())
    return digest.hexdigest()
