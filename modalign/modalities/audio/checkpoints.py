"""transformers' audio checkpoints: which class, which part of it, and proof that every weight was there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modalign.errors import MissingExtraError, ModelError, RecipeError

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
    from transformers import AutoConfig

    options = dict(hf_config)
    kind = options.pop("model_type", None)
    if kind not in kinds:
        raise ModelError(f"encoder {family!r}: hf_config.model_type is {kind!r}, not {' or '.join(kinds)}")
    try:
        config = AutoConfig.for_model(kind, **options)
        # ClapAudioModel calls its own from_pretrained with the tower's config; AutoModel knows only the whole model.
        return _class_of(kind)(config)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"encoder {family!r}: hf_config does not describe a {kind} model: {error}") from error


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
    from transformers import AutoConfig

    pinned: dict[str, Any] = {"revision": revision} if revision else {}
    try:
        kind = AutoConfig.from_pretrained(source, trust_remote_code=False, **pinned).model_type
    except (OSError, ValueError, KeyError) as error:
        raise _cannot(family, source, error) from error
    if kind not in kinds:
        raise ModelError(f"encoder {family!r}: {source!r} is a {kind} checkpoint, not {' or '.join(kinds)}")
    try:
        model, info = _class_of(kind, whole=True).from_pretrained(
            source,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **pinned,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _cannot(family, source, error) from error
    part: nn.Module = model.audio_model if kind == "clap" else model.encoder if kind == "whisper" else model
    prefix = {"clap": "audio_model.", "whisper": "encoder."}.get(kind, "")
    lacking = [k for k in info["missing_keys"] if k.startswith(prefix) and not k.endswith(UNTRAINED)]
    lacking += [str(k) for k in info.get("mismatched_keys", [])]
    if lacking:
        raise ModelError(
            f"encoder {family!r}: {source!r} lacks {len(lacking)} weights ({lacking[0]}, ...), which would stay "
            "random; give a whole checkpoint"
        )
    return part.float()


def preprocessor(source: str, revision: str | None) -> dict[str, Any]:
    """The checkpoint's `preprocessor_config.json`; empty where there is none."""
    path: Path | None = Path(source) / "preprocessor_config.json"
    if not Path(source).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            path = Path(hf_hub_download(source, "preprocessor_config.json", revision=revision))
        except (HfHubHTTPError, LocalEntryNotFoundError):
            path = None
    if path is None or not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON ({error})") from None
    return loaded if isinstance(loaded, dict) else {}


def one_of(family: str, checkpoint: str | None, hf_config: dict[str, Any] | None) -> None:
    """Refuse both or neither.

    Raises:
        RecipeError: says what to give.
    """
    if (checkpoint is None) == (hf_config is None):
        raise RecipeError(
            f"encoder {family!r} takes checkpoint (a folder or Hub id) or hf_config (a transformers config, for random "
            "weights); give one of them"
        )


def config_of(model: Any) -> dict[str, Any]:
    """A model's config as JSON, from which `build` makes the same architecture."""
    return {
        key: value for key, value in json.loads(model.config.to_json_string(use_diff=False)).items() if key[0] != "_"
    }


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


def _cannot(family: str, source: str, error: Exception) -> ModelError:
    return ModelError(
        f"encoder {family!r}: the checkpoint {source!r} cannot be loaded: {(str(error).splitlines() or [''])[0]} "
        "Give a folder with config.json and model.safetensors, or a Hub id that this machine can reach."
    )
