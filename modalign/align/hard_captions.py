"""Captions that are wrong in one detail, made by rule: two events in the other order, an attribute, a negation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

FOLLOWS = re.compile(
    r"^(?P<first>.+?),? (?P<by>followed by|and then|then|before|after) (?P<second>.+?)(?P<end>[.!]?)$", re.IGNORECASE
)
PRESENT = re.compile(r"\b(?:no|without|absent|not|free of)\b", re.I)
OPPOSITES = (
    ("loud", "quiet"),
    ("high", "low"),
    ("fast", "slow"),
    ("left", "right"),
    ("upper", "lower"),
    ("up", "down"),
    ("upstairs", "downstairs"),
    ("large", "small"),
    ("increased", "decreased"),
    ("enlarged", "normal"),
    ("acute", "chronic"),
    ("mild", "severe"),
    ("anterior", "posterior"),
    ("regular", "irregular"),
)
OTHER = {word: other for pair in OPPOSITES for word, other in (pair, pair[::-1])}
WORDS = re.compile(r"\b(" + "|".join(sorted(OTHER, key=len, reverse=True)) + r")\b", re.I)


def order(caption: str) -> str | None:
    """Two events in the other order; None where the caption tells of no order.

    Example:
        >>> order("a dog barks before a door closes.")
        'a door closes before a dog barks.'
    """
    found = FOLLOWS.match(caption.strip())
    if found is None or found["first"].lower() == found["second"].lower():
        return None
    return f"{found['second']} {found['by']} {found['first']}{found['end']}"


def attributes(caption: str) -> str | None:
    """Every word of an attribute turned into its opposite; None without one.

    Example:
        >>> attributes("a loud bark and a quiet voice")
        'a quiet bark and a loud voice'
    """
    turned = WORDS.sub(lambda match: OTHER[match[0].lower()], caption)
    return None if turned.lower() == caption.lower() else turned


def negation(caption: str) -> str | None:
    """The finding denied, or its denial taken away; None where a negation stands inside the sentence.

    Example:
        >>> negation("pleural effusion"), negation("no pleural effusion")
        ('no pleural effusion', 'pleural effusion')
    """
    text = caption.strip()
    head, _, rest = text.partition(" ")
    if head.lower() == "no" and rest and not PRESENT.search(rest):
        return rest
    return None if PRESENT.search(text) else f"no {text}"


RULES: dict[str, Callable[[str], str | None]] = {"order": order, "attributes": attributes, "negation": negation}


def hard_captions(caption: str, rules: Sequence[str]) -> tuple[str, ...]:
    """The captions that the rules make of this one, each once.

    Example:
        >>> hard_captions("a loud tone", ["attributes", "order"])
        ('a quiet tone',)
    """
    made = (RULES[rule](caption) for rule in rules)
    return tuple(dict.fromkeys(text for text in made if text is not None))
