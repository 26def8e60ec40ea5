"""MERL's uni-modal alignment: two views of one tower's features, made by dropout, contrasted with each other."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from modalign.align.losses.infonce import infonce
from modalign.align.losses.registry import StatefulLoss, Training, register_loss
from modalign.errors import RecipeError, suggest


@register_loss("uma")
class Uma(StatefulLoss):
    """InfoNCE between `dropout(W1 f)` and `dropout(W2 f)`, f the pooled features of one tower before its projection.

    MERL's second term (Liu et al. 2024), by its public code: give it in `plus`, beside `infonce`. MERL adds the two
    directions where this takes their mean: a weight of 2 is theirs. That the two maps have no bias is as recalled. They
    train with the model, and are not part of it.

    Args:
        tower: whose features.
        dropout: of each view, in [0, 1).

    Raises:
        RecipeError: dropout is no share, or a pair lacks the tower.
    """

    def __init__(self, tower: str = "ecg", dropout: float = 0.1) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise RecipeError(f"loss.options.dropout: {dropout!r} is not in [0, 1)")
        self.tower, self.dropout = tower, nn.Dropout(dropout)

    def start(self, training: Training) -> None:
        """Make the two maps, as wide as the tower's features."""
        self._place(training.names)
        width = training.widths[self.tower]
        self.first, self.second = (nn.Linear(width, width, bias=False) for _ in range(2))

    def _place(self, names: Sequence[str]) -> int:
        if self.tower not in names:
            raise RecipeError(
                f"loss.options.tower: no tower {self.tower!r} in the pair {', '.join(names)}; "
                f"{suggest(self.tower, names)}"
            )
        return list(names).index(self.tower)

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        scale: Tensor,
        features: Sequence[Tensor],
        groups: Tensor | None = None,
        names: Sequence[str] = (),
    ) -> Tensor:
        """The loss.

        Args:
            x: (B, d) rows of the pair's first tower, not used; nor is y, that of the second.
            y: see x.
            scale: 1 / temperature, a scalar.
            features: (B, width) of each tower.
            groups: (B, K) ids of the items.
            names: the towers.
        """
        own = features[self._place(names)]
        first, second = (F.normalize(self.dropout(layer(own)), dim=1) for layer in (self.first, self.second))
        return infonce(first, second, scale, groups)
