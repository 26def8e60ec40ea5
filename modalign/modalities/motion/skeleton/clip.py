"""A recorded or simulated movement of a skeleton: `Clip`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modalign.errors import ReadError
from modalign.modalities.motion.skeleton.joints import HUMANML3D, JOINTS, PARENTS, find_joints
from modalign.modalities.motion.skeleton.rotations import Z_UP, between

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Clip:
    """Where the joints of a body are and how its bones are turned, over time. The world has z up.

    Attributes:
        joints: names.
        parents: the number of each joint's parent, -1 for the root; a parent comes before its children.
        rate: frames per second.
        positions: (T, J, 3), metres.
        rotations: (T, J, 3, 3), bone -> world; the bone that begins at the joint.
        where: how errors name it.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    rate: float
    positions: Array
    rotations: Array
    where: str = "clip"

    def __post_init__(self) -> None:
        """Refuse a rate that is none."""
        if not 0 < self.rate < float("inf"):
            raise ReadError(f"{self.where}: the rate, frames per second, is above 0, not {self.rate!r}")

    def body(self) -> Clip:
        """The same movement by UniMTS's 22 joints.

        Raises:
            ReadError: the skeleton lacks one of them.
        """
        if self.joints == JOINTS:
            return self
        found = find_joints(self.joints, self.where)
        place, turn = [i for i, _ in found], [i for _, i in found]
        return Clip(JOINTS, PARENTS, self.rate, self.positions[:, place], self.rotations[:, turn], self.where)

    def index(self, joint: str) -> int:
        """The number of a joint.

        Raises:
            ReadError: there is none of this name.
        """
        if joint not in self.joints:
            raise ReadError(f"{self.where}: no joint {joint!r}; it has {', '.join(self.joints)}")
        return self.joints.index(joint)


_REST = {
    "lower_spine": (0, 0, 1), "middle_spine": (0, 0, 1), "chest": (0, 0, 1), "neck": (0, 0, 1), "head": (0, 0, 1),
    "hip": (0, 0.65, -0.75), "knee": (0, 0, -1), "ankle": (0, 0, -1), "foot": (1, 0, 0),
    "collar": (0, 0.7, 0.7), "shoulder": (0, 1, 0), "elbow": (0, 1, 0), "wrist": (0, 1, 0),
}  # fmt: skip


def _rest_direction(joint: str) -> Array:
    """From its parent to a joint while the body stands with its arms sideways: x forwards, y left, z up."""
    direction = np.array(_REST.get(joint, _REST.get(joint.rsplit("_", maxsplit=1)[-1], (0, 0, 1))), dtype=np.float64)
    return direction * ([1, -1, 1] if joint.startswith("right") else [1, 1, 1])


def clip_from_positions(positions: Array, rate: float, *, order: Sequence[str] = JOINTS, up: str = "z") -> Clip:
    """A clip from the positions of the 22 joints alone, with rotations found from the directions of the bones.

    Pelvis and chest turn with all bones that leave them; every other bone makes the smallest turn from its parent that
    fits its direction, so that its twist about itself, which positions cannot say, is its parent's.

    Args:
        positions: (T, 22, 3), metres.
        rate: frames per second (HumanML3D: 20).
        order: the names of the joints in the array's order (`HUMANML3D` for HumanML3D's).
        up: "z" or "y", the world's upward axis (HumanML3D: "y").

    Raises:
        ReadError: the shape is another, a value is not finite, or two joints of a bone are at one place.

    Example:
        >>> clip_from_positions(np.random.rand(40, 22, 3), 20, order=HUMANML3D, up="y").rotations.shape
        (40, 22, 3, 3)
    """
    where = f"joint positions of shape {positions.shape}"
    if positions.ndim != 3 or positions.shape[1:] != (len(JOINTS), 3) or len(positions) == 0:
        raise ReadError(f"{where}: must be (T, {len(JOINTS)}, 3), frames, joints, x y z in metres")
    if not np.isfinite(positions).all():
        frame = int(np.argwhere(~np.isfinite(positions))[0, 0])
        raise ReadError(f"{where}: frame {frame} is not finite; fill or cut it")
    if sorted(order) != sorted(JOINTS):
        raise ReadError(f"{where}: order must name the {len(JOINTS)} joints {', '.join(JOINTS)}, each once")
    if up not in ("y", "z"):
        raise ReadError(f"{where}: up is 'y' or 'z', not {up!r}")
    places = positions[:, [list(order).index(joint) for joint in JOINTS]].astype(np.float64)
    places = places @ Z_UP.T if up == "y" else places
    children: list[list[int]] = [[k for k, p in enumerate(PARENTS) if p == j] for j in range(len(JOINTS))]
    for j, parent in enumerate(PARENTS):
        if parent >= 0 and (np.linalg.norm(places[:, j] - places[:, parent], axis=1) < 1e-6).any():
            raise ReadError(f"{where}: {JOINTS[j]} and {JOINTS[parent]} are at one place; check the order and the unit")
    rotations = np.empty((*places.shape, 3))
    for j in range(len(JOINTS)):
        above = rotations[:, PARENTS[j]] if j else np.broadcast_to(np.eye(3), (len(places), 3, 3))
        if not children[j]:
            rotations[:, j] = above
            continue
        rest = np.stack([_rest_direction(JOINTS[k]) for k in children[j]])
        bones = places[:, children[j]] - places[:, [j]]
        if len(children[j]) == 1:
            rotations[:, j] = above @ between(rest[0], np.einsum("tji,tj->ti", above, bones[:, 0]))
        else:
            rotations[:, j] = _best_rotation(rest, bones)
    return Clip(JOINTS, PARENTS, rate, places, rotations, where)


def _best_rotation(rest: Array, bones: Array) -> Array:
    """The rotation (T, 3, 3) that best turns the directions rest (k, 3) to bones (T, k, 3): Kabsch's solution."""
    unit = bones / np.linalg.norm(bones, axis=-1, keepdims=True)
    rest = rest / np.linalg.norm(rest, axis=-1, keepdims=True)
    u, _, vt = np.linalg.svd(np.einsum("tki,kj->tij", unit, rest))
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    return np.asarray(u @ vt)


__all__ = ["HUMANML3D", "JOINTS", "PARENTS", "Clip", "clip_from_positions"]
