"""Which joint of the body a device is on: tables, and a signal whose channels stand under the joints' names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from modalign.errors import ReadError, suggest
from modalign.modalities.base import Signal
from modalign.modalities.motion.fields import split_channel
from modalign.modalities.motion.skeleton.joints import JOINTS

Table = Mapping[str, tuple[str, ...]]

_RIGHT, _LEFT = "right_hip", "left_hip"
BODY: Table = {
    **{joint: (joint,) for joint in JOINTS},
    "head": ("head",), "ear": ("head",), "glasses": ("head",),
    "neck": ("neck",), "chest": ("chest",), "torso": ("chest",), "back": ("chest",), "upper back": ("chest",),
    "lower back": ("lower_spine",), "waist": ("pelvis",), "belt": ("pelvis",), "hip": ("pelvis",),
    "pocket": (_RIGHT,), "trouser pocket": (_RIGHT,), "front pocket": (_RIGHT,), "thigh": (_RIGHT,), "leg": (_RIGHT,),
    "wrist": ("right_wrist",), "hand": ("right_wrist",), "watch": ("right_wrist",), "forearm": ("right_elbow",),
    "arm": ("right_shoulder",), "upper arm": ("right_shoulder",), "shin": ("right_knee",), "shank": ("right_knee",),
    "ankle": ("right_ankle",), "foot": ("right_foot",), "shoe": ("right_foot",),
}  # fmt: skip
"""Words for a place on the body -> joint. A side before a word (`left wrist`) is understood; without one, the right."""

PUBLIC: Mapping[str, Table] = {
    "pamap2": {"hand": ("right_wrist",), "chest": ("chest",), "ankle": ("right_ankle",)},
    "uci_har": {"": ("lower_spine",), "waist": ("lower_spine",)},
    "usc_had": {"": (_RIGHT,), "hip": (_RIGHT,)},
    "wisdm": {"": ("right_wrist",), "watch": ("right_wrist",)},
    "motionsense": {"": (_RIGHT, _LEFT), "pocket": (_RIGHT, _LEFT)},
    "mhealth": {"chest": ("chest",), "left ankle": ("left_ankle",), "right wrist": ("right_wrist",)},
    "dsads": {
        "torso": ("chest",), "right arm": ("right_wrist",), "left arm": ("left_wrist",), "right leg": ("right_knee",),
        "left leg": ("left_knee",),
    },
    "opportunity": {
        "back": ("middle_spine",), "right upper arm": ("right_shoulder",), "right lower arm": ("right_elbow",),
        "left upper arm": ("left_shoulder",), "left lower arm": ("left_elbow",),
    },
    "shoaib": {
        "left pocket": (_LEFT,), "right pocket": (_RIGHT,), "wrist": ("right_wrist",), "upper arm": ("right_elbow",),
        "belt": ("pelvis",),
    },
}  # fmt: skip
"""UniMTS's tables of public data sets (xiyuanzh/UniMTS at 656fcda), device -> joints."""


SAME: Mapping[str, tuple[str, ...]] = {
    "front trouser pocket": ("trouser pocket", "pocket"),
    "wrist of the dominant hand": ("wrist", "hand", "watch"),
    "ankle of the dominant side": ("ankle",),
}
"""Places as the manifests of public data sets call them -> words of the tables; the first that a table has counts."""


def check_placement(placement: str | dict[str, tuple[str, ...]] | None) -> str | dict[str, tuple[str, ...]] | None:
    """The placement as given, if it names a table that is known, or joints that are.

    Raises:
        ValueError: it does not.
    """
    if isinstance(placement, str) and placement not in ("body", *PUBLIC):
        raise ValueError(f"no placement {placement!r}: {suggest(placement, ('body', *PUBLIC))}")
    for place, joints in placement.items() if isinstance(placement, dict) else ():
        for joint in joints or ("",):
            if joint not in JOINTS:
                raise ValueError(f"place {place!r}: no joint {joint!r}: {suggest(joint, JOINTS)}")
    return placement


def plain(place: str) -> str:
    """A place as the tables write it.

    Example:
        >>> plain(" Left_Wrist")
        'left wrist'
    """
    return " ".join(place.lower().replace("_", " ").replace("-", " ").split())


def joints_of(place: str, placement: str | Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The joints that a device at this place stands for.

    Args:
        place: the location before its channels' names, or `motion.location`; "" where neither says one.
        placement: "body", the name of a public data set, or a table.

    Raises:
        ReadError: the place is not known.

    Example:
        >>> joints_of("left wrist", "body"), joints_of("", "motionsense")
        (('left_wrist',), ('right_hip', 'left_hip'))
    """
    table: Table
    if isinstance(placement, str):
        table = BODY if placement == "body" else PUBLIC[placement]
    else:
        table = placement
    table = {plain(key): joints for key, joints in table.items()}
    name = plain(place)
    for word in (name, *SAME.get(name, ())):
        if word in table:
            return table[word]
    side, _, rest = name.partition(" ")
    if placement == "body" and side in ("left", "right"):
        # `left trouser pocket`: the table's words stand for the right side.
        found = table.get(rest)
        if found is not None and found[0].startswith("right"):
            return (found[0].replace("right", side),)
        if found is not None:
            return found
    where = f"the place {place!r}" if place else "a device without a place"
    raise ReadError(
        f"motion: {where} is on no joint by this placement: {suggest(name, table)}; set motion.location, or "
        "processing.placement to a table as {place: [joint]}"
    )


def place_on_joints(signal: Signal, placement: str | Mapping[str, tuple[str, ...]]) -> Signal:
    """The signal with its channels under the names of joints; a device that stands for two is there twice.

    Raises:
        ReadError: a device's place is not known, or two devices are on one joint.

    Example:
        >>> import torch
        >>> given = Signal(torch.zeros(1, 9), 20.0, ("acc_x",), {"location": "chest"})
        >>> place_on_joints(given, "body").channels
        ('chest/acc_x',)
    """
    key = placement if isinstance(placement, str) else tuple(sorted((k, tuple(v)) for k, v in placement.items()))
    rows, names = _placed(signal.channels, str(signal.meta.get("location", "")), key)
    if rows == tuple(range(len(signal.channels))):
        return replace(signal, channels=names)
    return replace(signal, data=signal.data[list(rows)], channels=names)


@lru_cache(maxsize=256)
def _placed(
    channels: tuple[str, ...], location: str, placement: str | tuple[tuple[str, tuple[str, ...]], ...]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    table = placement if isinstance(placement, str) else dict(placement)
    rows, names = [], []
    for row, channel in enumerate(channels):
        split = split_channel(channel)
        if split is None:
            continue
        for joint in joints_of(split[0] or location, table):
            rows.append(row)
            names.append(f"{joint}/{split[1]}_{split[2]}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ReadError(
            f"motion: two devices are on the joint {twice.split('/')[0]} by this placement (channels "
            f"{', '.join(channels)}); set processing.placement to a table that parts them"
        )
    return tuple(rows), tuple(names)
