"""The fixture: three unit vectors a view, in degrees, at temperature 0.5; and an example of every loss's inputs."""

import math

import torch
from torch.nn import functional as F

from modalign.align.losses import Loss, LossInputs, get_loss

SCALE = torch.tensor(2.0, dtype=torch.float64)


def unit(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], 1)


X, Y, Z = unit(0, 60, 90), unit(30, 60, 180), unit(10, 80, 150)


class Rows:
    """What a loss with a state is told of the training: `rows` rows, embedded at random."""

    def __init__(self, rows=12, dim=6, names=("x", "y")):
        self.names, self.size, self.dim = names, rows, dim
        self.widths = dict.fromkeys(names, dim + 1)
        self.known = {n: random_rows(rows, dim, seed) for seed, n in enumerate(names)}

    def embed(self, tower, model=None):
        return self.known[tower].float()


def random_rows(rows, dim=6, seed=0, dtype=torch.float64):
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=1)


OPTIONS = {"protoclip": {"clusters": 3}, "uma": {"tower": "y", "dropout": 0.0}}


def made(name, **options) -> Loss:
    """The loss, ready: its state made, its clusters found."""
    torch.manual_seed(0)
    options = {**OPTIONS.get(name, {}), **options}
    loss = get_loss(name, options, has_bias=True)
    if loss.state is not None:
        loss.state.start(Rows())
        loss.state.epoch(Rows())
    return loss.double()


def inputs_for(loss, rows=5, dim=6, dtype=torch.float64, **given):
    """Random inputs of this many rows, and what else the loss asks for."""
    count = max(loss.least_views, 3) if loss.any_number else 2
    views = tuple(random_rows(rows, dim, 7 + k, dtype) for k in range(count))
    hard, parts = (random_rows(rows * 2, dim, seed, dtype).view(rows, 2, dim) for seed in (20, 21))
    mask = torch.arange(rows * 2).view(rows, 2) % 3 > 0
    return LossInputs(
        **{
            "views": views,
            "scale": torch.tensor(2.0, dtype=dtype),
            "bias": torch.tensor(-1.0, dtype=dtype),
            "rows": torch.arange(rows) * 2,
            "progress": 0.5,
            "hard": hard,
            "hard_mask": mask,
            "parts": parts,
            "parts_mask": ~mask,
            "names": tuple("xyzw"[:count]),
            "features": tuple(3 * random_rows(rows, dim + 1, 30 + k, dtype) for k in range(count)),
            **given,
        }
    )
