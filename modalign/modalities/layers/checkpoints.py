"""transformers' checkpoints: a model without weights from its config, one with all of its weights, the files beside it.

Used by every modality whose encoders are transformers models; which classes they take is theirs to say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from modalign.errors import ModelError, RecipeError

ClassOf = Callable[[str], Any]
"""`model_type` -> a callable that makes a model of a config, and has transformers' `from_pretrained`."""


@contextmanager
def reading(family: str, source: str) -> Iterator[None]:
    """Whatever a damaged, foreign or absent checkpoint makes transformers raise, as one error that names it.

    Raises:
        ModelError: says what was wrong, and what to give.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (
        OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError,
        SafetensorError, StrictDataclassError,
    ) as error:  # fmt: skip
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"encoder {family!r}: the checkpoint {source!r} cannot be loaded: {said} Give a folder with config.json "
            "and model.safetensors, whole and undamaged, or a Hub id that this machine can reach."
        ) from error


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
        ModelError: it cannot be read, or is none of `kinds` (where there are any).
    """
    from transformers import AutoConfig

    with reading(family, source):
        kind = str(AutoConfig.from_pretrained(source, trust_remote_code=False, **_pinned(revision)).model_type)
    if kinds and kind not in kinds:
        raise ModelError(f"encoder {family!r}: {source!r} is a {kind} checkpoint, not {' or '.join(kinds)}")
    return kind


def load(
    family: str,
    source: str,
    revision: str | None,
    model_class: Any,
    *,
    untrained: tuple[str, ...] = (),
    **arguments: Any,
) -> Any:
    """A checkpoint's model in float32, every weight of it loaded.

    Args:
        family: the encoder's name, for errors.
        source: a folder or a Hub id.
        revision: the Hub revision to pin.
        model_class: of `transformers`.
        untrained: ends of names of weights that may be absent, since nothing here uses them.
        arguments: more for the class.

    Raises:
        ModelError: it cannot be loaded, or lacks weights.
    """
    with reading(family, source), _without_reports(Path(source).is_dir()):
        model, info = model_class.from_pretrained(
            source,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **_pinned(revision),
            **arguments,
        )
    lacking = [key for key in info["missing_keys"] if not (untrained and key.endswith(untrained))]
    lacking += [str(k) for k in info.get("mismatched_keys", [])]
    if lacking:
        raise ModelError(
            f"encoder {family!r}: {source!r} lacks {len(lacking)} weights ({lacking[0]}, ...), which would stay "
            "random; give a whole checkpoint"
        )
    return model.float()


def side_file(source: str, name: str, revision: str | None) -> dict[str, Any]:
    """A JSON file beside the weights, as `preprocessor_config.json`; empty where there is none.

    Raises:
        ModelError: it is damaged.
    """
    path: Path | None = Path(source) / name
    if not Path(source).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            path = Path(hf_hub_download(source, name, revision=revision))
        except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError):
            path = None
    if path is None or not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON ({error}); copy it again") from None
    if not isinstance(loaded, dict):
        raise ModelError(f"{path}: holds no keys and values; copy it again")
    return loaded


def number(said: dict[str, Any], key: str, default: float, above: float = 0.0) -> float:
    """A number of a checkpoint's side file.

    Example:
        >>> number({"hop_length": 320}, "hop_length", 480), number({}, "hop_length", 480)
        (320.0, 480.0)

    Raises:
        ModelError: it is no finite number above `above`.
    """
    value = said.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value < math.inf:
        raise ModelError(
            f"the checkpoint's preprocessor_config.json says {key} = {value!r}, which is no number"
            f"{'' if math.isinf(above) else f' above {above:g}'}; mend or remove it there"
        )
    return float(value)


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


@contextmanager
def _without_reports(local: bool) -> Iterator[None]:
    """Without transformers' list of the weights that a tower leaves unused; those that it lacks are refused.

    And without its bar where the weights are on disk already (`local`); a download keeps its own.
    """
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if local:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
