"""`simulate_ecg`: one synthetic recording with its labels and its report, a pure function of (seed, index)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modalign.datasets.simulate.ecg.beats import Shapes, draw_shapes, with_rr
from modalign.datasets.simulate.ecg.dipole import POTENTIALS, Array, Wave, add_waves, leads_of
from modalign.datasets.simulate.ecg.findings import (
    ECTOPY,
    FINDINGS,
    RHYTHM,
    draw_findings,
    labels_of,
    of_part,
)
from modalign.datasets.simulate.ecg.report import write_report
from modalign.datasets.simulate.ecg.rhythms import NORMAL, PACED, RHYTHMS, Rhythm, with_premature
from modalign.datasets.simulate.noise import wander
from modalign.errors import RecipeError, suggest
from modalign.modalities.base import Signal
from modalign.modalities.ecg.leads import STANDARD

SHORTEST = 8.0
"""Seconds that show a rhythm: a dropped beat, a pause after a premature one."""
RATES = (100.0, 2000.0)
"""Hz; a pacemaker's spike and a QRS need the lower."""
SPIKE = (0.45, -0.75, 0.35)
"""Direction of a pacemaker's spike, from the tip of an electrode in the right ventricle's apex."""
FLUTTER = (0.03, 1.0, -0.35)
"""Of flutter waves about the tricuspid valve: negative in II, III and aVF, upright in V1."""


@dataclass(frozen=True)
class SimulatedEcg:
    """A synthetic recording.

    Attributes:
        signal: (12, T) in mV, standard leads; meta `synthetic` is True.
        clean: (12, T) the same without noise, wander, mains and exchanged electrodes.
        findings: names of `FINDINGS`, the rhythm at the beginning.
        labels: for a manifest.
        text: a report that is true of it.
        drawn: `heart_rate` (1/min, of the beats inside), `pr` (s, where P waves are conducted), `qrs` (s), `st` or `t`
            (mV), `noise`, `wander`, `mains` (mV), ...
        rhythm: when atria and ventricles beat.
    """

    signal: Signal
    clean: Array
    findings: tuple[str, ...]
    labels: tuple[str, ...]
    text: str
    drawn: dict[str, float]
    rhythm: Rhythm


def simulate_ecg(
    seed: int,
    index: int,
    *,
    findings: Sequence[str] = tuple(FINDINGS),
    seconds: float = 10.0,
    rate: float = 500.0,
    noise: float = 1.0,
    also: bool = True,
) -> SimulatedEcg:
    """Simulate one recording; a pure function of its arguments.

    Args:
        seed: of the whole set.
        index: of the recording, whose finding is `findings[index % len(findings)]`.
        findings: names of `FINDINGS`, in turn.
        seconds: of the recording.
        rate: Hz.
        noise: 1 for that of an ordinary recording, 0 for none.
        also: whether there may be further findings beside.

    Raises:
        RecipeError: a finding is not known, or a number cannot be.

    Example:
        >>> made = simulate_ecg(0, 1, findings=["sinus rhythm", "atrial fibrillation"], also=False)
        >>> made.labels, tuple(made.signal.data.shape)
        (('atrial fibrillation',), (12, 5000))
    """
    check_options(findings, seconds, rate, noise)
    rng = np.random.default_rng([seed, 11, index])
    present = draw_findings(rng, findings[index % len(findings)], 0.15 if also else 0.0)
    shapes = draw_shapes(np.random.default_rng([seed, 12, index]), present)
    beat_rng = np.random.default_rng([seed, 13, index])
    rhythm = RHYTHMS[of_part(present, RHYTHM)](beat_rng, seconds)
    if ectopy := of_part(present, ECTOPY):
        rhythm = with_premature(rhythm, beat_rng, seconds, ventricular="ventricular" in ectopy)
    time = np.arange(round(seconds * rate)) / rate
    heart = heart_vector(rhythm, shapes, time, np.random.default_rng([seed, 14, index]), rate)
    potentials = POTENTIALS @ heart
    disturbed, sizes = _disturb(potentials, rate, noise, np.random.default_rng([seed, 15, index]))
    if "arm electrode reversal" in present:
        disturbed = disturbed[[1, 0, *range(2, 9)]]
    drawn = {"heart_rate": rhythm.rate(seconds), **rhythm.drawn, **shapes.drawn, **sizes}
    drawn["qrs"] = shapes.lengths[next((b.kind for b in rhythm.beats if b.kind == PACED), rhythm.beats[0].kind)]
    text = write_report(np.random.default_rng([seed, 16, index]), present, drawn)
    data = torch.from_numpy(leads_of(disturbed).astype(np.float32))
    meta = {"synthetic": True, "simulated": True}
    signal = Signal(data, float(rate), STANDARD, meta)
    return SimulatedEcg(signal, leads_of(potentials), present, labels_of(present), text, drawn, rhythm)


def check_options(findings: Sequence[str], seconds: float, rate: float, noise: float) -> None:
    """Refuse what cannot be simulated.

    Raises:
        RecipeError: says which option, and the mend.
    """
    for name in findings or ("",):
        if name not in FINDINGS:
            raise RecipeError(f"no finding {name!r} to simulate: {suggest(name, FINDINGS)}")
    if not SHORTEST <= seconds <= 3600:
        raise RecipeError(f"seconds is {SHORTEST:g} to 3600, not {seconds:g}: a rhythm needs some beats to be seen")
    if not RATES[0] <= rate <= RATES[1]:
        raise RecipeError(f"rate is {RATES[0]:g} to {RATES[1]:g} Hz, not {rate:g}")
    if not 0 <= noise <= 100:
        raise RecipeError(f"noise is 0 (none) to 100 times the ordinary, not {noise:g}")


def heart_vector(rhythm: Rhythm, shapes: Shapes, time: Array, rng: np.random.Generator, rate: float) -> Array:
    """The heart vector (3, T) at `time` (T,), s: every beat's waves, and those of the atria alone.

    Args:
        rhythm: when what beats.
        shapes: a person's waves.
        time: seconds, rising evenly.
        rng: for breathing and the waves of fibrillation and flutter.
        rate: Hz; what a pacemaker's spike is smoothed to.
    """
    heart = np.zeros((3, len(time)))
    breath, phase = float(rng.uniform(0.2, 0.3)), float(rng.uniform(0, 2 * np.pi))

    def breathing(when: float) -> float:
        return float(1 + 0.03 * np.sin(2 * np.pi * breath * when + phase))

    onsets = np.array([beat.onset for beat in rhythm.beats])
    usual = float(np.median(np.diff(onsets)))
    spike = Wave(-0.006, max(0.0008, 0.45 / rate), SPIKE)
    for number, beat in enumerate(rhythm.beats):
        # QT follows the rate slowly; a beat that comes early finds it shorter, and cuts it off.
        nearest = onsets[number + 1] - beat.onset if number + 1 < len(onsets) else usual
        rr = min(usual, 1.15 * nearest) if beat.kind == NORMAL else min(max(usual, 0.7), 1.1)
        factor, length = breathing(beat.onset), shapes.lengths[beat.kind]
        add_waves(heart, time, shapes.qrs[beat.kind], beat.onset, factor)
        add_waves(heart, time, with_rr(shapes.t[beat.kind], rr, length), beat.onset, factor)
        if beat.kind == PACED:
            add_waves(heart, time, (spike,), beat.onset)
    for onset, other in rhythm.atrial:
        add_waves(heart, time, shapes.p_other if other else shapes.p, onset, breathing(onset))
    if rhythm.fibrillation:
        heart += _fibrillating(rhythm.fibrillation, time, rate, rng)
    if rhythm.flutter:
        heart += _fluttering(rhythm.flutter, time, rng)
    return heart


def _fibrillating(frequency: float, time: Array, rate: float, rng: np.random.Generator) -> Array:
    """f waves, largest in V1: two directions, each a wave whose frequency and height wander."""
    made = np.zeros((3, len(time)))
    size = float(rng.uniform(0.035, 0.09))
    for vector, part in (((-0.15, 0.25, -1.0), 1.0), ((0.3, 0.9, 0.2), 0.5)):
        own = frequency + 0.7 * wander(rng, len(time), rate, 0.8)
        phase = 2 * np.pi * (np.cumsum(own) / rate + rng.uniform())
        height = np.clip(1 + 0.35 * wander(rng, len(time), rate, 0.7), 0.2, 2.0)
        wave = np.sin(phase) + 0.3 * np.sin(2 * phase + 1.0)
        made += np.outer(vector, size * part * height * wave)
    return made


def _fluttering(frequency: float, time: Array, rng: np.random.Generator) -> Array:
    """A sawtooth: down slowly and up fast in the inferior leads, with its corners rounded."""
    phase = 2 * np.pi * (frequency * time + rng.uniform())
    teeth = sum(np.sin(k * phase) / k * np.exp(-k / 4) for k in range(1, 7))
    return np.outer(FLUTTER, float(rng.uniform(0.12, 0.2)) * np.asarray(teeth))


def _disturb(potentials: Array, rate: float, scale: float, rng: np.random.Generator) -> tuple[Array, dict[str, float]]:
    """Noise of muscles, wander and mains on each electrode, (9, T): leads then disagree about nothing.

    About one recording in seven is a bad one.
    """
    shape = potentials.shape
    bad = 1.0 if rng.random() < 0.85 else float(rng.uniform(3, 5))
    muscle, drift, mains = (scale * size * float(np.exp(0.4 * rng.normal())) for size in (0.005, 0.025, 0.002))
    which = int(rng.integers(3)) if bad > 1 else -1
    muscle, drift, mains = (v * (bad if k == which else 1.0) for k, v in enumerate((muscle, drift, mains)))
    hum = 50.0 if rng.random() < 0.6 else 60.0
    time = np.arange(shape[1]) / rate
    made = potentials + muscle * rng.normal(size=shape)
    made = made + drift * wander(rng, shape[1], rate, float(rng.uniform(0.25, 0.5)), shape[0]).T
    coupling, phase = np.exp(0.5 * rng.normal(size=(shape[0], 1))), rng.uniform(0, 2 * np.pi, (shape[0], 1)) * 0.2
    if hum < 0.45 * rate:  # an amplifier's filter takes what the rate cannot hold
        made = made + mains * coupling * np.sin(2 * np.pi * hum * time + phase)
    else:
        mains = 0.0
    return made, {"noise": muscle, "wander": drift, "mains": mains}


__all__ = ["SimulatedEcg", "check_options", "heart_vector", "simulate_ecg"]
