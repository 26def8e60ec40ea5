"""When atria and ventricles beat: a function for each rhythm, and premature beats put into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from modalign.datasets.simulate.ecg.dipole import Array

MARGIN = 3.0
"""Seconds before and after a recording in which hearts beat too, so that its ends are cut as they would be."""
NORMAL, WIDE, VENTRICULAR, PACED = "normal", "wide escape", "ventricular", "paced"
"""Kinds of beats: by the conduction system; an escape of the ventricles; a premature one of them; a pacemaker's."""


@dataclass(frozen=True)
class Beat:
    """A QRS: its onset in seconds, and its kind."""

    onset: float
    kind: str = NORMAL


@dataclass(frozen=True)
class Rhythm:
    """All beats of a recording and of `MARGIN` about it.

    Attributes:
        beats: in order.
        atrial: onset of each P wave, and whether it comes from elsewhere than the sinus node.
        fibrillation: Hz of the f waves, 0 for none.
        flutter: Hz of the flutter waves, 0 for none.
        drawn: what was drawn: `pr` (s), `rate` (beats a minute that were asked for), ...
    """

    beats: tuple[Beat, ...]
    atrial: tuple[tuple[float, bool], ...] = ()
    fibrillation: float = 0.0
    flutter: float = 0.0
    drawn: dict[str, float] = field(default_factory=dict)

    def intervals(self, seconds: float) -> Array:
        """RR (s) of the beats inside a recording."""
        return np.diff([beat.onset for beat in self.beats if 0 <= beat.onset < seconds])

    def rate(self, seconds: float) -> float:
        """Beats a minute inside a recording."""
        intervals = self.intervals(seconds)
        return 60 / float(intervals.mean()) if len(intervals) else float("nan")


def sinus_times(rng: np.random.Generator, rate: float, swing: float, seconds: float) -> list[float]:
    """Onsets of P waves: RR swings with breathing (about 0.25 Hz) and blood pressure (0.1 Hz), and a little by itself.

    Args:
        rng: what is drawn from.
        rate: beats a minute.
        swing: of RR with breathing, as a share of it.
        seconds: of the recording.
    """
    breath, phases = rng.uniform(0.2, 0.3), rng.uniform(0, 2 * np.pi, 2)
    times, time = [], -MARGIN + rng.uniform(0, 60 / rate)
    while time < seconds + MARGIN:
        times.append(time)
        slow = 0.4 * np.sin(2 * np.pi * 0.1 * time + phases[1])
        fast = np.sin(2 * np.pi * breath * time + phases[0])
        time += 60 / rate * (1 + swing * (fast + slow + 0.15 * rng.normal()))
    return times


def sinus(
    rng: np.random.Generator,
    seconds: float,
    rate: tuple[float, float],
    swing: tuple[float, float] = (0.01, 0.035),
    pr: tuple[float, float] = (0.13, 0.185),
) -> Rhythm:
    """Every P wave is conducted, after the same time."""
    asked, own, delay = (float(rng.uniform(*limits)) for limits in (rate, swing, pr))
    times = sinus_times(rng, asked, own, seconds)
    drawn = {"rate": asked, "pr": delay}
    return Rhythm(tuple(Beat(t + delay) for t in times), tuple((t, False) for t in times), drawn=drawn)


def fibrillation(rng: np.random.Generator, seconds: float) -> Rhythm:
    """No P waves, f waves, and RR that are independent of each other (gamma distributed)."""
    rate, spread = float(rng.uniform(65, 145)), float(rng.uniform(0.18, 0.28))
    times, time = [], -MARGIN
    while time < seconds + MARGIN:
        times.append(time)
        time += max(0.32, float(rng.gamma(1 / spread**2, spread**2 * 60 / rate)))
    return Rhythm(tuple(Beat(t) for t in times), fibrillation=float(rng.uniform(5.5, 8.0)), drawn={"rate": rate})


def flutter(rng: np.random.Generator, seconds: float) -> Rhythm:
    """Flutter waves at about 300 a minute; each second, third or fourth is conducted, or now one, now another."""
    waves = float(rng.uniform(4.3, 5.3))
    blocks = [(2,), (3,), (4,), (2, 3, 4)][int(rng.integers(4))]
    times, time = [], -MARGIN
    while time < seconds + MARGIN:
        times.append(time)
        time += int(rng.choice(blocks)) / waves
    drawn = {"conduction": float(blocks[0] if len(blocks) == 1 else 0), "atrial_rate": waves * 60}
    return Rhythm(tuple(Beat(t) for t in times), flutter=waves, drawn=drawn)


def wenckebach(rng: np.random.Generator, seconds: float) -> Rhythm:
    """PR grows from beat to beat, by less each time, until a P wave is not conducted."""
    cycle = int(rng.integers(3, 6))
    first, growth = float(rng.uniform(0.17, 0.22)), float(rng.uniform(0.07, 0.11))
    times = sinus_times(rng, float(rng.uniform(68, 92)), 0.01, seconds)
    beats = []
    for number, time in enumerate(times):
        place = number % cycle
        if place < cycle - 1:
            beats.append(Beat(time + first + growth * sum(0.6**k for k in range(place))))
    drawn = {"pr": first, "cycle": float(cycle)}
    return Rhythm(tuple(beats), tuple((t, False) for t in times), drawn=drawn)


def mobitz(rng: np.random.Generator, seconds: float) -> Rhythm:
    """PR stays, and each third or fourth P wave is not conducted."""
    cycle, delay = int(rng.integers(3, 5)), float(rng.uniform(0.14, 0.2))
    times = sinus_times(rng, float(rng.uniform(66, 95)), 0.01, seconds)
    beats = tuple(Beat(time + delay) for number, time in enumerate(times) if number % cycle < cycle - 1)
    return Rhythm(beats, tuple((t, False) for t in times), drawn={"pr": delay, "cycle": float(cycle)})


def complete_block(rng: np.random.Generator, seconds: float) -> Rhythm:
    """Atria and ventricles beat by themselves: an escape of the junction (narrow) or the ventricles (wide, slower)."""
    wide = bool(rng.random() < 0.5)
    rate = float(rng.uniform(28, 40) if wide else rng.uniform(40, 54))
    atrial = sinus_times(rng, float(rng.uniform(70, 100)), 0.015, seconds)
    beats = tuple(Beat(time, WIDE if wide else NORMAL) for time in sinus_times(rng, rate, 0.004, seconds))
    return Rhythm(beats, tuple((t, False) for t in atrial), drawn={"rate": rate, "wide": float(wide)})


def paced(rng: np.random.Generator, seconds: float) -> Rhythm:
    """A pacemaker's even beats, after P waves that it senses or without any."""
    after_p, rate = bool(rng.random() < 0.5), float(rng.uniform(60, 80))
    times = sinus_times(rng, rate, 0.01 if after_p else 0.0005, seconds)
    beats = tuple(Beat(t + 0.16 * after_p, PACED) for t in times)
    atrial = tuple((t, False) for t in times) if after_p else ()
    return Rhythm(beats, atrial, drawn={"rate": rate, "senses": float(after_p)})


RHYTHMS: dict[str, Callable[[np.random.Generator, float], Rhythm]] = {
    "sinus rhythm": lambda rng, seconds: sinus(rng, seconds, (63, 95)),
    "sinus bradycardia": lambda rng, seconds: sinus(rng, seconds, (38, 56)),
    "sinus tachycardia": lambda rng, seconds: sinus(rng, seconds, (106, 145), (0.004, 0.015), (0.12, 0.15)),
    "sinus arrhythmia": lambda rng, seconds: sinus(rng, seconds, (64, 82), (0.12, 0.17)),
    "atrial fibrillation": fibrillation,
    "atrial flutter": flutter,
    "first degree AV block": lambda rng, seconds: sinus(rng, seconds, (63, 88), pr=(0.225, 0.34)),
    "Wenckebach AV block": wenckebach,
    "Mobitz II AV block": mobitz,
    "third degree AV block": complete_block,
    "paced rhythm": paced,
}


def with_premature(rhythm: Rhythm, rng: np.random.Generator, seconds: float, ventricular: bool) -> Rhythm:
    """One to three premature beats inside the recording, the first wholly inside.

    One of the atria has a P wave of another shape and sets the sinus node back; one of the ventricles has none, hides
    the beat that was due, and the next comes when it was due (a compensatory pause).
    """
    beats, atrial = list(rhythm.beats), list(rhythm.atrial)
    inside = [i for i in range(1, len(beats) - 1) if beats[i - 1].onset > 0.3 and beats[i + 1].onset < seconds - 0.6]
    middle = inside[len(inside) // 3 : 2 * len(inside) // 3 + 1]
    wanted = [int(rng.choice(middle)), *(int(i) for i in rng.choice(inside, int(rng.integers(3))))]
    chosen = [i for n, i in enumerate(wanted) if all(abs(i - other) > 2 for other in wanted[:n])]
    for i in sorted(chosen, reverse=True):
        usual = beats[i].onset - beats[i - 1].onset
        if ventricular:
            early = float(rng.uniform(0.58, 0.7))
            due = beats[i].onset
            beats[i] = Beat(beats[i - 1].onset + early * usual, VENTRICULAR)
            # The P wave of the beat that was due drowns in the premature one's QRS and T.
            atrial = [p for p in atrial if not due - rhythm.drawn.get("pr", 0.0) - 0.02 < p[0] < due]
        else:
            shift = (1 - float(rng.uniform(0.6, 0.72))) * usual
            pause = float(rng.uniform(0.02, 0.12)) * usual
            own = beats[i].onset - rhythm.drawn["pr"] - 1e-6
            for k in range(i, len(beats)):
                beats[k] = replace(beats[k], onset=beats[k].onset - shift + (pause if k > i else 0.0))
            late = own + usual / 2  # from here on P waves are the sinus node's again
            before, between = [p for p in atrial if p[0] < own], [p for p in atrial if own <= p[0] < late]
            later = [(p - shift + pause, other) for p, other in atrial if p >= late]
            atrial = [*before, *((p - shift, True) for p, _ in between), *later]
    return replace(rhythm, beats=tuple(beats), atrial=tuple(atrial), drawn={**rhythm.drawn, "premature": len(chosen)})
