"""What an accelerometer and a gyroscope on a moving bone read. Pure functions.

The world has z up, so gravity is (0, 0, -9.81). A sensor at p whose rotation R takes its own axes to the world reads
`acc = R^T (d2p/dt2 - g)` and `gyro = R^T omega`: at rest 9.81 upwards, in free fall nothing (as UniMTS and IMUSim,
whose world has z down).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modalign.errors import ReadError
from modalign.modalities.base import Signal
from modalign.modalities.motion.fields import STANDARD
from modalign.modalities.motion.skeleton.clip import Clip
from modalign.modalities.motion.skeleton.rotations import log_map
from modalign.modalities.resampling import resample

Array = np.ndarray[Any, Any]

GRAVITY = 9.81
"""m/s2, as UniMTS and IMUSim."""


def second_difference(positions: Array, rate: float) -> Array:
    """Acceleration (T, ..., 3), m/s2, of positions (T, ..., 3), m: `(p[t+1] - 2 p[t] + p[t-1]) rate^2`.

    The first and the last frame repeat their neighbours.

    Raises:
        ReadError: there are fewer than three frames.
    """
    if len(positions) < 3:
        raise ReadError(f"{len(positions)} frames have no acceleration; give three at least")
    inner = (positions[2:] - 2 * positions[1:-1] + positions[:-2]) * rate**2
    return np.concatenate([inner[:1], inner, inner[-1:]])


def angular_velocity(rotations: Array, rate: float) -> Array:
    """Rotation rates in the sensor's frame (T, ..., 3), rad/s: `log(R[t]^T R[t+1]) rate`; the last is repeated."""
    steps = log_map(np.swapaxes(rotations[:-1], -1, -2) @ rotations[1:]) * rate
    return np.concatenate([steps, steps[-1:]])


def specific_force(accelerations: Array, rotations: Array, gravity: float = GRAVITY) -> Array:
    """World accelerations (T, ..., 3) -> what the accelerometer reads in its own frame (T, ..., 3), m/s2."""
    felt = accelerations + np.array([0.0, 0.0, gravity])
    return np.asarray(np.einsum("...ji,...j->...i", rotations, felt))


def attach(positions: Array, rotations: Array, offset: Array, mounting: Array) -> tuple[Array, Array]:
    """Place and rotation of a sensor that is fixed to a bone.

    Args:
        positions: of the joint where the bone begins (T, ..., 3), metres.
        rotations: of the bone (T, ..., 3, 3).
        offset: from the joint to the sensor in the bone's frame (3,), metres: a lever arm, along which turning is felt.
        mounting: the sensor's axes in the bone's frame (3, 3).
    """
    return positions + rotations @ offset, rotations @ mounting


def simulate_imu(positions: Array, rotations: Array, rate: float, gravity: float = GRAVITY) -> Array:
    """Readings (T, ..., 6) of sensors at positions (T, ..., 3) with rotations (T, ..., 3, 3): acc x y z, gyro x y z.

    Example:
        >>> still = np.zeros((5, 3)), np.tile(np.eye(3), (5, 1, 1))
        >>> simulate_imu(*still, rate=20)[2].tolist()
        [0.0, 0.0, 9.81, 0.0, 0.0, 0.0]
    """
    force = specific_force(second_difference(positions, rate), rotations, gravity)
    return np.concatenate([force, angular_velocity(rotations, rate)], axis=-1)


@dataclass(frozen=True)
class SensorNoise:
    """Noise and bias of a sensor; the defaults are of a phone's.

    Attributes:
        acc: standard deviation of the accelerometer's white noise, m/s2.
        gyro: of the gyroscope's, rad/s.
        acc_bias: standard deviation of a device's constant offset, m/s2.
        gyro_bias: likewise, rad/s.
        acc_scale: standard deviation of the accelerometer's relative error of scale, by axis.
    """

    acc: float = 0.03
    gyro: float = 0.005
    acc_bias: float = 0.1
    gyro_bias: float = 0.01
    acc_scale: float = 0.005

    def apply(self, readings: Array, generator: np.random.Generator) -> Array:
        """Readings (T, 6) of one device -> the same with its errors, deterministic from the generator."""
        white = generator.normal(size=readings.shape) * np.repeat([self.acc, self.gyro], 3)
        bias = generator.normal(size=6) * np.repeat([self.acc_bias, self.gyro_bias], 3)
        scale = 1 + generator.normal(size=6) * np.repeat([self.acc_scale, 0.0], 3)
        return np.asarray(readings * scale + bias + white)


def smooth(values: Array, rate: float, cutoff: float) -> Array:
    """Zero-phase low pass (Butterworth of order 4, each way) of (T, ...): jitter of optical markers is no motion.

    Raises:
        ReadError: the cutoff is not between 0 and half the rate, or there are too few frames.
    """
    from scipy.signal import butter, sosfiltfilt

    if not 0 < cutoff < rate / 2:
        raise ReadError(f"cutoff is between 0 and {rate / 2:g} Hz, half the rate, not {cutoff!r}")
    if len(values) < 20:
        raise ReadError(f"{len(values)} frames are too few to smooth; give 20 at least, or no cutoff")
    sections = butter(4, cutoff, fs=rate, output="sos")
    return np.asarray(sosfiltfilt(sections, values, axis=0, padlen=15))


def clip_to_imu(
    clip: Clip,
    joints: Sequence[str] | None = None,
    *,
    rate: float = 50.0,
    cutoff: float | None = None,
    offset: Sequence[float] = (0.0, 0.0, 0.0),
    mounting: Array | None = None,
    noise: SensorNoise | None = None,
    generator: np.random.Generator | None = None,
) -> Signal:
    """The signal of sensors on some joints of a clip, with channels `<joint>/acc_x` ... `<joint>/gyro_z`.

    Args:
        clip: from `read_bvh`, `read_amc` or `clip_from_positions`.
        joints: names of the clip's joints; all by default.
        rate: of the signal, Hz; readings are made at the clip's rate and resampled with anti-aliasing.
        cutoff: Hz; positions and rotations are smoothed below it first. Second differences raise the jitter of optical
            markers by the square of the rate; 20 Hz keeps a heel strike.
        offset: from the joint to the sensor in the bone's frame, metres.
        mounting: the sensor's axes in the bone's frame (3, 3); the bone's own by default.
        noise: the devices' errors; none by default.
        generator: draws them; needed with noise.

    Raises:
        ReadError: a joint is not there, the clip is too short, the mounting is no rotation, or noise comes without a
            generator.
    """
    if not 0 < rate < float("inf"):
        raise ReadError(f"{clip.where}: the sensor's rate is above 0 Hz, not {rate!r}")
    lever, axes = np.asarray(offset, dtype=np.float64), np.eye(3) if mounting is None else np.asarray(mounting)
    if lever.shape != (3,) or axes.shape != (3, 3):
        raise ReadError(f"{clip.where}: offset is (3,) and mounting (3, 3), not {lever.shape} and {axes.shape}")
    if not (np.allclose(axes.T @ axes, np.eye(3), atol=1e-6) and np.linalg.det(axes) > 0):
        raise ReadError(f"{clip.where}: mounting must be a rotation, with right-handed axes of length 1 as columns")
    names = tuple(joints or clip.joints)
    at = [clip.index(name) for name in names]
    places, turns = clip.positions[:, at], clip.rotations[:, at]
    if cutoff is not None:
        places = smooth(places, clip.rate, cutoff)
        # Each entry is smoothed, and the nearest rotation taken again.
        u, _, vt = np.linalg.svd(smooth(turns, clip.rate, cutoff))
        turns = u @ vt
    readings = simulate_imu(*attach(places, turns, lever, axes), clip.rate)
    if noise is not None:
        if generator is None:
            raise ReadError(f"{clip.where}: noise is drawn from a generator; give numpy.random.default_rng(seed)")
        readings = np.stack([noise.apply(readings[:, k], generator) for k in range(len(names))], axis=1)
    rows = torch.from_numpy(np.ascontiguousarray(readings.reshape(len(readings), -1).T, dtype=np.float32))
    channels = tuple(f"{name}/{channel}" for name in names for channel in STANDARD)
    return Signal(resample(rows, clip.rate, rate), rate, channels, {"source_rate": clip.rate, "simulated": True})
