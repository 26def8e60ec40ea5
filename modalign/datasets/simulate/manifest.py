"""A folder of simulated recordings with its manifest: nothing but a seed is needed to make it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modalign.datasets.manifest import percentile, write_manifest
from modalign.datasets.simulate.motion import ACTIVITIES, WHOLE_BODY, Simulated, simulate_motion
from modalign.datasets.simulate.sensors import MOUNTINGS, find_place, place_names
from modalign.errors import RecipeError, suggest
from modalign.modalities.motion.fields import STANDARD
from modalign.modalities.motion.skeleton.joints import JOINTS

DRAWN = ("speed", "sides", "amplitude", "side", "height")
"""Columns that say what was drawn, as far as an activity has it."""
SPLITS = (*["train"] * 8, "val", "test")
"""Of ten people; by a hash of the person, so that it does not depend on how many there are."""


def simulated_row(
    seed: int,
    row: int,
    *,
    activities: Sequence[str] = ACTIVITIES,
    places: Sequence[str] = (WHOLE_BODY,),
    mounting: str = "usual",
    seconds: float = 10.0,
    rate: float = 50.0,
) -> Simulated:
    """The recording of a row, a pure function of its arguments: each person does each activity once.

    Example:
        >>> simulated_row(0, 7, activities=["sitting", "lying"], places=["chest"], seconds=2).label
        'lying'
    """
    place = places[int(np.random.default_rng([seed, 3, row]).integers(len(places)))]
    return simulate_motion(
        activities[row % len(activities)], seed, row=row, person=row // len(activities), place=place, mounting=mounting,
        seconds=seconds, rate=rate,
    )  # fmt: skip


def write_simulated(
    out: Path,
    count: int,
    seed: int,
    *,
    activities: Sequence[str] = ACTIVITIES,
    places: Sequence[str] = (WHOLE_BODY,),
    mounting: str = "usual",
    seconds: float = 10.0,
    rate: float = 50.0,
    advance: Callable[[int], None] | None = None,
) -> Path:
    """Write `out/manifest.csv`, its sidecar, and a .npy file (T, C) for each of `count` recordings.

    Rows have a text, a label, a group (the person, who is in one split), `motion.location` and what was drawn.

    Args:
        out: the folder.
        count: recordings.
        seed: of all.
        activities: which, in turn.
        places: one of them is drawn for each recording; "body" for all 22 joints, which goes with no other.
        mounting: "usual", "aligned" or "random".
        seconds: of each recording.
        rate: Hz.
        advance: called with 1 after each recording.

    Raises:
        RecipeError: an option is not known, or the folder holds something else.
    """
    _check(count, activities, places, mounting)
    folder = out / "signals"
    if (out / "manifest.csv").exists():
        raise RecipeError(f"--out {out}: holds a manifest.csv already; give another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in range(count):
        made = simulated_row(
            seed, row, activities=activities, places=places, mounting=mounting, seconds=seconds, rate=rate
        )
        name = f"{row:07d}"
        np.save(folder / f"{name}.npy", np.ascontiguousarray(made.signal.data.numpy().T), allow_pickle=False)
        person = f"person-{row // len(activities)}"
        rows.append(
            {
                "id": f"simulated-{seed}-{name}",
                "split": SPLITS[percentile(person, seed) // 10],
                "group": f"simulated-{person}",
                "label": made.label,
                "text": made.text,
                "motion": f"signals/{name}.npy",
                "motion.location": made.signal.meta["location"],
                **{key: made.drawn.get(key, "") for key in DRAWN},
            }
        )
        if advance is not None:
            advance(1)
    table = pd.DataFrame(rows)
    if WHOLE_BODY in places:
        table = table.drop(columns="motion.location")
    about = f"Simulated motion, seed {seed}: no recording went into it"
    defaults = _defaults(places, rate)
    return write_manifest(table, out / "manifest.csv", out, about, "motion", defaults=defaults, synthetic=True)


def _check(count: int, activities: Sequence[str], places: Sequence[str], mounting: str) -> None:
    if count < 1:
        raise RecipeError(f"--count is 1 or more, not {count}")
    for activity in activities or ("",):
        if activity not in ACTIVITIES:
            raise RecipeError(f"no activity {activity!r} to simulate: {suggest(activity, ACTIVITIES)}")
    if mounting not in MOUNTINGS:
        raise RecipeError(f"no mounting {mounting!r}: {suggest(mounting, MOUNTINGS)}")
    if WHOLE_BODY in places and len(places) > 1:
        raise RecipeError(f"--place {WHOLE_BODY} has other channels than a device, and goes with no other place")
    for place in places or ("",):
        if place != WHOLE_BODY:
            find_place(place)


def _defaults(places: Sequence[str], rate: float) -> dict[str, Any]:
    """What holds for every row."""
    devices = [f"{joint}/" for joint in JOINTS] if WHOLE_BODY in places else [""]
    return {
        "motion.rate": rate,
        "motion.unit": "m/s2",
        "motion.gyro_unit": "rad/s",
        "motion.columns": ",".join(f"{device}{name}" for device in devices for name in STANDARD),
    }


__all__ = ["place_names", "simulated_row", "write_simulated"]
