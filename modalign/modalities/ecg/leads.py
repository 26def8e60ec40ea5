"""Leads by name: what a name means, the standard order, and the limb leads that follow from two others."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor

STANDARD = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MERL = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
"""MIMIC-IV-ECG's order, in which MERL was trained: aVF stands before aVL."""
ORDERS = {"standard": STANDARD, "merl": MERL}
LIMB = STANDARD[:6]

_BY_NAME = {name.lower(): name for name in STANDARD} | {"di": "I", "dii": "II", "diii": "III"}
# Leads that are no standard lead and must not be taken for one: monitoring (MLII), posterior, right-sided, Frank, EASI.
_OTHER = re.compile(r"(ml(i{1,3}|v[1-6r]|5)|mv?[1-6]|cm[1-6]|cc5|v[7-9]|v[1-9]r|v[xyz]|[xyz]|es|as|ai|d[34]|-avr)")
_NO_NAME = re.compile(r"(|\d+|unnamed.*|(ecg|ekg|ch|chn|chan|channel|col|column|lead|signal|sig|var|x)[ _.-]*\d*)")
_AROUND = re.compile(r"^(?:mdc_ecg_lead_|(?:ecg |ekg )?lead[ _:]+|(?:ecg|ekg)[ _:]+)|\s*\((?:einthoven|goldberger)\)$")
UNIT = re.compile(r"(.*?)(?:\s*[\[(]\s*|\s*_)(mV|uV|µV|V)(?:\s*[\])])?\s*", re.IGNORECASE)
"""A name that ends with a unit: `II [mV]`, `V1(mV)`, `II_mV`."""
FLAT = 1e-4
"""mV: a lead that moves by no more is flat. No amplifier is so quiet, nor a converter of ECGs so fine (CinC: 2e-4)."""


def lead_name(name: str) -> str | None:
    """The lead that a name means, spelt the standard way; None where the name says no lead.

    Example:
        >>> [lead_name(n) for n in ("i", "AVR", "Lead I (Einthoven)", "MLII", "v4r", "-aVR", "ch 1", "ECG")]
        ['I', 'aVR', 'I', 'MLII', 'V4R', '-AVR', None, None]
    """
    plain = " ".join(name.strip().lower().split())
    if _NO_NAME.fullmatch(plain) and plain != "x":
        return None
    if unit := UNIT.fullmatch(plain):
        plain = unit[1]
    plain = _AROUND.sub("", plain).strip()
    if plain in _BY_NAME:
        return _BY_NAME[plain]
    return plain.upper() if _OTHER.fullmatch(plain) else None


def nameless(name: str) -> bool:
    """Whether a name says nothing at all ("ch 1", "3", "ECG"), so that a place in the file is all that is known."""
    return bool(_NO_NAME.fullmatch(" ".join(name.strip().lower().split()))) and name.strip().lower() != "x"


def in_order(names: Sequence[str]) -> list[int]:
    """Positions that bring leads into the standard order; others follow as they stood.

    Example:
        >>> in_order(["V1", "MLII", "II", "I"])
        [3, 2, 0, 1]
    """
    place = {name: i for i, name in enumerate(STANDARD)}
    return sorted(range(len(names)), key=lambda i: (place.get(names[i], len(place)), i))


def flat_leads(data: Tensor, rate: float) -> Tensor:
    """Which rows of (C, T) in mV do not move for most of the time: in more than half of the spans of two seconds.

    Rows that hold NaN (masked leads) are not flat.
    """
    length = min(max(round(2 * rate), 1), data.shape[1])
    cut = data[:, : data.shape[1] // length * length].reshape(len(data), -1, length)
    return (cut.amax(2) - cut.amin(2) <= FLAT).double().mean(1) > 0.5


def limb_sources(name: str, channels: Sequence[str]) -> list[str]:
    """Which two of I, II, III a limb lead that is absent is derived from, as far as they are there.

    Example:
        >>> limb_sources("aVF", ["I", "II", "V1"]), limb_sources("V2", ["I", "II"])
        (['I', 'II'], [])
    """
    return [lead for lead in LIMB[:3] if lead in channels][:2] if name in LIMB else []


def derive_limb(data: Tensor, channels: Sequence[str], rate: float) -> tuple[Tensor, tuple[str, ...]]:
    """Add the limb leads that follow from two of I, II, III: (C, T) -> (C', T), in standard order.

    Einthoven: I + III = II. Goldberger: aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2. Leads that are there
    stay as they are; with fewer than two of I, II, III nothing can be derived. A lead that is flat (a dead electrode)
    or masked (NaN) tells nothing of others.
    """
    import torch

    given = {name: data[i] for i, name in enumerate(channels)}
    tells = torch.isfinite(data).all(1) & ~flat_leads(data, rate)
    rows = {name: row for name, row, told in zip(given, given.values(), tells.tolist()) if told}
    if sum(name in rows for name in ("I", "II", "III")) < 2:
        return data, tuple(channels)
    one = rows["I"] if "I" in rows else rows["II"] - rows["III"]
    two = rows["II"] if "II" in rows else one + rows["III"]
    derived = {
        "I": one, "II": two, "III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2,
    }  # fmt: skip
    rows = {**derived, **given}
    names = list(rows)
    names = [names[i] for i in in_order(names)]
    return torch.stack([rows[name] for name in names]), tuple(names)
