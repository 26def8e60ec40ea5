"""Integrated gradients (Sundararajan, Taly, Yan 2017) through captum: from nothing to the input, in equal steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modalign.errors import MissingExtraError
from modalign.tasks.explain.registry import Window, register_method

STEPS = 32
AT_ONCE = 8
"""Steps that are computed together."""


def captum_attr() -> Any:
    """captum.attr.

    Raises:
        MissingExtraError: captum is not installed.
    """
    try:
        from captum import attr
    except ImportError as error:
        raise MissingExtraError("integrated gradients and occlusion", "explain") from error
    return attr


def has_gradient(window: Window) -> bool:
    """Whether the score has a slope at the input, or at the vectors of its ids."""
    return window.encoder.embedding() is not None or window.gradient() is not None


@register_method(
    "gradients",
    f"integrated gradients, {STEPS} steps",
    "it needs a gradient from the embedding to the input",
    has_gradient,
)
def gradients(window: Window) -> Tensor:
    """Relevance of the main input, with a sign; it sums to the score less the score of nothing, but for rounding."""
    attr = captum_attr()
    layer = window.encoder.embedding()
    with torch.enable_grad():
        if layer is None or window.main.is_floating_point():
            found = attr.IntegratedGradients(window.run).attribute(
                window.main, window.blank, n_steps=STEPS, internal_batch_size=AT_ONCE
            )
        else:
            found = attr.LayerIntegratedGradients(window.run, layer).attribute(
                window.main, window.blank, n_steps=STEPS, internal_batch_size=AT_ONCE
            ).sum(-1)  # fmt: skip
    relevance: Tensor = found.detach()[0].float().cpu()
    return relevance
