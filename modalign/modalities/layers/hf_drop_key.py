"""DropKey for transformers' models: an attention function of theirs that reads its ratio from the attention module.

MoRE's release computes a decreasing schedule and puts it on the block, where the attention does not read it. Here
each attention module has its own `drop_key`, and that is what the function is given.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalign.errors import RecipeError
from modalign.modalities.layers.transformer import drop_keys, linear_schedule

NAME = "modalign_drop_key"
"""The attention function's name in transformers' registry."""


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **arguments: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention (B, H, L, D / H) -> (B, L, H, D / H) whose keys are dropped while `module` trains.

    In evaluation, and at ratio 0, it is transformers' own `sdpa`.
    """
    ratio = getattr(module, "drop_key", 0.0)
    if not module.training or ratio <= 0:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        plain: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **arguments
        )
        return plain
    logits = (query @ key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    lowest = torch.finfo(logits.dtype).min
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attention_mask, lowest)
        else:
            logits = (logits + attention_mask).masked_fill(attention_mask < lowest / 2, lowest)
    weights = drop_keys(logits, ratio).softmax(-1, dtype=torch.float32).to(query.dtype)
    out = F.dropout(weights, dropout) @ value
    return out.transpose(1, 2).contiguous(), weights


def attentions(model: nn.Module) -> list[nn.Module]:
    """The attention modules of a transformers model, in order: those that call its registry of functions."""
    return [m for m in model.modules() if hasattr(m, "is_causal") and hasattr(m, "config")]


def set_drop_key(model: Any, ratio: float, schedule: str = "constant") -> list[float]:
    """Put DropKey on every attention of a transformers model, and return each one's ratio.

    Args:
        model: a `PreTrainedModel`; it is changed in place. LoRA may be added before or after.
        ratio: of the first block.
        schedule: "constant" (MoRE's pretraining: 0.3), or "linear" down to 0 in the last block (its fine-tuning: 0.2).

    Raises:
        RecipeError: the ratio or the schedule is none, or the model's attention does not go through the registry.

    Example:
        >>> from transformers import ViTConfig, ViTModel
        >>> set_drop_key(ViTModel(ViTConfig(hidden_size=12, num_hidden_layers=3)), 0.2, "linear")
        [0.2, 0.1, 0.0]
    """
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if not 0 <= ratio < 1:
        raise RecipeError(f"drop_key is from 0 to under 1, not {ratio!r}")
    if schedule not in ("constant", "linear"):
        raise RecipeError(f"schedule is one of constant, linear, not {schedule!r}")
    found = attentions(model)
    if not found or not model._can_set_attn_implementation():
        raise RecipeError(
            f"drop_key: the attention of {type(model).__name__} does not go through transformers' registry; leave "
            "drop_key out"
        )
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    ratios = linear_schedule(ratio, len(found)) if schedule == "linear" else [ratio] * len(found)
    for module, own in zip(found, ratios):
        module.drop_key = own  # type: ignore[assignment]
    return ratios
