"""Occlusion (Zeiler, Fergus 2014) through captum: how much the score falls when a part is blanked out."""

from __future__ import annotations

import torch
from torch import Tensor

from modalign.tasks.explain.gradients import captum_attr
from modalign.tasks.explain.registry import Window, register_method

AT_ONCE = 16
"""Occluded copies that are encoded together."""


@register_method("occlusion", "occlusion", "nothing", lambda window: True)
def occlusion(window: Window) -> Tensor:
    """Relevance of the main input, with a sign; each place's is the mean over the parts that hold it.

    Parts are two cells wide and one apart, but along the first of several axes (leads, channels, slices), where they do
    not overlap.
    """
    shape = tuple(window.main.shape[1:])
    steps = window.cells
    fixed = len(shape) == 1 and steps[0] == 1  # tokens: one by one
    along = [step if fixed or (axis == 0 and len(shape) > 1) else 2 * step for axis, step in enumerate(steps)]
    size = tuple(min(n, s) for n, s in zip(shape, along))
    stride = tuple(min(s, n) for n, s in zip(size, steps))
    with torch.no_grad():
        found = captum_attr().Occlusion(window.run).attribute(
            window.main, size, strides=stride, baselines=window.blank, perturbations_per_eval=AT_ONCE
        )  # fmt: skip
    relevance: Tensor = found.detach()[0].float().cpu()
    return relevance
