"""iSogCLR: a temperature of its own for every recording and every text, learnt from how hard its negatives are."""

from __future__ import annotations

import torch
from torch import Tensor

from modalign.align.losses.registry import StatefulLoss, Training, register_loss
from modalign.align.losses.targets import same_item
from modalign.errors import RecipeError

SIDES = ("x", "y")


@register_loss("isogclr")
class ISogCLR(StatefulLoss):
    """`mean_i sum_{j != i} p_ij h_ij` of rows and of columns, `h_ij = S_ij - S_ii`, p from a running estimate.

    Qiu et al. 2023, by their public code, the diagonal masked as in its later version. Each training row keeps, on each
    side, a running sum s of its negatives with the shift b that it was taken at, and its temperature. The model's
    temperature takes no part.

    Args:
        gamma: weight of this batch in the running sum; a row's first batch counts alone.
        rho: how far the weights may depart from even ones: larger gives higher temperatures.
        eta: step of the temperatures.
        beta: weight of this batch in the step's momentum.
        init, least, most: temperatures at first, and their bounds.

    Raises:
        RecipeError: an option is out of range.
    """

    by_row = tuple(f"{name}_{side}" for side in SIDES for name in ("s", "b", "u", "tau"))

    def __init__(
        self,
        gamma: float = 0.8,
        rho: float = 8.0,
        eta: float = 0.03,
        beta: float = 0.9,
        init: float = 0.01,
        least: float = 0.005,
        most: float = 1.0,
    ) -> None:
        super().__init__()
        if not (0 < least <= init <= most):
            raise RecipeError(f"loss.options: least {least}, init {init}, most {most} positive, and in this order")
        if not (0 < gamma <= 1 and 0 < beta <= 1):
            raise RecipeError(f"loss.options: gamma {gamma} and beta {beta} must be in (0, 1]")
        self.gamma, self.rho, self.eta, self.beta = gamma, rho, eta, beta
        self.init, self.least, self.most = init, least, most

    def start(self, training: Training) -> None:
        """Make the states of `training.size` rows."""
        for side in SIDES:
            for name in ("s", "b", "u"):
                self.register_buffer(f"{name}_{side}", torch.zeros(training.size))
            self.register_buffer(f"tau_{side}", torch.full((training.size,), self.init))

    def forward(self, x: Tensor, y: Tensor, rows: Tensor, groups: Tensor | None = None) -> Tensor:
        """The loss; updates the states of `rows` and of no other.

        Args:
            x: (B, d) unit rows.
            y: (B, d) unit rows, row i paired with x's row i.
            rows: (B,) positions in the training rows.
            groups: (B, K) ids; rows that hold the same item are no negatives.
        """
        similar = x @ y.T
        negative = ~same_item(groups, x)
        loss: Tensor = self._side("x", similar, rows, negative) + self._side("y", similar.T, rows, negative)
        return loss

    def _side(self, side: str, similar: Tensor, rows: Tensor, negative: Tensor) -> Tensor:
        h = similar - similar.diagonal().unsqueeze(1)
        p = self._weights(side, h.detach(), rows, negative)
        return (p * h).sum(1).mean()

    @torch.no_grad()
    def _weights(self, side: str, h: Tensor, rows: Tensor, negative: Tensor) -> Tensor:
        s, b, u, tau = (getattr(self, f"{name}_{side}") for name in ("s", "b", "u", "tau"))
        old_s, old_b, own = (state[rows].to(h.dtype) for state in (s, b, tau))
        z = h / own.unsqueeze(1)
        new_b = torch.maximum(old_b, z.masked_fill(~negative, -torch.inf).amax(1))
        e = (z - new_b.unsqueeze(1)).exp() * negative
        g = e.sum(1)
        new_s = torch.where(old_s == 0, g, (1 - self.gamma) * old_s * (old_b - new_b).exp() + self.gamma * g)
        has = negative.any(1)
        p: Tensor = e / torch.where(has, new_s, 1).clamp_min(torch.finfo(h.dtype).tiny).unsqueeze(1)
        slope = slope_of(new_s, new_b, p, z * negative, negative.sum(1), self.rho).clamp(-5, 5)
        new_u = (1 - self.beta) * u[rows].to(h.dtype) + self.beta * slope
        for state, value in ((s, new_s), (b, new_b), (u, new_u)):
            state[rows] = torch.where(has, value, state[rows].to(h.dtype)).to(state.dtype)
        moved = (own - self.eta * new_u).clamp(self.least, self.most)
        tau[rows] = torch.where(has, moved, own).to(tau.dtype)
        return p


def slope_of(s: Tensor, b: Tensor, p: Tensor, z: Tensor, count: Tensor, rho: float) -> Tensor:
    """`ln(s / n) + b + rho - sum_j p_ij z_ij`: the slope of each row's loss in its temperature, n negatives.

    Args:
        s: (B,) running sums.
        b: (B,) shifts that they were taken at.
        p: (B, C) weights.
        z: (B, C) differences over the temperature.
        count: (B,) negatives.
        rho: see `ISogCLR`.
    """
    tiny = torch.finfo(s.dtype).tiny
    return s.clamp_min(tiny).log() - count.clamp_min(1).to(s.dtype).log() + b + rho - (p * z).sum(1)
