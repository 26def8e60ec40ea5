"""A simulated person: how tall, how fast, how symmetric; and the 22 joints of the body from the angles between bones.

The body looks along x, left is y, up is z. Angles are in degrees, 0 while standing upright with the arms hanging.
Bones are fractions of the height (D. A. Winter, "Biomechanics and motor control of human movement", after Drillis and
Contini; from memory, rounded).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modalign.modalities.motion.skeleton.clip import Clip
from modalign.modalities.motion.skeleton.joints import JOINTS, PARENTS
from modalign.modalities.motion.skeleton.rotations import about

Array = np.ndarray[Any, Any]

THIGH, SHANK, ANKLE_HEIGHT, HEEL, BALL = 0.245, 0.246, 0.039, 0.035, 0.085
"""Lengths by the height; heel and ball of the foot are that far behind and before the ankle."""
_OFFSETS = {
    "left_hip": (0.0, 0.05, -0.055), "left_knee": (0, 0, -THIGH), "left_ankle": (0, 0, -SHANK),
    "left_foot": (BALL, 0, -ANKLE_HEIGHT + 0.01),
    "lower_spine": (-0.01, 0, 0.055), "middle_spine": (0, 0, 0.07), "chest": (0, 0, 0.075),
    "neck": (0.01, 0, 0.085), "head": (0.01, 0, 0.06),
    "left_collar": (0.01, 0.03, 0.025), "left_shoulder": (-0.005, 0.085, 0.005), "left_elbow": (0, 0, -0.186),
    "left_wrist": (0, 0, -0.146),
}  # fmt: skip
"""From a joint's parent to the joint, by the height; the right side is the mirror image."""


@dataclass(frozen=True)
class Person:
    """What stays the same in all that one person does.

    Attributes:
        height: metres.
        tempo: factor of cadence beyond what height says.
        vigour: factor of the size of movements.
        offsets: of the joints, degrees: thigh, knee, ankle, trunk, shoulder, elbow.
        gains: factors of the ranges of hip, knee, ankle, arm.
        asymmetry: by how much the left leg does more than the right, relative.
        variability: of the time of a stride, relative.
        arm_swing: degrees to either side at an ordinary pace.
        lean: of the trunk, degrees forwards.
        harmonics: (3, 4, 2): small terms of hip, knee and ankle by stride, degrees, that make a gait one's own.
        impact: factor of the jolt at a step.
        knock: of step width and sway.
    """

    height: float = 1.72
    tempo: float = 1.0
    vigour: float = 1.0
    offsets: Array = field(default_factory=lambda: np.zeros(6))
    gains: Array = field(default_factory=lambda: np.ones(4))
    asymmetry: float = 0.0
    variability: float = 0.02
    arm_swing: float = 18.0
    lean: float = 3.0
    harmonics: Array = field(default_factory=lambda: np.zeros((3, 4, 2)))
    impact: float = 1.0
    knock: float = 1.0


def draw_person(rng: np.random.Generator) -> Person:
    """A person as adults differ."""
    return Person(
        height=float(np.clip(rng.normal(1.71, 0.09), 1.48, 1.98)),
        tempo=float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)),
        vigour=float(np.clip(rng.normal(1.0, 0.08), 0.8, 1.2)),
        offsets=rng.normal(size=6) * [3, 3, 3, 3, 6, 10],
        gains=1 + rng.normal(size=4) * [0.08, 0.07, 0.12, 0.25],
        asymmetry=float(rng.normal(0, 0.04)),
        variability=float(rng.uniform(0.01, 0.035)),
        arm_swing=float(rng.uniform(6, 30)),
        lean=float(rng.normal(3, 3)),
        harmonics=rng.normal(size=(3, 4, 2)) * np.array([1.2, 0.9, 0.6, 0.4])[:, None],
        impact=float(np.exp(rng.normal(0, 0.35))),
        knock=float(np.exp(rng.normal(0, 0.3))),
    )


@dataclass(frozen=True)
class Movement:
    """Angles and the pelvis's path over T frames.

    Attributes:
        rate: frames per second.
        root: the pelvis's place (T, 3), metres.
        facing: its yaw, pitch (forwards) and roll (to the right), radians (T, 3).
        angles: name -> (T,) degrees, 0 where left out. `hip_l`, `hip_abd_l`, `hip_rot_l`, `knee_l`, `ankle_l`,
            `shoulder_l`, `shoulder_abd_l`, `shoulder_rot_l`, `elbow_l`, `pronation_l` and the same with `_r`; `trunk`,
            `trunk_side`, `trunk_twist`, `neck`, `neck_twist`. Flexion is above 0; abduction and turning outwards too.
        jolts: (frame, side "l", "r" or "both", m/s2): what a foot passes up the leg when it meets the ground.
        tremor: standard deviation of the small unrest of muscles, heart and breath, m/s2.
    """

    rate: float
    root: Array
    facing: Array
    angles: Mapping[str, Array]
    jolts: tuple[tuple[int, str, float], ...] = ()
    tremor: float = 0.0

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.root)


def forward(person: Person, movement: Movement) -> Clip:
    """All joints of a person who moves so.

    Example:
        >>> still = Movement(50, np.zeros((3, 3)), np.zeros((3, 3)), {})
        >>> forward(Person(), still).positions.shape
        (3, 22, 3)
    """
    count = len(movement)
    places, turns = np.empty((count, len(JOINTS), 3)), np.empty((count, len(JOINTS), 3, 3))
    yaw, pitch, roll = movement.facing.T
    places[:, 0], turns[:, 0] = movement.root, about("z", yaw) @ about("y", pitch) @ about("x", roll)
    for j, joint in enumerate(JOINTS[1:], 1):
        parent = PARENTS[j]
        side, _, kind = joint.partition("_")
        mirrored = side == "right"
        offset = np.array(_OFFSETS[f"left_{kind}" if mirrored else joint]) * person.height
        offset = offset * ([1, -1, 1] if mirrored else [1, 1, 1])
        places[:, j] = places[:, parent] + turns[:, parent] @ offset
        local = _local(joint, kind, side, movement.angles)
        turns[:, j] = turns[:, parent] if local is None else turns[:, parent] @ local
    return Clip(JOINTS, PARENTS, movement.rate, places, turns, "simulated")


def _local(joint: str, kind: str, side: str, angles: Mapping[str, Array]) -> Array | None:
    """The turn of the bone that begins at the joint, against its parent's; None: it turns with its parent."""

    def radians(name: str, factor: float = 1.0) -> Array | float:
        return np.radians(angles[name]) * factor if name in angles else 0.0

    if joint in ("lower_spine", "middle_spine", "chest"):
        third = 1 / 3
        return (
            about("z", radians("trunk_twist", third))
            @ about("y", radians("trunk", third))
            @ about("x", radians("trunk_side", third))
        )
    if joint == "neck":
        return about("z", radians("neck_twist")) @ about("y", radians("neck"))
    s, sign = side[0], (1.0 if side == "left" else -1.0)
    if kind in ("hip", "shoulder"):
        # The arm is raised to the front or the side, then turned about itself.
        return (
            about("x", radians(f"{kind}_abd_{s}", sign))
            @ about("y", radians(f"{kind}_{s}", -1.0))
            @ about("z", radians(f"{kind}_rot_{s}", sign))
        )
    if kind in ("knee", "ankle", "elbow"):
        return about("y", radians(f"{kind}_{s}", 1.0 if kind == "knee" else -1.0))
    if kind == "wrist":
        return about("z", radians(f"pronation_{s}", -sign))
    return None
