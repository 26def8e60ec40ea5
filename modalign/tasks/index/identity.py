"""A hash of all that an embedding depends on: the model's weights, buffers and processing."""

from __future__ import annotations

import hashlib
import json

from modalign.align.adapter import base_hash
from modalign.align.model import AlignmentModel


def identity_of(model: AlignmentModel) -> str:
    """The same for a model and its saved and loaded copy; another as soon as one weight or constant differs."""
    processing = {name: model.tower(name).processing.parameters() for name in sorted(model.towers)}
    said = json.dumps([base_hash(model.state_dict(), set()), processing], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()
