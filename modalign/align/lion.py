"""Lion (Chen et al. 2023): the sign of a blend of momentum and gradient. transformers' own needs bitsandbytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class Lion(torch.optim.Optimizer):
    """u = sign(b1 m + (1 - b1) g);  w = w (1 - lr wd) - lr u;  m = b2 m + (1 - b2) g.

    Against AdamW, take a learning rate 3 to 10 times smaller and a weight decay as many times larger.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        betas: b1 and b2.
        weight_decay: wd, not mixed into the gradient.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> weight.grad = torch.tensor([-3.0])
        >>> Lion([weight], lr=0.1).step()
        >>> weight.item()
        1.100000023841858
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate, (b1, b2) = group["lr"], group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum, gradient = state["momentum"], parameter.grad
                update = momentum.mul(b1).add_(gradient, alpha=1 - b1).sign_()
                parameter.mul_(1 - rate * group["weight_decay"]).add_(update, alpha=-rate)
                momentum.mul_(b2).add_(gradient, alpha=1 - b2)
        return loss
