"""The losses of heads: cross-entropy, binary cross-entropy for several labels, squared error; class weights."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalign.tasks.fusion.options import HeadOutput

Kind = Literal["single", "multi", "regression"]


class Criterion(nn.Module):
    """The loss of a head's output: the mean over its states, and its penalty.

    Args:
        kind: "single" (one label a row), "multi" (several), "regression" (a standardised number).
        weights: (C,) of the classes; of a label's positives with several labels a row; None: all 1.
    """

    weights: Tensor | None

    def __init__(self, kind: Kind, weights: Tensor | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, output: HeadOutput, target: Tensor) -> Tensor:
        """A head's output and targets -> a scalar.

        Args:
            output: of B rows.
            target: (B,) class numbers; (B, C) of 0 and 1; or (B, 1) numbers.
        """
        each = [self._one(state.float(), target) for state in output.states]
        return torch.stack(each).mean() + output.penalty

    def _one(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.kind == "regression":
            return F.mse_loss(logits, target)
        if self.kind == "multi":
            return F.binary_cross_entropy_with_logits(logits, target, pos_weight=self.weights)
        losses = F.cross_entropy(logits, target, reduction="none")
        # Over the rows, not over the batch's sum of weights as torch does: a batch without the rare class would else
        # count its common rows as much as another batch its rare ones.
        return (losses if self.weights is None else losses * self.weights[target]).mean()


def balanced_weights(truth: Tensor, kind: Kind) -> Tensor:
    """Weights that make classes count alike.

    Args:
        truth: (N, C) of 0 and 1, of the training rows.
        kind: "single": n / (C n_c), as scikit-learn's "balanced"; "multi": negatives by positives of each label.

    Example:
        >>> balanced_weights(torch.tensor([[1, 0], [1, 0], [1, 0], [0, 1]]), "single")
        tensor([0.6667, 2.0000])
    """
    counts = truth.sum(0).clamp_min(1).float()
    if kind == "multi":
        return (len(truth) - counts).clamp_min(1) / counts
    return len(truth) / (truth.shape[1] * counts)
