"""transformers' audio checkpoints: which class, and which part of it."""

from __future__ import annotations

from typing import Any

from modalign.errors import MissingExtraError
from modalign.modalities.layers import checkpoints
from modalign.modalities.layers.checkpoints import config_of, number, one_of, side_file

__all__ = ["build", "config_of", "load", "number", "one_of", "side_file"]

UNTRAINED = ("masked_spec_embed",)
"""Weights that checkpoints may lack, since only pretraining uses them."""
PARTS = {"clap": r"^audio_model\.", "clap_audio_model": r"^audio_model\.", "whisper": r"^(model\.)?encoder\."}
"""Where a whole model's weights name the audio part; a tower saved alone has no such prefix."""


def build(family: str, kinds: tuple[str, ...], hf_config: dict[str, Any]) -> Any:
    """A model without weights, from a transformers config as a dict.

    Args:
        family: the encoder's name, for errors.
        kinds: the `model_type`s that are taken.
        hf_config: the config, with its `model_type`.

    Raises:
        ModelError: it does not describe such a model.
    """
    return checkpoints.build(family, kinds, hf_config, _class_of)


def load(family: str, kinds: tuple[str, ...], source: str, revision: str | None) -> Any:
    """The audio part of a checkpoint, every weight of it loaded.

    Args:
        family: the encoder's name, for errors.
        kinds: the `model_type`s that are taken; "clap" and "whisper" give their audio part.
        source: a folder or a Hub id.
        revision: the Hub revision to pin.

    Raises:
        ModelError: it cannot be loaded, is of another kind, or lacks weights.
    """
    kind = checkpoints.kind_of(family, kinds, source, revision)
    part = {"key_mapping": {PARTS[kind]: ""}} if kind in PARTS else {}
    return checkpoints.load(family, source, revision, _class_of(kind), untrained=UNTRAINED, **part)


def _class_of(kind: str) -> Any:
    """The audio part's class: of CLAP and Whisper a tower, else what `AutoModel` would take."""
    try:
        import transformers
        from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

        if kind == "whisper":
            from transformers.models.whisper.modeling_whisper import WhisperEncoder

            return WhisperEncoder
        # AutoModel itself knows CLAP's whole model only.
        return transformers.ClapAudioModel if kind in PARTS else getattr(transformers, MODEL_MAPPING_NAMES[kind])
    except ImportError as error:
        raise MissingExtraError(f"the audio encoder {kind}", "audio") from error
