"""The heart as one current dipole, and what nine electrodes and twelve leads see of it.

Axes are Frank's: x to the left, y to the feet, z to the back. The lead vectors are Dower's (Dower, Machado and Osborne
1980), which give the eight independent leads from Frank's vectorcardiogram. A single dipole has no near field: what one
chest lead shows alone, or an elevation without its reciprocal depression, cannot be made by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modalign.modalities.ecg.leads import STANDARD

Array = np.ndarray[Any, Any]
Vector = tuple[float, float, float]
ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
DOWER = {
    "I": (0.632, -0.235, 0.059),
    "II": (0.235, 1.066, -0.132),
    "V1": (-0.515, 0.157, -0.917),
    "V2": (0.044, 0.164, -1.387),
    "V3": (0.882, 0.098, -1.277),
    "V4": (1.213, 0.127, -0.601),
    "V5": (1.125, 0.127, -0.086),
    "V6": (0.831, 0.076, 0.230),
}
"""Lead -> mV for one unit of the heart vector along x, y and z."""


def _electrodes() -> Array:
    """(9, 3): the potential of each electrode, the mean of the three on the limbs (Wilson's terminal) being 0."""
    one, two = np.array(DOWER["I"]), np.array(DOWER["II"])
    limbs = [-(one + two) / 3, (2 * one - two) / 3, (2 * two - one) / 3]
    return np.stack([*limbs, *(np.array(DOWER[name]) for name in ELECTRODES[3:])])


POTENTIALS = _electrodes()


def leads_of(potentials: Array) -> Array:
    """The twelve leads (12, T), in standard order, of the nine electrodes' potentials (9, T).

    Einthoven: I = LA - RA, II = LL - RA, III = LL - LA. Goldberger: each limb against the mean of the two others.
    Wilson: each chest electrode against the mean of the three limbs.

    Example:
        >>> leads = leads_of(np.random.default_rng(0).normal(size=(9, 4)))
        >>> bool(np.allclose(leads[0] + leads[2], leads[1]))
        True
    """
    right, left, foot = potentials[:3]
    limbs = [left - right, foot - right, foot - left]
    augmented = [right - (left + foot) / 2, left - (right + foot) / 2, foot - (right + left) / 2]
    return np.stack([*limbs, *augmented, *(potentials[3:] - (right + left + foot) / 3)])


def seen_by_leads(vector: Any) -> dict[str, float]:
    """What each lead shows of a heart vector (3,), in mV."""
    values = leads_of((POTENTIALS @ np.asarray(vector, dtype=np.float64))[:, None])[:, 0]
    return dict(zip(STANDARD, values.tolist()))


@dataclass(frozen=True)
class Wave:
    """A part of a beat: a Gaussian in time along one direction, as McSharry et al. 2003 have it in one dimension.

    Theirs are Gaussians in the beat's angle, 2 pi t / RR; in a beat of given length the two are the same. Here times
    are seconds from the onset of the QRS, since PR and QRS do not shrink with RR; `stretched` is for T.

    Attributes:
        centre: seconds from the onset.
        sigma: seconds.
        vector: the heart vector at the peak.
        flat: seconds of a plateau about the centre, whose end is twice as gradual as its beginning.
    """

    centre: float
    sigma: float
    vector: Vector
    flat: float = 0.0

    def at(self, time: Array) -> Array:
        """Height at times (T,), 1 at the peak."""
        if not self.flat:
            return np.asarray(np.exp(-0.5 * ((time - self.centre) / self.sigma) ** 2))
        from scipy.special import ndtr

        begin, end = self.centre - self.flat / 2, self.centre + self.flat / 2
        return np.asarray(ndtr((time - begin) / self.sigma) - ndtr((time - end) / (2 * self.sigma)))

    def stretched(self, factor: float) -> Wave:
        """The same wave, slower or faster about the onset."""
        return replace(self, centre=self.centre * factor, sigma=self.sigma * factor, flat=self.flat * factor)

    def times(self, factor: float) -> Wave:
        """The same wave, higher or lower."""
        return replace(self, vector=_vector(np.array(self.vector) * factor))

    def turned(self, rotation: Array) -> Wave:
        """The same wave with its vector rotated by (3, 3)."""
        return replace(self, vector=_vector(rotation @ np.array(self.vector)))


def _vector(values: Array) -> Vector:
    x, y, z = values.tolist()
    return x, y, z


def add_waves(heart: Array, time: Array, waves: tuple[Wave, ...], onset: float, factor: float = 1.0) -> None:
    """Add a beat's waves to the heart vector (3, T), in place."""
    for wave in waves:
        reach = 6 * wave.sigma + wave.flat  # the rest of a Gaussian is under a nanovolt
        first, last = np.searchsorted(time, [onset + wave.centre - reach, onset + wave.centre + reach])
        if first < last:
            heart[:, first:last] += np.outer(wave.vector, factor * wave.at(time[first:last] - onset))


def small_rotation(rng: np.random.Generator, degrees: float) -> Array:
    """(3, 3): a turn about a random axis, of this standard deviation about each, and at most twice it."""
    from scipy.spatial.transform import Rotation

    angles = np.clip(rng.normal(size=3), -2, 2) * degrees
    return np.asarray(Rotation.from_rotvec(np.radians(angles)).as_matrix())
