"""BVH files: a skeleton and its movement in one text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.motion.skeleton.clip import Clip
from modalign.modalities.motion.skeleton.rotations import Z_UP, euler
from modalign.modalities.motion.skeleton.text_lines import Lines

Array = np.ndarray[Any, Any]
CHANNELS = ("xposition", "yposition", "zposition", "xrotation", "yrotation", "zrotation")


@dataclass
class Joint:
    """A joint of the hierarchy; `first` is the column of its first channel."""

    name: str
    parent: int
    offset: Array
    channels: tuple[str, ...] = ()
    first: int = 0


def read_bvh(path: str | Path, *, scale: float, up: Literal["y", "z"] = "y") -> Clip:
    """Read a BVH file. End sites become joints `<parent>_end`, which turn with their parent.

    Args:
        path: the file (or .bvh.gz).
        scale: metres in one unit of the file, which the format does not say (centimetres: 0.01; inches: 0.0254).
        up: the file's upward axis, which it does not say either; nearly always y.

    Raises:
        ReadError: something is missing or malformed; names the line.

    Example:
        >>> clip = read_bvh("walk.bvh", scale=0.01)             # doctest: +SKIP
        >>> clip_to_imu(clip.body(), ["right_wrist"])            # doctest: +SKIP
    """
    if not scale > 0:
        raise ReadError(f"{path}: scale, the metres in one unit of the file, is above 0, not {scale!r}")
    if up not in ("y", "z"):
        raise ReadError(f"{path}: up is 'y' or 'z', not {up!r}")
    lines = Lines(Path(path))
    if lines.take("HIERARCHY").upper() != "HIERARCHY":
        lines.refuse("a BVH file begins with HIERARCHY")
    joints = _hierarchy(lines)
    values, rate = _motion(lines, sum(len(joint.channels) for joint in joints))
    places, turns = _forward(joints, values)
    if up == "y":
        places, turns = places @ Z_UP.T, Z_UP @ turns @ Z_UP.T
    names = tuple(joint.name for joint in joints)
    return Clip(names, tuple(joint.parent for joint in joints), rate, places * scale, turns, str(path))


def _hierarchy(lines: Lines) -> list[Joint]:
    joints: list[Joint] = []
    open_joints: list[int] = []
    columns = 0
    while True:
        words = lines.take("the hierarchy's closing brace").split()
        keyword = words[0].upper()
        if keyword in ("ROOT", "JOINT") or [word.upper() for word in words[:2]] == ["END", "SITE"]:
            if (keyword == "ROOT") == bool(open_joints):
                lines.refuse("one ROOT holds all other joints")
            parent = open_joints[-1] if open_joints else -1
            name = _end_name(joints, parent) if keyword == "END" else " ".join(words[1:])
            if not name or any(joint.name == name for joint in joints):
                lines.refuse(f"a joint's name is there and is used once, not {name!r}")
            joints.append(Joint(name, parent, np.zeros(3)))
            open_joints.append(len(joints) - 1)
            if lines.take("an opening brace") != "{":
                lines.refuse("an opening brace must follow a joint's name")
        elif keyword == "OFFSET" and open_joints:
            joints[open_joints[-1]].offset = np.array(lines.floats(words[1:], 3, "OFFSET"))
        elif keyword == "CHANNELS" and open_joints:
            joint = joints[open_joints[-1]]
            joint.channels, joint.first = _channels(lines, words), columns
            columns += len(joint.channels)
        elif keyword == "}" and open_joints:
            open_joints.pop()
            if not open_joints:
                return joints
        else:
            lines.refuse(f"{' '.join(words)!r} is not of a hierarchy (ROOT, JOINT, End Site, OFFSET, CHANNELS, braces)")


def _end_name(joints: list[Joint], parent: int) -> str:
    """`<parent>_end`, and `<parent>_end2` and so on where a joint has several."""
    before = sum(joint.parent == parent and joint.name.startswith(f"{joints[parent].name}_end") for joint in joints)
    return f"{joints[parent].name}_end{before + 1 if before else ''}"


def _channels(lines: Lines, words: list[str]) -> tuple[str, ...]:
    names = tuple(word.lower() for word in words[2:])
    if len(words) < 2 or words[1] != str(len(names)):
        lines.refuse(f"CHANNELS says {' '.join(words[1:2]) or 'no'} names and has {len(names)}")
    for name in names:
        if name not in CHANNELS or names.count(name) > 1:
            lines.refuse(f"the channel {name!r} is not one of {', '.join(CHANNELS)}, each once")
    return names


def _motion(lines: Lines, columns: int) -> tuple[Array, float]:
    if lines.take("MOTION").upper() != "MOTION":
        lines.refuse("MOTION must follow the hierarchy")
    words = lines.take("Frames: N").split()
    if len(words) != 2 or words[0].lower() != "frames:" or not words[1].isdigit():
        lines.refuse("must be 'Frames: N'")
    count = int(words[1])
    words = lines.take("Frame Time: seconds").split()
    if [word.lower() for word in words[:2]] != ["frame", "time:"]:
        lines.refuse("must be 'Frame Time: seconds'")
    step = lines.floats(words[2:], 1, "Frame Time")[0]
    if step < 1e-6 or count == 0:
        lines.refuse(f"{count} frames of {step} s are no movement")
    rows = [
        lines.floats(lines.take(f"frame {k + 1} of {count}").split(), columns, f"frame {k + 1}") for k in range(count)
    ]
    if lines.peek():
        lines.take("nothing")
        lines.refuse(f"more rows than the {count} that 'Frames:' says")
    # Frame times are written with few digits (0.0083333): a rate that is nearly whole is whole.
    rate = 1 / step
    return np.array(rows), float(round(rate)) if abs(rate - round(rate)) < 1e-3 * rate else rate


def _forward(joints: list[Joint], values: Array) -> tuple[Array, Array]:
    """Places (T, J, 3) in the file's unit and rotations (T, J, 3, 3)."""
    places = np.empty((len(values), len(joints), 3))
    turns = np.empty((len(values), len(joints), 3, 3))
    for j, joint in enumerate(joints):
        mine = values[:, joint.first : joint.first + len(joint.channels)]
        rotating = [k for k, name in enumerate(joint.channels) if name.endswith("rotation")]
        local = euler([joint.channels[k][0] for k in rotating], np.radians(mine[:, rotating]))
        shift = np.broadcast_to(joint.offset, (len(values), 3)).copy()
        for axis, name in enumerate(CHANNELS[:3]):
            if name in joint.channels:
                # A root moves from its offset; below it, exporters write the whole translation, offset included.
                moved = mine[:, joint.channels.index(name)]
                shift[:, axis] = moved + (joint.offset[axis] if joint.parent < 0 else 0.0)
        if joint.parent < 0:
            places[:, j], turns[:, j] = shift, local
            continue
        above = turns[:, joint.parent]
        places[:, j] = places[:, joint.parent] + np.einsum("tij,tj->ti", above, shift)
        turns[:, j] = above @ local
    return places, turns
