"""Rotations as matrices (..., 3, 3) that take a local vector to the world: pure functions on numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""World with y up -> world with z up: (x, y, z) becomes (x, -z, y)."""


def about(axis: str, angle: Array | float) -> Array:
    """Rotation about one axis: angle (...) in radians -> (..., 3, 3).

    Example:
        >>> about("z", np.pi / 2).round().astype(int).tolist()
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    """
    angle = np.asarray(angle, dtype=np.float64)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., range(3), range(3)] = 1.0
    cos, sin = np.cos(angle), np.sin(angle)
    matrix[..., i, i] = matrix[..., j, j] = cos
    matrix[..., i, j], matrix[..., j, i] = -sin, sin
    return matrix


def euler(axes: Sequence[str], angles: Array) -> Array:
    """Product of rotations in the order of `axes`: angles (..., k) in radians -> R1 R2 ... Rk (..., 3, 3).

    The last one is applied to a vector first: BVH's rule for a joint's channels. ASF's `axis XYZ` is the reverse.
    """
    matrix = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for k, axis in enumerate(axes):
        matrix = matrix @ about(axis, angles[..., k])
    return np.asarray(matrix)


def between(start: Array, end: Array) -> Array:
    """The smallest rotation that turns each vector start (..., 3) to the direction of end (..., 3): (..., 3, 3).

    Opposite vectors have many; one of them is taken.
    """
    a = start / np.linalg.norm(start, axis=-1, keepdims=True)
    b = end / np.linalg.norm(end, axis=-1, keepdims=True)
    a, b = np.broadcast_arrays(a, b)
    cross, cosine = np.cross(a, b), (a * b).sum(-1)[..., None, None]
    skew = np.zeros((*cross.shape, 3))
    skew[..., 0, 1], skew[..., 0, 2], skew[..., 1, 2] = -cross[..., 2], cross[..., 1], -cross[..., 0]
    skew = skew - np.swapaxes(skew, -1, -2)
    turned = np.eye(3) + skew + skew @ skew / np.maximum(1 + cosine, 1e-9)
    axis = np.cross(a, np.eye(3)[np.abs(a).argmin(-1)])
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    half_turn = 2 * axis[..., :, None] * axis[..., None, :] - np.eye(3)
    return np.where(cosine < -1 + 1e-7, half_turn, turned)


def log_map(matrices: Array) -> Array:
    """Rotation vectors (..., 3), radians, of rotations (..., 3, 3)."""
    from scipy.spatial.transform import Rotation

    vectors = Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec()
    return np.asarray(vectors.reshape(matrices.shape[:-1]))


def exp_map(vectors: Array) -> Array:
    """Rotations (..., 3, 3) of rotation vectors (..., 3) in radians."""
    from scipy.spatial.transform import Rotation

    matrices = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix()
    return np.asarray(matrices.reshape(*vectors.shape[:-1], 3, 3))


def random_rotation(generator: np.random.Generator) -> Array:
    """A rotation (3, 3) drawn uniformly: a normalised Gaussian quaternion."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_quat(generator.normal(size=4)).as_matrix())
