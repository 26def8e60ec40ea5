"""transformers' checkpoints: a model without weights from its config, one with all of its weights, its preprocessor.

Used by every modality whose encoders are transformers models; which classes they take is theirs to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from modalign.errors import ModelError, RecipeError

ClassOf = Callable[[str], Any]
"""`model_type` -> a callable that makes a model of a config, and has transformers' `from_pretrained`."""


def build(family: str, kinds: Sequence[str], hf_config: dict[str, Any], class_of: ClassOf, **arguments: Any) -> Any:
    """A model without weights, from a transformers config as a dict.

    Args:
        family: the encoder's name, for errors.
        kinds: the `model_type`s that are taken.
        hf_config: the config, with its `model_type`.
        class_of: the class of a `model_type`.
        arguments: more for the class.

    Raises:
        ModelError: it does not describe such a model.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    options = dict(hf_config)
    kind = options.pop("model_type", None)
    if kind not in kinds:
        raise ModelError(f"encoder {family!r}: hf_config.model_type is {kind!r}, not {' or '.join(kinds)}")
    try:
        return class_of(kind)(AutoConfig.for_model(kind, **options), **arguments)
    except (KeyError, ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        said = " ".join(str(error).split())
        raise ModelError(f"encoder {family!r}: hf_config does not describe a {kind} model: {said}") from error


def kind_of(family: str, kinds: Sequence[str], source: str, revision: str | None) -> str:
    """A checkpoint's `model_type`.

    Raises:
        ModelError: it cannot be read, or is none of `kinds`.
    """
    from transformers import AutoConfig

    try:
        kind = str(AutoConfig.from_pretrained(source, trust_remote_code=False, **_pinned(revision)).model_type)
    except (OSError, ValueError, KeyError) as error:
        raise _cannot(family, source, error) from error
    if kind not in kinds:
        raise ModelError(f"encoder {family!r}: {source!r} is a {kind} checkpoint, not {' or '.join(kinds)}")
    return kind


def load(
    family: str,
    source: str,
    revision: str | None,
    model_class: Any,
    *,
    prefix: str = "",
    untrained: tuple[str, ...] = (),
    **arguments: Any,
) -> Any:
    """A checkpoint's model in float32, every weight of it loaded.

    Args:
        family: the encoder's name, for errors.
        source: a folder or a Hub id.
        revision: the Hub revision to pin.
        model_class: of `transformers`.
        prefix: of the weights that must be there, where only a part of the model is used.
        untrained: ends of names of weights that may be absent, since only pretraining uses them.
        arguments: more for the class.

    Raises:
        ModelError: it cannot be loaded, or lacks weights.
    """
    try:
        model, info = model_class.from_pretrained(
            source,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **_pinned(revision),
            **arguments,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _cannot(family, source, error) from error
    lacking = [k for k in info["missing_keys"] if k.startswith(prefix) and not (untrained and k.endswith(untrained))]
    lacking += [str(k) for k in info.get("mismatched_keys", [])]
    if lacking:
        raise ModelError(
            f"encoder {family!r}: {source!r} lacks {len(lacking)} weights ({lacking[0]}, ...), which would stay "
            "random; give a whole checkpoint"
        )
    return model.float()


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


def _pinned(revision: str | None) -> dict[str, Any]:
    return {"revision": revision} if revision else {}


def _cannot(family: str, source: str, error: Exception) -> ModelError:
    return ModelError(
        f"encoder {family!r}: the checkpoint {source!r} cannot be loaded: {(str(error).splitlines() or [''])[0]} "
        "Give a folder with config.json and model.safetensors, or a Hub id that this machine can reach."
    )
