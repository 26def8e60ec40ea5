"""UniMTS's 22 joints, and where other skeletons have them.

Source: xiyuanzh/UniMTS at 656fcda. The order is not HumanML3D's, which `HUMANML3D` gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from modalign.errors import ReadError

JOINTS = (
    "pelvis",
    "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot",
    "lower_spine", "middle_spine", "chest", "neck", "head",
    "left_collar", "left_shoulder", "left_elbow", "left_wrist",
    "right_collar", "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
"""Names of the joints, by number: 0 the pelvis, 21 the right wrist."""

PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 12, 11, 14, 15, 16, 11, 18, 19, 20)
"""The parent of each joint; -1 for the pelvis."""

HUMANML3D = (
    "pelvis", "left_hip", "right_hip", "lower_spine", "left_knee", "right_knee", "middle_spine", "left_ankle",
    "right_ankle", "chest", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
"""The same joints in the order of HumanML3D's (and SMPL's first 22) arrays."""

CMU: Mapping[str, tuple[str, str]] = {
    "pelvis": ("root", "root"),
    **{
        f"{side}_{joint}": (f"{side[0]}{place}", f"{side[0]}{bone}")
        for side in ("left", "right")
        for joint, place, bone in (
            ("hip", "femur", "femur"),
            ("knee", "tibia", "tibia"),
            ("ankle", "foot", "foot"),
            ("foot", "toes", "toes"),
            ("collar", "clavicle", "clavicle"),
            ("shoulder", "humerus", "humerus"),
            ("elbow", "radius", "radius"),
            # Pronation is a turn of CMU's bone `wrist`, the lower part of the forearm; the hand begins at its end.
            ("wrist", "hand", "wrist"),
        )
    },
    "lower_spine": ("upperback", "upperback"),
    "middle_spine": ("thorax", "thorax"),
    "chest": ("lowerneck", "thorax"),
    "neck": ("upperneck", "upperneck"),
    "head": ("head_end", "head"),
}
"""Joint -> (the CMU bone at whose beginning it is, the bone whose rotation it has)."""

_SIDED = {
    "hip": ("{s}upleg", "{s}hip", "{s}thigh", "thigh{i}", "{i}thigh", "{s}upperleg", "upperleg{i}", "upleg{i}"),
    "knee": (
        "{s}leg",
        "{s}knee",
        "{s}lowleg",
        "{s}shin",
        "shin{i}",
        "{i}shin",
        "calf{i}",
        "{s}lowerleg",
        "lowerleg{i}",
    ),
    "ankle": ("{s}foot", "{s}ankle", "foot{i}", "{i}foot"),
    "foot": ("{s}toebase", "{s}toe", "toe{i}", "{s}toes", "{s}footend", "{s}ankleend", "foot{i}end", "{i}footend"),
    "collar": ("{s}shoulder", "{s}collar", "{s}clavicle", "shoulder{i}", "clavicle{i}", "{i}collar"),
    "shoulder": ("{s}arm", "{s}uparm", "{s}upperarm", "upperarm{i}", "{i}shldr"),
    "elbow": ("{s}forearm", "{s}elbow", "{s}lowarm", "forearm{i}", "lowerarm{i}", "{s}lowerarm", "{i}forearm"),
    "wrist": ("{s}hand", "{s}wrist", "hand{i}", "{i}hand"),
}
BVH: Mapping[str, tuple[str, ...]] = {
    "pelvis": ("hips", "hip", "pelvis", "root"),
    "lower_spine": ("lowerback", "spine", "abdomen", "chest", "spine1"),
    "middle_spine": ("spine1", "spine2", "chest2", "chest", "spine"),
    "chest": ("spine3", "spine2", "chest3", "chest4", "upperchest", "spine1", "chest", "spine"),
    "neck": ("neck", "neck1"),
    "head": ("head",),
    **{
        f"{side}_{joint}": tuple(a.format(s=side, i=side[0]) for a in aliases)
        for side in ("left", "right")
        for joint, aliases in _SIDED.items()
    },
}
"""Joint -> names that BVH files give it, in lower case without marks; the first that the file has is taken."""


def normalise(name: str) -> str:
    """A joint's name without its prefix, marks and case.

    Example:
        >>> normalise("mixamorig:LeftUp_Leg")
        'leftupleg'
    """
    return re.sub(r"[^a-z0-9]", "", name.rsplit(":", 1)[-1].lower())


def find_joints(names: Sequence[str], where: str) -> list[tuple[int, int]]:
    """For each of the 22 joints: the numbers of the joints of a skeleton that give its place and its rotation.

    Raises:
        ReadError: a joint is not found; says which names were looked for.
    """
    numbers = {name: i for i, name in enumerate(names)}
    if all(place in numbers and bone in numbers for place, bone in CMU.values()):
        return [(numbers[CMU[joint][0]], numbers[CMU[joint][1]]) for joint in JOINTS]
    plain = {normalise(name): i for i, name in reversed(list(enumerate(names)))}
    # A file with `LeftArm` calls the collar `LeftShoulder`; one without it means the upper arm by that name.
    upper = {side: not any(f"{side}{arm}" in plain for arm in ("arm", "uparm", "upperarm")) for side in _SIDES}
    # Our own names count only together: elsewhere `Chest` may be the lowest of the spine, below `Chest2` and `Chest3`.
    if all(normalise(joint) in plain for joint in JOINTS):
        return [(plain[normalise(joint)],) * 2 for joint in JOINTS]
    found: dict[str, int] = {}
    # The middle of the spine comes last, to be a joint that is neither the lower nor the upper where there is one.
    for joint in sorted(JOINTS, key="middle_spine".__eq__):
        aliases = tuple(dict.fromkeys((*BVH[joint], normalise(joint))))
        side = joint.split("_")[0]
        if joint.endswith("_collar"):
            aliases = tuple(a for a in BVH[joint] if not (upper[side] and a == f"{side}shoulder"))
        elif joint.endswith("_shoulder"):
            aliases = (*BVH[joint], *((f"{side}shoulder",) if upper[side] else ()))
        there = [plain[alias] for alias in aliases if alias in plain]
        if not there:
            raise ReadError(
                f"{where}: has no joint that is the {joint.replace('_', ' ')} (looked for {', '.join(aliases)}; the "
                f"file has {', '.join(names[:8])}, ...); rename it in the file"
            )
        found[joint] = next((i for i in there if i not in found.values()), there[0])
    return [(found[joint], found[joint]) for joint in JOINTS]


_SIDES = ("left", "right")
