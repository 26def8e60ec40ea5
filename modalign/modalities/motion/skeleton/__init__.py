"""Skeletons in motion, and what sensors on them read: BVH, ASF/AMC and joint positions -> `Clip` -> signals."""

from __future__ import annotations

from modalign.modalities.motion.skeleton.asf_amc import read_amc, read_asf
from modalign.modalities.motion.skeleton.bvh import read_bvh
from modalign.modalities.motion.skeleton.clip import Clip, clip_from_positions
from modalign.modalities.motion.skeleton.imu import SensorNoise, clip_to_imu
from modalign.modalities.motion.skeleton.joints import HUMANML3D, JOINTS, PARENTS

__all__ = [
    "HUMANML3D", "JOINTS", "PARENTS", "Clip", "SensorNoise", "clip_from_positions", "clip_to_imu", "read_amc",
    "read_asf", "read_bvh",
]  # fmt: skip
