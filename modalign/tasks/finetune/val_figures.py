"""A head's figures on val, by which the checkpoint is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.align.metrics import macro_auroc
from modalign.tasks.finetune.regression import regression_figures
from modalign.tasks.finetune.target import Target

Array = NDArray[Any]


def head_figures(target: Target, logits: Array, truth: Array) -> dict[str, float]:
    """Name -> figure; those that are not defined are left out.

    Args:
        target: what the outputs mean.
        logits: (N, C).
        truth: as `Target.tensor` gives it.
    """
    if target.kind == "regression":
        numbers, said = (values[:, 0].astype(np.float64) * target.sd + target.mean for values in (truth, logits))
        found = {"loss": float(((truth - logits) ** 2).mean()), **regression_figures(numbers, said)}
    elif target.kind == "multi":
        # log(1 + e^-x) of the right side, without overflow
        loss = np.logaddexp(0, np.where(truth > 0, -logits, logits)).mean()
        found = {"loss": float(loss), "macro_auroc": macro_auroc(truth.astype(int), logits)[0]}
    else:
        shifted = logits - logits.max(1, keepdims=True)
        own = shifted[np.arange(len(truth)), truth] - np.log(np.exp(shifted).sum(1))
        right = logits.argmax(1) == truth
        recalls = [right[truth == c].mean() for c in np.unique(truth)]
        found = {
            "loss": float(-own.mean()),
            "accuracy": float(right.mean()),
            "balanced_accuracy": float(np.mean(recalls)),
        }
    return {name: value for name, value in found.items() if not np.isnan(value)}
