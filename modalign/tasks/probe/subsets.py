"""Nested subsets of the train rows: 1, 10, 100 % of their labels, by class, whole people first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from modalign.align.manifest import Row


def strata_of(rows: Sequence[Row]) -> list[str]:
    """What rows are stratified by: the label, of several the rarest; "" without one."""
    counts = Counter(label for row in rows for label in row.labels)
    return [min(row.labels, key=lambda label: (counts[label], label)) if row.labels else "" for row in rows]


def subset(rows: Sequence[Row], fraction: float, seed: int, strata: Sequence[str]) -> list[int]:
    """Positions of about this fraction of the rows; of one seed, smaller fractions lie within greater ones.

    Strata (classes) have the shares that they have in all rows, and one row at least. Within a stratum rows are
    taken person by person (group), in one random order of people for all strata, and recording by recording: people
    are whole but for the last, or where they hold unequal shares of the strata.

    Args:
        rows: the train rows.
        fraction: above 0, to 1.
        seed: of the order.
        strata: of each row; `strata_of(rows)`, or all the same.

    Example:
        >>> rows = [Row(str(i), "train", str(i // 10), "", ("ab"[i % 2],), {}, {}) for i in range(100)]
        >>> [len(subset(rows, fraction, 0, strata_of(rows))) for fraction in (0.01, 0.1, 1)]
        [2, 10, 100]
        >>> len({rows[i].group for i in subset(rows, 0.1, 0, strata_of(rows))})
        1
    """
    generator = np.random.default_rng([seed, 1])
    rank = _ranks([row.group or f"row {row.id}" for row in rows], generator)
    recording = _ranks([row.cluster or f"row {row.id}" for row in rows], generator)
    chance = generator.permutation(len(rows))
    members: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(rows)), key=lambda i: (rank[i], recording[i], chance[i])):
        members[strata[i]].append(i)
    # Each stratum's rows at even distances from 0 to 1: what begins this line has the strata's shares, at any length.
    order = sorted((((j + 0.5) / len(own), n, i) for n, own in enumerate(members.values()) for j, i in enumerate(own)))
    taken = {i for _, _, i in order[: round(fraction * len(rows))]} | {own[0] for own in members.values()}
    return sorted(taken)


def _ranks(names: Sequence[str], generator: np.random.Generator) -> list[int]:
    distinct = sorted(set(names))
    order = dict(zip(distinct, generator.permutation(len(distinct)).tolist()))
    return [order[name] for name in names]
