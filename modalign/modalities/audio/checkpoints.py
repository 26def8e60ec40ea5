"""transformers' audio checkpoints: which class, and which part of it."""

from __future__ import annotations

from typing import Any

from torch import nn

from modalign.errors import MissingExtraError
from modalign.modalities.layers import checkpoints
from modalign.modalities.layers.checkpoints import config_of, one_of, preprocessor

__all__ = ["build", "config_of", "load", "one_of", "preprocessor"]

UNTRAINED = ("masked_spec_embed",)
"""Weights that checkpoints may lack, since only pretraining uses them."""


def build(family: str, kinds: tuple[str, ...], hf_config: dict[str, Any]) -> Any:
    """A model without weights, from a transformers config as a dict.

    Args:
        family: the encoder's name, for errors.
        kinds: the `model_type`s that are taken.
        hf_config: the config, with its `model_type`.

    Raises:
        ModelError: it does not describe such a model.
    """
    # ClapAudioModel calls its own from_pretrained with the tower's config; AutoModel knows only the whole model.
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
    prefix = {"clap": "audio_model.", "whisper": "encoder."}.get(kind, "")
    model = checkpoints.load(family, source, revision, _class_of(kind, whole=True), prefix=prefix, untrained=UNTRAINED)
    part: nn.Module = model.audio_model if kind == "clap" else model.encoder if kind == "whisper" else model
    return part


def _class_of(kind: str, whole: bool = False) -> Any:
    try:
        import transformers

        if kind in ("clap", "clap_audio_model"):
            return transformers.ClapModel if whole and kind == "clap" else transformers.ClapAudioModel
        if kind == "whisper":
            from transformers.models.whisper.modeling_whisper import WhisperEncoder

            return transformers.WhisperModel if whole else WhisperEncoder
        names = {
            "audio-spectrogram-transformer": "ASTModel", "wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel",
            "wavlm": "WavLMModel",
        }  # fmt: skip
        return getattr(transformers, names[kind])
    except ImportError as error:
        raise MissingExtraError(f"the audio encoder {kind}", "audio") from error
