"""Attention weights of any encoder, without a word in its code: they are caught where torch computes them.

transformers' models (eager and sdpa), MONAI's and tsai's, and this package's own blocks all go through
`scaled_dot_product_attention` or `softmax`. Within `captured`, the first is computed step by step, so that its weights
are part of the graph. Outside of it nothing is changed, hooked or slowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

SOFTMAX = {F.softmax, torch.softmax, Tensor.softmax}


class _Catch(TorchFunctionMode):
    """Keeps square attention weights (N, H, L, L), where N * L is the number of tokens."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        out = func(*args, **kwargs)
        return self._keep(out) if func in SOFTMAX and isinstance(out, Tensor) else out

    def _keep(self, weights: Tensor) -> Tensor:
        shape = weights.shape
        if weights.ndim != 4 or shape[2] != shape[3] or shape[0] * shape[3] != self.tokens:
            return weights
        if not weights.requires_grad and torch.is_grad_enabled():
            weights = weights.requires_grad_()  # a frozen encoder: the graph begins here
        self.weights.append(weights)
        return weights

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """What `scaled_dot_product_attention` documents; dropout is left out, since this is inference."""
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
        logits = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            causal = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
            logits = logits.masked_fill(~causal, float("-inf"))
        if attn_mask is not None:
            logits = (
                logits.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else logits + attn_mask
            )
        return self._keep(logits.softmax(-1)) @ value


@contextmanager
def captured(tokens: int) -> Iterator[list[Tensor]]:
    """Within it, every layer's self-attention weights are appended to the list that is yielded.

    Args:
        tokens: of all groups of one item.

    Example:
        >>> with captured(5) as weights:
        ...     _ = F.scaled_dot_product_attention(*[torch.randn(1, 2, 5, 4)] * 3)
        >>> [tuple(w.shape) for w in weights]
        [(1, 2, 5, 5)]
    """
    with _Catch(tokens) as catch:
        yield catch.weights
