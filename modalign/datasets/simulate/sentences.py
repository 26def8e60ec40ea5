"""English sentences for a simulated movement, from what was drawn for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PACES = (
    (0.86, ("slowly", "at a slow pace", "in no hurry")),
    (1.12, ("at an ordinary pace", "at an even pace", "steadily")),
    (9.0, ("briskly", "at a quick pace", "fast")),
)
"""Factor of the pace below which these words are said."""

SENTENCES: Mapping[str, Sequence[str]] = {
    "walking": ("a person walks {pace}", "someone is walking {pace} on level ground", "walking {pace}"),
    "walking upstairs": (
        "a person climbs stairs {pace}", "someone walks upstairs {pace}", "going up a flight of stairs {pace}",
    ),
    "walking downstairs": (
        "a person goes down stairs {pace}", "someone walks downstairs {pace}", "descending a flight of stairs {pace}",
    ),
    "running": ("a person runs {pace}", "someone jogs {pace}", "running {pace}"),
    "sitting": ("a person sits", "someone is seated and nearly still", "sitting on a chair"),
    "standing": ("a person stands", "someone stands upright and nearly still", "standing on the spot"),
    "lying": ("a person lies {lie}", "someone is lying {lie}", "lying down {lie}, at rest"),
    "standing up": ("a person rises from a seat {pace}", "someone stands up {pace}", "from sitting to standing {pace}"),
    "sitting down": ("a person sits down {pace}", "someone takes a seat {pace}", "from standing to sitting {pace}"),
    "lying down": ("a person lies down {lie}", "from sitting to lying {lie}", "someone lies down {lie} to rest"),
    "getting up": ("a person gets up after lying {lie}", "from lying {lie} to sitting", "someone sits up {pace}"),
    "arm raise to the front": (
        "a person raises {arms} to the front {reach}", "lifting {arms} forwards {reach} {pace}",
    ),
    "arm raise to the side": ("a person raises {arms} sideways {reach}", "lifting {arms} to the side {reach} {pace}"),
    "arm swing": ("a person swings {arms} back and forth {pace}", "swinging {arms} from the shoulder {pace}"),
    "forearm rotation": (
        "a person turns {forearms} in and out {pace}", "rotating {forearms} with the elbow bent {pace}",
    ),
    "pulling": ("a person pulls towards the body with {arms} {pace}", "pulling strokes of {arms} {pace}"),
    "waving": ("a person waves with {arms} {pace}", "waving {arms} from side to side {pace}"),
    "jumping": ("a person jumps on the spot, {high}", "someone jumps up and down, {high}", "jumps on the spot, {high}"),
}  # fmt: skip
"""Activity -> forms of its sentence."""

_ARMS = {"l": "the left arm", "r": "the right arm", "lr": "both arms"}
_LIES = {
    "back": ("on the back", "face up"), "front": ("on the stomach", "face down"),
    "left": ("on the left side",), "right": ("on the right side",),
}  # fmt: skip
_WITH = (
    "", "", ", recorded at the {place}", ", with a sensor at the {place}", ", felt at the {place}",
)  # fmt: skip


def describe(activity: str, drawn: Mapping[str, Any], place: str, rng: np.random.Generator) -> str:
    """A sentence that is true of a movement.

    Args:
        activity: a key of `SENTENCES`.
        drawn: `speed` (factor of the ordinary pace), `sides` ("l", "r", "lr"), `amplitude` (degrees), `side` (how it
            lies) and `height` (metres), as far as the activity has them.
        place: where the device is, or "" for the whole body.
        rng: chooses among forms.

    Example:
        >>> describe("sitting", {}, "", np.random.default_rng(1)).split()[-1] in ("sits", "still", "chair")
        True
    """
    speed = float(drawn.get("speed", 1.0))
    words = {
        "pace": _choose(rng, next(words for limit, words in PACES if speed < limit)),
        "arms": _ARMS[drawn.get("sides", "lr")],
        "forearms": _ARMS[drawn.get("sides", "lr")].replace("arm", "forearm"),
        "lie": _choose(rng, _LIES[drawn.get("side", "back")]),
        "reach": _reach(float(drawn.get("amplitude", 90.0))),
        "high": "high" if float(drawn.get("height", 0.2)) > 0.25 else "low",
    }
    said = _choose(rng, SENTENCES[activity]).format(**words)
    return said + (_choose(rng, _WITH).format(place=place) if place else "")


def _reach(degrees: float) -> str:
    if degrees < 70:
        return "halfway"
    return "to the height of the shoulder" if degrees < 115 else "above the head"


def _choose(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
