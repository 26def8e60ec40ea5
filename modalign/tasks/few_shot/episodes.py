"""Drawing the labelled rows of an episode: seeded, nested, and from as many recordings and people as there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from modalign.align.manifest import Row


def draw(rows: Sequence[Row], labels: Sequence[str], shots: Sequence[int], seed: Sequence[int]) -> dict[int, list[int]]:
    """For each number of shots the positions of that many rows a label; fewer shots are the first of more.

    A label's next row is of the recording (cluster) that has given the fewest rows to the episode so far, then of the
    person (group) that has given the fewest of this label, and random among these: two rows of one recording are drawn
    only where no other is left. Of a label with too few rows all are taken. Where rows have several labels, a row
    counts for each of them: the rarest label is served first, and one that has enough from the others gets no more.

    Args:
        rows: to draw from.
        labels: each gets `shots` rows.
        shots: numbers of rows a label.
        seed: of the draw.

    Example:
        >>> rows = [Row(str(i), "train", "", "", ("ab"[i % 2],), {}, {}) for i in range(6)]
        >>> {k: len(drawn) for k, drawn in draw(rows, ["a", "b"], [1, 2], [0]).items()}
        {1: 2, 2: 4}
    """
    order = np.random.default_rng(list(seed)).permutation(len(rows))
    waiting = {label: [int(i) for i in order if label in rows[i].labels] for label in labels}
    rarest_first = sorted(labels, key=lambda label: len(waiting[label]))
    drawn: list[int] = []
    taken: set[int] = set()
    had: Counter[str] = Counter()
    recordings: Counter[str] = Counter()
    people: Counter[tuple[str, str]] = Counter()
    supports = {}
    for round_ in range(1, max(shots) + 1):
        for label in rarest_first:
            left = [i for i in waiting[label] if i not in taken]
            if had[label] >= round_ or not left:
                continue
            picked = min(left, key=lambda i: (recordings[recording_of(rows[i])], people[label, rows[i].group]))
            drawn.append(picked)
            taken.add(picked)
            recordings[recording_of(rows[picked])] += 1
            for own in rows[picked].labels:
                had[own] += 1
                people[own, rows[picked].group] += 1
        if round_ in shots:
            supports[round_] = list(drawn)
    return supports


def recording_of(row: Row) -> str:
    """What two windows share: the cluster, or the row itself where it has none."""
    return f"cluster {row.cluster}" if row.cluster else f"row {row.id}"


def repeated_recordings(rows: Sequence[Row], support: Sequence[int]) -> int:
    """How many of an episode's rows are of a recording that gave another one before."""
    return len(support) - len({recording_of(rows[i]) for i in support})


def too_few(rows: Sequence[Row], labels: Sequence[str], shots: int) -> Mapping[str, int]:
    """The labels with fewer rows than shots, and how many they have."""
    counts = {label: sum(label in row.labels for row in rows) for label in labels}
    return {label: count for label, count in counts.items() if count < shots}
