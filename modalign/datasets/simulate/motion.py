"""Motion without a recording: `simulate_motion` makes a person, a movement, and what a device on the body reads.

Nothing here is learnt from recordings; see `curves` for where the shapes of gait come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modalign.datasets.simulate.body import Movement, Person, draw_person, forward
from modalign.datasets.simulate.curves import GAITS
from modalign.datasets.simulate.gait import walk
from modalign.datasets.simulate.gestures import arms, jump
from modalign.datasets.simulate.postures import lying, pass_through, rest, sitting, standing
from modalign.datasets.simulate.sensors import MOUNTINGS, PLACES, find_place, read_body, read_device
from modalign.datasets.simulate.sentences import SENTENCES, describe
from modalign.errors import RecipeError, suggest
from modalign.modalities.base import Signal
from modalign.modalities.motion.fields import STANDARD
from modalign.modalities.motion.skeleton.clip import Clip
from modalign.modalities.motion.skeleton.imu import SensorNoise
from modalign.modalities.motion.skeleton.joints import JOINTS

ACTIVITIES = tuple(SENTENCES)
"""What can be simulated."""
INTERNAL_RATE = 200.0
"""Hz at which bodies move before their sensors are sampled: a heel strike rings at up to 25 Hz."""
WHOLE_BODY = "body"
"""The place that stands for a sensor on each of UniMTS's 22 joints."""
Drawn = dict[str, Any]


@dataclass(frozen=True)
class Simulated:
    """A simulated recording.

    Attributes:
        signal: channels `acc_x` ... `gyro_z` in m/s2 and rad/s, or those of each joint (`<joint>/acc_x`); its meta says
            `location`.
        label: the activity.
        text: a sentence that is true of it.
        drawn: what was drawn: `speed`, `sides`, `amplitude`, ... as far as the activity has them.
        clip: all joints, at `INTERNAL_RATE`.
    """

    signal: Signal
    label: str
    text: str
    drawn: Drawn
    clip: Clip


def person_of(seed: int, number: int) -> Person:
    """The person of this number; the same for all that he or she does."""
    return draw_person(np.random.default_rng([seed, 1, number]))


def simulate_motion(
    activity: str,
    seed: int,
    *,
    row: int = 0,
    person: int | None = None,
    place: str = "right pocket",
    mounting: str = "usual",
    seconds: float = 10.0,
    rate: float = 50.0,
    noise: SensorNoise | None = None,
) -> Simulated:
    """Simulate one recording; a pure function of its arguments.

    Args:
        activity: one of `ACTIVITIES`.
        seed: of the whole set.
        row: the number of the recording in it.
        person: the number of the person; `row` by default.
        place: where the device is (`place_names`), or "body" for a sensor on each of the 22 joints, along the bones.
        mounting: "usual", "aligned" with the bone (as "usual" is for the body), or "random".
        seconds: how long.
        rate: Hz.
        noise: of the sensors; those of a phone by default.

    Raises:
        RecipeError: the activity, place or mounting is not known, or the size is out of range.

    Example:
        >>> made = simulate_motion("walking", seed=0, place="left wrist", seconds=4)
        >>> tuple(made.signal.data.shape), made.label
        ((6, 200), 'walking')
    """
    if activity not in SENTENCES:
        raise RecipeError(f"no activity {activity!r} to simulate: {suggest(activity, ACTIVITIES)}")
    if mounting not in MOUNTINGS:
        raise RecipeError(f"no mounting {mounting!r}: {suggest(mounting, MOUNTINGS)}")
    if not 2 <= seconds <= 600:
        raise RecipeError(f"seconds is between 2 and 600, not {seconds!r}")
    if not 5 <= rate <= INTERNAL_RATE:
        raise RecipeError(f"rate is between 5 and {INTERNAL_RATE:g} Hz, not {rate!r}")
    if place != WHOLE_BODY:
        find_place(place)
    who = person_of(seed, row if person is None else person)
    rng = np.random.default_rng([seed, 2, row])
    # A second more on either side, which the filters of the sensors settle in.
    movement, drawn = _move(activity, who, rng, seconds + 2)
    clip = forward(who, movement)
    noise = noise or SensorNoise()
    if place == WHOLE_BODY:
        read = read_body(who, movement, clip, rng, mounting=mounting, noise=noise, rate=rate)
        channels = tuple(f"{joint}/{channel}" for joint in JOINTS for channel in STANDARD)
    else:
        read = read_device(who, movement, clip, place, rng, mounting=mounting, noise=noise, rate=rate)
        channels = STANDARD
    first = round(rate)
    data = torch.from_numpy(np.ascontiguousarray(read[:, first : first + round(seconds * rate)]))
    signal = Signal(data, float(rate), channels, {"location": "" if place == WHOLE_BODY else place, "simulated": True})
    text = describe(activity, drawn, _said(place), rng)
    return Simulated(signal, activity, text, drawn, clip)


def _said(place: str) -> str:
    if place == WHOLE_BODY:
        return ""
    found, side = find_place(place)
    return f"{side} {found.said}".strip()


def _move(activity: str, who: Person, rng: np.random.Generator, seconds: float) -> tuple[Movement, Drawn]:
    if activity in GAITS:
        speed = float(np.clip(rng.normal(1.0, 0.14), 0.65, 1.4))
        moved = walk(who, rng, activity=activity, seconds=seconds, rate=INTERNAL_RATE, speed=speed)
        return moved, {"speed": speed}
    return _MOVES.get(activity, _gesture)(activity, who, rng, seconds)


def _posture(activity: str, who: Person, rng: np.random.Generator, seconds: float) -> tuple[Movement, Drawn]:
    pose = sitting(who, rng) if activity == "sitting" else standing(who, rng)
    return rest(who, rng, pose, seconds, INTERNAL_RATE), {}


def _lie(activity: str, who: Person, rng: np.random.Generator, seconds: float) -> tuple[Movement, Drawn]:
    side = str(rng.choice(["back", "back", "front", "left", "right"]))
    pose = lying(who, rng, side)
    if activity == "lying":
        return rest(who, rng, pose, seconds, INTERNAL_RATE), {"side": side}
    seat = sitting(who, rng)
    order = [seat, pose] if activity == "lying down" else [pose, seat]
    return _change(who, rng, order, seconds, 2.6, {"side": side})


def _rise(activity: str, who: Person, rng: np.random.Generator, seconds: float) -> tuple[Movement, Drawn]:
    order = [sitting(who, rng), standing(who, rng)]
    return _change(who, rng, order if activity == "standing up" else order[::-1], seconds, 1.9, {})


def _change(
    who: Person, rng: np.random.Generator, order: list[Any], seconds: float, length: float, drawn: Drawn
) -> tuple[Movement, Drawn]:
    speed = float(np.clip(rng.normal(1.0, 0.2), 0.6, 1.5))
    first = seconds * float(rng.uniform(0.4, 0.6))
    poses = [(order[0], first), (order[1], seconds - first)]
    return pass_through(who, rng, poses, length / speed, INTERNAL_RATE), {**drawn, "speed": speed}


def _hop(activity: str, who: Person, rng: np.random.Generator, seconds: float) -> tuple[Movement, Drawn]:
    height = float(np.clip(rng.normal(0.22, 0.08), 0.06, 0.45))
    pause = float(rng.uniform(0.05, 1.2))
    return jump(who, rng, height=height, pause=pause, seconds=seconds, rate=INTERNAL_RATE), {"height": height}


_REACH = {
    "arm raise to the front": (50, 170), "arm raise to the side": (45, 165), "arm swing": (40, 110),
    "forearm rotation": (60, 150), "pulling": (80, 115), "waving": (30, 80),
}  # fmt: skip
_STROKES = {"arm swing": 0.8, "forearm rotation": 0.8, "waving": 1.4}
"""Strokes per second at an ordinary pace, where they are not 0.45."""


def _gesture(activity: str, who: Person, rng: np.random.Generator, seconds: float) -> tuple[Movement, Drawn]:
    speed = float(np.clip(rng.normal(1.0, 0.2), 0.6, 1.5))
    sides = str(rng.choice(["l", "r", "lr"]))
    amplitude = float(rng.uniform(*_REACH[activity]))
    moved = arms(
        who, rng, activity=activity, sides=sides, pace=_STROKES.get(activity, 0.45) * speed, amplitude=amplitude,
        seconds=seconds, rate=INTERNAL_RATE,
    )  # fmt: skip
    return moved, {"speed": speed, "sides": sides, "amplitude": amplitude}


_MOVES: dict[str, Callable[[str, Person, np.random.Generator, float], tuple[Movement, Drawn]]] = {
    "sitting": _posture, "standing": _posture, "lying": _lie, "lying down": _lie, "getting up": _lie,
    "standing up": _rise, "sitting down": _rise, "jumping": _hop,
}  # fmt: skip

__all__ = ["ACTIVITIES", "PLACES", "Simulated", "person_of", "simulate_motion"]
