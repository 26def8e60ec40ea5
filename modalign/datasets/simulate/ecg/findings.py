"""What can be found in a synthetic ECG, what its labels are called, and which findings go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

TERRITORIES = {
    "anterior": ("V1", "V2", "V3", "V4"),
    "inferior": ("II", "III", "aVF"),
    "lateral": ("I", "aVL", "V5", "V6"),
}
CHANGES = ("ST elevation", "ST depression", "T wave inversion")
RHYTHM, CONDUCTION, ECTOPY, REPOLARISATION, VOLTAGE, ELECTRODES = (
    "rhythm", "conduction", "ectopy", "repolarisation", "voltage", "electrodes",
)  # fmt: skip
SINUS = ("sinus rhythm", "sinus bradycardia", "sinus tachycardia", "sinus arrhythmia", "first degree AV block")
"""Rhythms in which each P wave is conducted."""


@dataclass(frozen=True)
class Finding:
    """A finding.

    Attributes:
        part: what of an ECG it is about; a recording has one finding of a part at most, and one rhythm always.
        labels: what a manifest says of it; the names are those of the public sets, where they have one.
        excludes: parts and findings that it is not combined with, since one would hide or feign the other.
    """

    part: str
    labels: tuple[str, ...]
    excludes: frozenset[str] = field(default_factory=frozenset)


def _finding(part: str, labels: str, *excludes: str) -> Finding:
    return Finding(part, tuple(labels.split(";")), frozenset(excludes))


_ALONE = (CONDUCTION, ECTOPY, REPOLARISATION, VOLTAGE, ELECTRODES)
FINDINGS: dict[str, Finding] = {
    "sinus rhythm": _finding(RHYTHM, "sinus rhythm"),
    "sinus bradycardia": _finding(RHYTHM, "sinus bradycardia"),
    "sinus tachycardia": _finding(RHYTHM, "sinus tachycardia", REPOLARISATION),
    "sinus arrhythmia": _finding(RHYTHM, "sinus arrhythmia", ECTOPY),
    "atrial fibrillation": _finding(RHYTHM, "atrial fibrillation", "premature atrial contraction"),
    "atrial flutter": _finding(RHYTHM, "atrial flutter", ECTOPY, REPOLARISATION),
    "first degree AV block": _finding(RHYTHM, "sinus rhythm;first degree AV block"),
    "Wenckebach AV block": _finding(RHYTHM, "second degree AV block;Mobitz type I AV block", ECTOPY),
    "Mobitz II AV block": _finding(RHYTHM, "second degree AV block;Mobitz type II AV block", ECTOPY),
    "third degree AV block": _finding(RHYTHM, "third degree AV block", *_ALONE),
    "paced rhythm": _finding(RHYTHM, "pacing rhythm", *_ALONE),
    "left bundle branch block": _finding(CONDUCTION, "left bundle branch block", REPOLARISATION, VOLTAGE, ELECTRODES),
    "right bundle branch block": _finding(CONDUCTION, "right bundle branch block", REPOLARISATION, VOLTAGE, ELECTRODES),
    "premature atrial contraction": _finding(ECTOPY, "premature atrial contraction"),
    "premature ventricular contractions": _finding(ECTOPY, "premature ventricular contractions"),
    **{
        f"{territory} {change}": _finding(REPOLARISATION, f"{change};{territory} {change}", VOLTAGE, ELECTRODES)
        for change in CHANGES
        for territory in TERRITORIES
    },
    "left ventricular hypertrophy": _finding(VOLTAGE, "left ventricular hypertrophy", ELECTRODES),
    "right ventricular hypertrophy": _finding(VOLTAGE, "right ventricular hypertrophy", ELECTRODES),
    "arm electrode reversal": _finding(ELECTRODES, "arm electrode reversal"),
}
"""Name -> finding, each a value of `--finding`."""
COMMON = {"sinus rhythm": 0.62, "sinus bradycardia": 0.12, "sinus tachycardia": 0.12, "atrial fibrillation": 0.14}
"""The rhythms under a finding that is none, and how often."""
ALSO = 0.15
"""How often a recording has a second finding of a part that could have one."""


def goes_with(first: str, second: str) -> bool:
    """Whether two findings can be in one recording.

    Example:
        >>> goes_with("atrial fibrillation", "left bundle branch block"), goes_with("paced rhythm", "sinus rhythm")
        (True, False)
    """
    a, b = FINDINGS[first], FINDINGS[second]
    return a.part != b.part and not (a.excludes & {b.part, second} or b.excludes & {a.part, first})


def draw_findings(rng: np.random.Generator, first: str, also: float = ALSO) -> tuple[str, ...]:
    """A rhythm, `first`, and further findings that go with these: names, the rhythm at the beginning.

    Args:
        rng: what is drawn from.
        first: a finding that the recording has.
        also: chance of a finding in each further part.
    """
    chosen = [first]
    if FINDINGS[first].part != RHYTHM:
        shares = {name: share for name, share in COMMON.items() if goes_with(first, name)}
        total = sum(shares.values())
        chosen.insert(0, str(rng.choice(list(shares), p=[share / total for share in shares.values()])))
    for part in (CONDUCTION, ECTOPY, REPOLARISATION, VOLTAGE):
        wanted, draw = rng.random() < also, rng.random()
        fitting = [n for n, f in FINDINGS.items() if f.part == part and all(goes_with(n, other) for other in chosen)]
        if wanted and fitting:
            chosen.append(fitting[int(draw * len(fitting))])
    return tuple(chosen)


def labels_of(findings: Sequence[str]) -> tuple[str, ...]:
    """The labels of a recording; one of sinus rhythm and nothing else is a normal ECG too.

    Example:
        >>> labels_of(["sinus rhythm"]), labels_of(["atrial fibrillation", "inferior ST elevation"])
        (('normal ECG', 'sinus rhythm'), ('atrial fibrillation', 'ST elevation', 'inferior ST elevation'))
    """
    said = [label for name in findings for label in FINDINGS[name].labels]
    return tuple(dict.fromkeys((["normal ECG"] if list(findings) == ["sinus rhythm"] else []) + said))


def of_part(findings: Sequence[str], part: str) -> str:
    """The finding of a part, or ""."""
    return next((name for name in findings if FINDINGS[name].part == part), "")
