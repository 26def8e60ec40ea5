"""Acclaim's files: a skeleton (.asf) and its movement (.amc), as in CMU's motion capture database.

Each bone turns by `C M C^-1`: C from its `axis`, M from its degrees of freedom, and both apply the first axis first,
so that in the skeleton's own pose every rotation is the identity and bones point along their `direction`.
A length in the file divided by `:units length` (CMU: 0.45) is in inches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modalign.errors import ReadError, suggest
from modalign.modalities.motion.skeleton.clip import Clip
from modalign.modalities.motion.skeleton.rotations import Z_UP, euler
from modalign.modalities.motion.skeleton.text_lines import Lines

Array = np.ndarray[Any, Any]
INCH = 0.0254
"""Metres."""


@dataclass
class Bone:
    """A bone of an ASF skeleton; the root is one of no length."""

    name: str
    parent: str = ""
    direction: Array = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: Array = field(default_factory=lambda: np.eye(3))
    dof: tuple[str, ...] = ()


@dataclass
class Skeleton:
    """Bones by name, a parent before its children; `scale` turns lengths into metres, `angle` angles into radians."""

    bones: dict[str, Bone]
    scale: float
    angle: float


def read_asf(path: str | Path) -> Skeleton:
    """Read a skeleton.

    Raises:
        ReadError: something is missing or malformed; names the line.
    """
    lines = Lines(Path(path))
    units: dict[str, str] = {}
    bones = {"root": Bone("root")}
    hierarchy: list[tuple[str, list[str]]] = []
    sections: set[str] = set()
    while lines.peek():
        head = lines.take("a section").split()
        if head[0] not in (":units", ":root", ":bonedata", ":hierarchy"):
            continue
        sections.add(head[0])
        while lines.peek() and not lines.peek().startswith(":"):
            words = lines.take("a line").split()
            if head[0] == ":units" and len(words) == 2:
                units[words[0]] = words[1]
            elif head[0] == ":root":
                _root(lines, words, bones["root"])
            elif head[0] == ":bonedata" and words[0] == "begin":
                bone = _bone(lines, units)
                if bone.name in bones:
                    lines.refuse(f"the bone {bone.name!r} is there twice")
                bones[bone.name] = bone
            elif head[0] == ":hierarchy" and words[0] not in ("begin", "end"):
                hierarchy.append((words[0], words[1:]))
                _hang(lines, words, bones)
    for section in (":units", ":root", ":bonedata", ":hierarchy"):
        if section not in sections:
            raise ReadError(f"{path}: has no section {section}; it must be an Acclaim skeleton (.asf)")
    if "length" not in units:
        raise ReadError(f"{path}: :units says no length; add the line 'length 0.45' of CMU's files if it is one")
    length = lines.floats([units["length"]], 1, ":units length")[0]
    if length <= 0:
        raise ReadError(f"{path}: :units length is above 0, not {length}")
    return Skeleton(_ordered(bones, str(path)), INCH / length, _angle(units))


def _angle(units: dict[str, str]) -> float:
    return 1.0 if units.get("angle", "deg").startswith("rad") else np.pi / 180


def _root(lines: Lines, words: list[str], root: Bone) -> None:
    if words[0] == "order":
        root.dof = tuple(word.lower() for word in words[1:])
        if sorted(root.dof) != ["rx", "ry", "rz", "tx", "ty", "tz"]:
            lines.refuse(f"the root's order names TX TY TZ RX RY RZ, each once, not {' '.join(words[1:])}")
    elif words[0] == "orientation" and any(lines.floats(words[1:], 3, "orientation")):
        lines.refuse("a root orientation other than 0 0 0 is not read; export the skeleton without it")


def _bone(lines: Lines, units: dict[str, str]) -> Bone:
    bone = Bone("")
    while (words := lines.take("the bone's end").split())[0] != "end":
        if words[0] == "name" and len(words) == 2:
            bone.name = words[1]
        elif words[0] == "direction":
            direction = np.array(lines.floats(words[1:], 3, "direction"))
            if not np.linalg.norm(direction):
                lines.refuse("direction is not 0 0 0")
            bone.direction = direction / np.linalg.norm(direction)
        elif words[0] == "length":
            bone.length = lines.floats(words[1:], 1, "length")[0]
        elif words[0] == "axis":
            if len(words) != 5 or sorted(words[4].lower()) != ["x", "y", "z"]:
                lines.refuse("axis has three angles and an order, as 'axis 0 0 20 XYZ'")
            angles = np.array(lines.floats(words[1:4], 3, "axis")) * _angle(units)
            bone.axis = euler(tuple(words[4].lower())[::-1], angles[::-1])
        elif words[0] == "dof":
            bone.dof = tuple(word.lower() for word in words[1:])
            for name in bone.dof:
                if name not in ("rx", "ry", "rz"):
                    lines.refuse(f"the degree of freedom {name!r} is not read, rx, ry and rz are")
    if not bone.name:
        lines.refuse("the bone that ends here has no name")
    return bone


def _hang(lines: Lines, words: list[str], bones: dict[str, Bone]) -> None:
    for name in words:
        if name not in bones:
            lines.refuse(f"no bone {name!r}: {suggest(name, bones)}")
    for child in words[1:]:
        if child == "root" or bones[child].parent:
            lines.refuse(f"{child!r} hangs on two bones, or is the root")
        bones[child].parent = words[0]


def _ordered(bones: dict[str, Bone], where: str) -> dict[str, Bone]:
    """A parent before its children."""
    placed = {"root": bones["root"]}
    while len(placed) < len(bones):
        ready = [bone for bone in bones.values() if bone.name not in placed and bone.parent in placed]
        if not ready:
            loose = next(name for name in bones if name not in placed)
            raise ReadError(f"{where}: the bone {loose!r} does not hang on the root; mend :hierarchy")
        placed.update({bone.name: bone for bone in ready})
    return placed


def read_amc(path: str | Path, skeleton: str | Path | Skeleton, *, rate: float = 120.0) -> Clip:
    """Read a movement: joints are the beginnings of the skeleton's bones, and `<bone>_end` where nothing follows.

    Args:
        path: the .amc file (or .amc.gz).
        skeleton: its .asf file, or what `read_asf` returned.
        rate: frames per second, which the file does not say; CMU's are at 120 (a few at 60).

    Raises:
        ReadError: a frame lacks a bone, has one too many, or has another count of numbers; names the line.

    Example:
        >>> clip = read_amc("02_01.amc.gz", "02.asf")           # doctest: +SKIP
        >>> clip.body().positions.shape                          # doctest: +SKIP
        (343, 22, 3)
    """
    skeleton = skeleton if isinstance(skeleton, Skeleton) else read_asf(skeleton)
    values = _frames(Lines(Path(path)), skeleton)
    return _forward(values, skeleton, rate, str(path))


def _frames(lines: Lines, skeleton: Skeleton) -> dict[str, Array]:
    """Bone -> (T, degrees of freedom), as in the file."""
    moving = {name: len(bone.dof) for name, bone in skeleton.bones.items() if bone.dof}
    frames: list[dict[str, list[float]]] = []
    number = 0
    while lines.peek():
        words = lines.take("a frame").split()
        if words[0].startswith(":"):
            # Angles come in the skeleton's unit; a file that says another one contradicts it.
            unit = "radians" if skeleton.angle == 1.0 else "degrees"
            if words[0].lower() in {":radians", ":degrees"} - {f":{unit}"}:
                lines.refuse(f"says {words[0]}, and the skeleton says {unit}; take the skeleton that belongs to it")
            continue
        if len(words) == 1 and words[0].isdigit():
            _complete(lines, frames, moving)
            if frames and int(words[0]) != number + 1:
                lines.refuse(f"frame {words[0]} follows frame {number}; export the whole movement again")
            number = int(words[0])
            frames.append({})
        elif not frames:
            lines.refuse(f"{words[0]!r} before the first frame's number")
        elif words[0] not in moving:
            lines.refuse(f"the skeleton has no moving bone {words[0]!r}: {suggest(words[0], moving)}")
        elif words[0] in frames[-1]:
            lines.refuse(f"{words[0]!r} is there twice in frame {len(frames)}")
        else:
            frames[-1][words[0]] = lines.floats(words[1:], moving[words[0]], words[0])
    _complete(lines, frames, moving)
    if not frames:
        raise ReadError(f"{lines.where}: has no frames; it must be an Acclaim movement (.amc)")
    return {name: np.array([frame[name] for frame in frames]) for name in moving}


def _complete(lines: Lines, frames: list[dict[str, list[float]]], moving: dict[str, int]) -> None:
    lacking = [name for name in moving if frames and name not in frames[-1]]
    if lacking:
        lines.refuse(f"frame {len(frames)} ends before this line without the bone {lacking[0]!r}; export it again")


def _forward(values: dict[str, Array], skeleton: Skeleton, rate: float, where: str) -> Clip:
    root = skeleton.bones["root"]
    count = len(values["root"])
    shift = np.stack([values["root"][:, root.dof.index(axis)] for axis in ("tx", "ty", "tz")], axis=1)
    starts, turns = {"root": shift}, {"root": _turn(root, values, skeleton.angle, count)}
    ends = {"root": shift}
    for bone in list(skeleton.bones.values())[1:]:
        turns[bone.name] = turns[bone.parent] @ _turn(bone, values, skeleton.angle, count)
        starts[bone.name] = ends[bone.parent]
        ends[bone.name] = starts[bone.name] + turns[bone.name] @ (bone.direction * bone.length)
    names = list(skeleton.bones)
    leaves = [name for name in names if not any(bone.parent == name for bone in skeleton.bones.values())]
    joints = (*names, *(f"{name}_end" for name in leaves))
    parents = [names.index(bone.parent) if bone.parent else -1 for bone in skeleton.bones.values()]
    parents += [names.index(name) for name in leaves]
    places = np.stack([*(starts[name] for name in names), *(ends[name] for name in leaves)], axis=1)
    rotations = np.stack([*(turns[name] for name in names), *(turns[name] for name in leaves)], axis=1)
    upright = Z_UP @ rotations @ Z_UP.T
    return Clip(joints, tuple(parents), rate, places @ Z_UP.T * skeleton.scale, upright, where)


def _turn(bone: Bone, values: dict[str, Array], angle: float, count: int) -> Array:
    """The bone's own rotation (T, 3, 3)."""
    if not bone.dof:
        return np.broadcast_to(np.eye(3), (count, 3, 3))
    turning = [(name[1], k) for k, name in enumerate(bone.dof) if name.startswith("r")][::-1]
    local = euler([axis for axis, _ in turning], values[bone.name][:, [k for _, k in turning]] * angle)
    return np.asarray(bone.axis @ local @ bone.axis.T)
