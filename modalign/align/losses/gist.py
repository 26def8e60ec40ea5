"""GIST: a guide model's similarities mask the negatives that are likely not negative."""

from __future__ import annotations

import torch
from torch import Tensor

from modalign.align.losses.registry import StatefulLoss, Training, register_loss
from modalign.align.losses.targets import check_direction, own_cross_entropy, same_item, ways

STUDENT = "student"


@register_loss("gist")
class Gist(StatefulLoss):
    """`-log` of the share of `e^{s x_i.y_i}` among `x_i.y_j`, `x_i.x_j` and `y_i.y_j`, without the false negatives.

    Solatorio 2024 (GISTEmbed), by its public code. A candidate is left out where the guide finds it nearer than the
    pair itself. The guide embeds the training rows once, at the start.

    Args:
        guide: the folder (or Hub id) of a saved model with the pair's towers; "student": the embeddings that train.
        direction: "x2y" as published, "y2x" or "both".

    Raises:
        RecipeError: the direction is not known.
    """

    def __init__(self, guide: str = STUDENT, direction: str = "x2y") -> None:
        super().__init__()
        check_direction(direction)
        self.guide, self.direction = guide, direction

    def start(self, training: Training) -> None:
        """Embed the training rows with the guide."""
        if self.guide != STUDENT:
            for side, tower in zip("xy", training.names):
                self.register_buffer(f"guide_{side}", training.embed(tower, self.guide), persistent=False)

    def forward(self, x: Tensor, y: Tensor, scale: Tensor, rows: Tensor, groups: Tensor | None = None) -> Tensor:
        """The loss.

        Args:
            x: (B, d) unit rows.
            y: (B, d) unit rows, row i paired with x's row i.
            scale: 1 / temperature, a scalar.
            rows: (B,) positions in the training rows.
            groups: (B, K) ids; rows that hold the same item are no negatives.
        """
        if self.guide == STUDENT:
            of_x, of_y = x.detach(), y.detach()
        else:
            of_x, of_y = (getattr(self, f"guide_{side}")[rows].to(x.dtype) for side in "xy")
        same = same_item(groups, x)
        both = ways((x, of_x), (y, of_y), self.direction)
        return torch.stack([guided(*own, *other, scale, same) for own, other in both]).mean()


def guided(x: Tensor, guide_x: Tensor, y: Tensor, guide_y: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """The loss of x against y.

    Args:
        x, y: (B, d) unit rows.
        guide_x, guide_y: (B, g) unit rows of the guide.
        scale: 1 / temperature.
        same: (B, B) True where rows hold the same item, on the diagonal too.
    """
    least = (guide_x * guide_y).sum(1, keepdim=True)
    own = torch.eye(len(x), dtype=torch.bool, device=x.device)
    candidates: list[Tensor] = []
    for a, b, guide_a, guide_b in ((x, y, guide_x, guide_y), (x, x, guide_x, guide_x), (y, y, guide_y, guide_y)):
        false = (guide_a @ guide_b.T > least) | same
        if not candidates:
            false = false & ~own  # the pair itself stays
        candidates.append((scale * a @ b.T).masked_fill(false, -torch.inf))
    return own_cross_entropy(torch.cat(candidates, 1))
