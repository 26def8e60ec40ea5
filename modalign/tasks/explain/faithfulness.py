"""Deletion and insertion (Petsiuk, Das, Saenko 2018): does the score fall fast when the most relevant parts go?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from modalign.tasks.explain.explanation import Explanation, cells_of

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Faithfulness:
    """Curves of the score against the share of the input's cells that were changed.

    Attributes:
        shares: (S + 1,), from 0 to 1.
        deletion: the score with the most relevant cells blanked out first; it should fall fast.
        insertion: the score with the most relevant cells put first into a blank input; it should rise fast.
        random_deletion: (draws, S + 1), the same in random order.
        random_insertion: likewise.
    """

    shares: Curve
    deletion: Curve
    insertion: Curve
    random_deletion: Curve
    random_insertion: Curve

    @property
    def areas(self) -> dict[str, float]:
        """Areas under the curves; the random ones are means over the draws. A good explanation has a lower
        `deletion` and a higher `insertion` than the random order."""

        def area(curve: Curve) -> float:
            return float(np.trapezoid(curve, self.shares))

        return {
            "deletion": area(self.deletion),
            "random_deletion": area(self.random_deletion.mean(0)),
            "insertion": area(self.insertion),
            "random_insertion": area(self.random_insertion.mean(0)),
        }


def deletion_insertion(explanation: Explanation, steps: int = 16, draws: int = 5, seed: int = 0) -> Faithfulness:
    """Blank out, and put in, the cells of the input by falling relevance, and in random orders beside it.

    Cells are parts of what the encoder sees (a 32nd of the time of a lead, a 16th of a picture's side), of all windows
    together; the same cells are used in every order, since scattered pixels would break any picture soon.

    Args:
        explanation: what `explain` returned.
        steps: points of each curve after the first.
        draws: random orders.
        seed: of them.

    Example:
        >>> deletion_insertion(explanation).areas                                # doctest: +SKIP
        {'deletion': 0.12, 'random_deletion': 0.31, 'insertion': 0.45, 'random_insertion': 0.29}
    """
    cells = [(k, box, value) for k, part in enumerate(explanation.parts) for box, value in cells_of(part)]
    steps = min(steps, len(cells))
    ends = np.linspace(0, len(cells), steps + 1).round().astype(int)
    ranked = np.argsort([-value for _, _, value in cells], kind="stable")
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(cells)) for _ in range(draws)]

    def curve(order: NDArray[np.int64], insert: bool) -> Curve:
        now = [(part.blank if insert else part.main).clone() for part in explanation.parts]
        scores = [explanation.rescore(now)]
        for first, last in pairwise(ends):
            for i in order[first:last]:
                k, box, _ = cells[i]
                source = explanation.parts[k].main if insert else explanation.parts[k].blank
                now[k][box] = source[box]
            scores.append(explanation.rescore(now))
        return np.array(scores)

    with torch.no_grad():
        return Faithfulness(
            ends / max(len(cells), 1),
            curve(ranked, False),
            curve(ranked, True),
            np.stack([curve(order, False) for order in orders]),
            np.stack([curve(order, True) for order in orders]),
        )
