"""Integrated gradients (Sundararajan, Taly, Yan 2017) through captum: from nothing to the input, in equal steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modalign.errors import MissingExtraError
from modalign.tasks.explain.registry import Window, register_method

STEPS = 50
NEAR, MOST_JUMP = 0.01, 0.5
"""More than half of the way in the first hundredth of it is a jump."""
AT_ONCE = 10
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
    """Whether the score has a slope at the input, and comes to its value by degrees on the way there from nothing.

    A net that normalises its own input by itself (group or layer norm over a clip, without a bias before it) gives the
    same for an input and a hundredth of it: all that is to be explained happens at nothing, where no step looks, and
    the gradients along the way sum to 0. Ids have vectors of their own, which are not scaled.
    """
    if window.encoder.embedding() is not None:
        return True
    if window.gradient() is None:
        return False
    with torch.no_grad():
        way = window.main - window.blank
        parts = way.new_tensor([0, NEAR, 1]).view(3, *[1] * (way.ndim - 1))
        nothing, near, there = window.run(window.blank + way * parts)
    return bool((near - nothing).abs() <= MOST_JUMP * (there - nothing).abs() + 1e-4)


@register_method(
    "gradients",
    f"integrated gradients, {STEPS} steps",
    "it needs a score that changes by degrees from nothing to the input",
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
