"""The waves of a beat, by its kind, the findings and the person. Vectors are Frank's: left, to the feet, to the back.

They are ours, set by eye so that the twelve leads look as textbooks draw them; no recording was fitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from modalign.datasets.simulate.ecg.dipole import (
    POTENTIALS,
    Array,
    Vector,
    Wave,
    add_waves,
    leads_of,
    seen_by_leads,
    small_rotation,
)
from modalign.datasets.simulate.ecg.findings import REPOLARISATION, TERRITORIES, of_part
from modalign.datasets.simulate.ecg.rhythms import NORMAL, PACED, VENTRICULAR, WIDE
from modalign.modalities.ecg.leads import STANDARD

Waves = tuple[Wave, ...]

QRS: dict[str, tuple[float, Waves, Vector]] = {
    # Septum to the right and front, free walls to the left and down, the base to the back: 92 ms.
    "normal": (
        0.092,
        (
            Wave(0.018, 0.0070, (-0.12, -0.05, -0.25)),
            Wave(0.041, 0.0105, (1.10, 0.90, 0.25)),
            Wave(0.057, 0.0095, (0.15, 0.10, 0.80)),
            Wave(0.074, 0.0070, (-0.20, -0.16, 0.20)),
        ),
        (0.30, 0.20, -0.15),
    ),
    # No septal wave; two humps to the left and back; T against them.
    "left bundle branch block": (
        0.145,
        (
            Wave(0.030, 0.0120, (0.35, 0.30, 0.30)),
            Wave(0.060, 0.0150, (1.00, 0.35, 1.00)),
            Wave(0.081, 0.0130, (-0.20, 0.05, 0.55)),
            Wave(0.102, 0.0165, (1.05, 0.05, 1.00)),
        ),
        (-0.34, 0.02, -0.42),
    ),
    # As normal, then late and slow to the right and front.
    "right bundle branch block": (
        0.140,
        (
            Wave(0.018, 0.0070, (-0.12, -0.05, -0.30)),
            Wave(0.041, 0.0105, (1.05, 0.85, 0.25)),
            Wave(0.056, 0.0090, (0.15, 0.10, 0.50)),
            Wave(0.098, 0.0165, (-0.62, -0.06, -0.60)),
        ),
        (0.34, 0.20, 0.14),
    ),
    # The right ventricle's wall outweighs the left's.
    "right ventricular hypertrophy": (
        0.098,
        (
            Wave(0.020, 0.0075, (0.25, 0.25, 0.05)),
            Wave(0.046, 0.0110, (-0.45, 0.70, -0.95)),
            Wave(0.070, 0.0095, (-0.50, -0.10, 0.10)),
        ),
        (0.26, 0.08, 0.26),
    ),
    # From the ventricles' own muscle: wide and smooth, T against it.
    "left ventricular": (
        0.155,
        (Wave(0.052, 0.0205, (-0.70, -0.75, -1.00)), Wave(0.092, 0.0240, (-0.80, -0.50, -0.80))),
        (0.35, 0.35, 0.40),
    ),
    "right ventricular": (
        0.155,
        (Wave(0.052, 0.0205, (0.45, 1.00, 0.70)), Wave(0.092, 0.0240, (0.60, 0.95, 0.80))),
        (-0.30, -0.50, -0.45),
    ),
    "apex": (
        0.160,
        (Wave(0.053, 0.0210, (0.45, -0.80, 0.80)), Wave(0.096, 0.0250, (0.55, -0.60, 0.80))),
        (-0.22, 0.36, -0.40),
    ),
}  # fmt: skip
"""Shape -> its length in s, its waves, and the vector of the T wave that follows."""
WIDTHS = {
    "normal": (0.080, 0.100), "left bundle branch block": (0.132, 0.162), "right bundle branch block": (0.124, 0.150),
    "right ventricular hypertrophy": (0.086, 0.106), "left ventricular": (0.142, 0.172),
    "right ventricular": (0.142, 0.172), "apex": (0.145, 0.175),
}  # fmt: skip
"""Shape -> from which lengths its own is drawn."""
ST_ELEVATION = {"anterior": (0.30, 0.0, -1.0), "inferior": (-0.30, 1.0, 0.0), "lateral": (1.0, -0.60, 0.30)}
ST_DEPRESSION = {"anterior": (-0.30, 0.0, 1.0), "inferior": (-0.10, -1.0, 0.10), "lateral": (-1.0, 0.0, 0.10)}
T_INVERSION = {"anterior": (0.10, 0.25, 0.40), "inferior": (0.40, -0.30, -0.20), "lateral": (-0.30, 0.25, -0.30)}
"""Territory -> where the ST or T vector points."""
LEVELS = {"ST elevation": (0.16, 0.38), "ST depression": (0.10, 0.20), "T wave inversion": (0.20, 0.50)}
"""mV in the lead of the territory that shows it most."""
NORMAL_VOLTAGE, LEFT_VOLTAGE, RIGHT_VOLTAGE = (1.4, 3.1), (3.8, 5.4), (0.8, 1.5)
"""mV: Sokolow and Lyon's sum (S in V1 + R in V5 or V6; 3.5 and more is their criterion), and R in V1 of a strong right
ventricle."""
P_RIGHT, P_LEFT = (0.040, 0.060, -0.045), (0.085, 0.055, 0.030)
"""The vectors of the two atria, the right one first."""


@dataclass(frozen=True)
class Shapes:
    """A person's waves.

    Attributes:
        qrs: kind of beat -> QRS waves, from its onset.
        t: kind of beat -> ST and T waves, from the onset, of a beat of 1 s.
        p: from its onset.
        p_other: of a premature beat of the atria.
        lengths: kind of beat -> QRS duration, s.
        drawn: what was drawn: `st` (mV), ...
    """

    qrs: dict[str, Waves]
    t: dict[str, Waves]
    p: Waves
    p_other: Waves
    lengths: dict[str, float]
    drawn: dict[str, float] = field(default_factory=dict)


def voltages(waves: Waves, length: float) -> dict[str, Array]:
    """Lead -> its voltage (mV) from the onset of a QRS to its end, each ms."""
    time = np.arange(0, length, 0.001)
    heart = np.zeros((3, len(time)))
    add_waves(heart, time, waves, 0.0)
    return dict(zip(STANDARD, leads_of(POTENTIALS @ heart)))


def sokolow(waves: Waves, length: float) -> float:
    """S in V1 + the larger R of V5 and V6, mV."""
    seen = voltages(waves, length)
    return float(-seen["V1"].min() + max(seen["V5"].max(), seen["V6"].max()))


def draw_shapes(rng: np.random.Generator, findings: Sequence[str]) -> Shapes:
    """A person's waves under these findings: axis, voltages, durations and the heights of P and T are drawn."""
    axis, atria = small_rotation(rng, 7.0), small_rotation(rng, 6.0)
    spreads = np.array([0.22, 0.18, 0.15, 0.03])
    strength, height, p_height, qt = np.exp(np.clip(rng.normal(size=4), -2, 2) * spreads).tolist()
    main = next((n for n in findings if n in QRS), "normal")
    hyper = "left ventricular hypertrophy" in findings
    origin = ("left ventricular", "right ventricular")[int(rng.integers(2))]
    shapes = {NORMAL: main, WIDE: "apex", PACED: "apex", VENTRICULAR: origin}
    qrs, t, lengths = {}, {}, {}
    drawn: dict[str, float] = {}
    for kind, shape in shapes.items():
        nominal, waves, t_vector = QRS[shape]
        lengths[kind] = float(rng.uniform(*WIDTHS[shape]))
        waves = tuple(wave.stretched(lengths[kind] / nominal).turned(axis) for wave in waves)
        qrs[kind] = tuple(wave.times(strength) for wave in waves)
        if kind == NORMAL:
            qrs[kind] = _with_voltage(rng, qrs[kind], lengths[kind], main, hyper)
        t[kind] = _t_waves(tuple(axis @ np.array(t_vector) * height), lengths[kind], qt)
    changed = of_part(findings, REPOLARISATION)
    if changed:
        t[NORMAL], level = _repolarisation(rng, changed, t[NORMAL], lengths[NORMAL], qt)
        drawn["st" if "ST" in changed else "t"] = level
    elif hyper and rng.random() < 0.5:
        own = _t_waves(T_INVERSION["lateral"], lengths[NORMAL], qt)
        level = float(rng.uniform(0.05, 0.1))
        t[NORMAL] = (*own, _plateau(ST_DEPRESSION["lateral"], level / 1.13, lengths[NORMAL], own[-1].centre))
        drawn["strain"] = 1.0
    right, left = (tuple(atria @ np.array(vector) * p_height) for vector in (P_RIGHT, P_LEFT))
    p = (Wave(0.040, 0.016, _three(right)), Wave(0.066, 0.0175, _three(left)))
    turn = np.diag([1.0, float(rng.uniform(-0.8, 0.1)), 1.0])
    return Shapes(qrs, t, p, tuple(wave.turned(turn).stretched(0.9) for wave in p), lengths, drawn)


def _three(values: Iterable[float]) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _with_voltage(rng: np.random.Generator, waves: Waves, length: float, shape: str, hyper: bool) -> Waves:
    """QRS waves as high as the findings want them."""
    if shape == "right ventricular hypertrophy":
        factor = float(rng.uniform(*RIGHT_VOLTAGE)) / float(voltages(waves, length)["V1"].max())
    elif hyper:
        factor = float(rng.uniform(*LEFT_VOLTAGE)) / sokolow(waves, length)
    elif shape == "normal":
        own = sokolow(waves, length)
        factor = float(np.clip(own, *NORMAL_VOLTAGE)) / own
    else:
        factor = 1.0
    return tuple(wave.times(factor) for wave in waves)


def _t_waves(vector: Sequence[float], length: float, qt: float) -> Waves:
    """A T wave whose end is steeper than its beginning; it peaks 0.3 s after the onset of a narrow QRS, at RR = 1 s."""
    peak = 0.30 * qt + 0.8 * (length - 0.09)
    broad, steep = (_three(np.array(vector) * part) for part in (0.55, 0.65))
    return Wave(peak - 0.042, 0.045, broad), Wave(peak, 0.032, steep)


def _plateau(vector: Sequence[float], level: float, length: float, peak: float) -> Wave:
    begin = length - 0.005
    return Wave((begin + peak) / 2, 0.010, _three(np.array(vector) * level), flat=peak - begin)


def _repolarisation(
    rng: np.random.Generator, finding: str, usual: Waves, length: float, qt: float
) -> tuple[Waves, float]:
    """ST and T waves of a finding, and its size in mV in the lead of its territory that shows it most."""
    territory, _, change = finding.partition(" ")
    level, turn = float(rng.uniform(*LEVELS[change])), small_rotation(rng, 3.0)
    table = {"ST elevation": ST_ELEVATION, "ST depression": ST_DEPRESSION, "T wave inversion": T_INVERSION}[change]
    direction = turn @ np.array(table[territory])
    seen = seen_by_leads(direction)
    vector = direction * level / max(abs(seen[lead]) for lead in TERRITORIES[territory])
    if change == "T wave inversion":
        return _t_waves(vector, length, qt), -level
    plateau = _plateau(vector, 1.0, length, usual[-1].centre)
    # T goes on from the ST segment: upright over an elevation, flatter after a depression.
    further = _t_waves(vector * (0.8 if change == "ST elevation" else 0.2), length, qt)
    return (*usual, *further, plateau), level if change == "ST elevation" else -level


def with_rr(waves: Waves, rr: float, length: float) -> Waves:
    """ST and T waves of a beat whose RR is `rr` s: QT goes with its cube root (Fridericia), the J point stays.

    Args:
        waves: of a beat of 1 s.
        rr: seconds.
        length: of the QRS, s.
    """
    factor = rr ** (1 / 3)
    made = []
    for wave in waves:
        if not wave.flat:
            made.append(wave.stretched(factor))
            continue
        begin = wave.centre - wave.flat / 2
        end = max((wave.centre + wave.flat / 2) * factor, begin + 0.04)
        made.append(Wave((begin + end) / 2, wave.sigma, wave.vector, flat=end - begin))
    return tuple(made)
