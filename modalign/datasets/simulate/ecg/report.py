"""Reports for a synthetic ECG: what is found, in one of several wordings, and some of what is not found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from modalign.datasets.simulate.ecg.findings import (
    CONDUCTION,
    ECTOPY,
    FINDINGS,
    REPOLARISATION,
    RHYTHM,
    SINUS,
    TERRITORIES,
    VOLTAGE,
    of_part,
)

WORDS: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
"""`found` and `absent`: what -> forms of its sentence; `normal`, `noisy`, `rate`."""
LOUD = {"noise": 0.013, "wander": 0.06, "mains": 0.005}
"""mV from which an artefact is mentioned."""
NEGATED = 0.35
"""How often what is absent is said to be, each."""
ESCAPES = ("junctional", "ventricular")


def write_report(rng: np.random.Generator, findings: Sequence[str], drawn: Mapping[str, float]) -> str:
    """A report that is true of a recording: its rhythm, its findings in any order, then some of what is absent.

    Args:
        rng: chooses among forms.
        findings: of the recording.
        drawn: `heart_rate`, `pr`, `qrs`, `conduction`, `wide`, `strain`, `noise`, ... as far as it has them.

    Example:
        >>> write_report(np.random.default_rng(0), ["sinus rhythm"], {"heart_rate": 71.6}).startswith("S")
        True
    """
    words = _words(drawn)
    said = [_choose(rng, WORDS["found"][name], words) for name in findings if name in WORDS["found"]]
    changed = of_part(findings, REPOLARISATION)
    if changed:
        territory, _, change = changed.partition(" ")
        leads = list(TERRITORIES[territory])
        own = f"{leads[0]} to {leads[-1]}" if territory == "anterior" else f"{', '.join(leads[:-1])} and {leads[-1]}"
        forms = {**words, "territory": territory, "Territory": territory.capitalize(), "leads": own}
        said.append(_choose(rng, WORDS["found"][change], forms))
    if list(findings) == ["sinus rhythm"] and rng.random() < 0.7:
        said.append(_choose(rng, WORDS["normal"], words))
    further = [said[i + 1] for i in rng.permutation(len(said) - 1)]
    absent = [_choose(rng, WORDS["absent"][what], words) for what in _absent(findings, drawn) if rng.random() < NEGATED]
    artefacts = [sentence for kind, sentence in WORDS["noisy"].items() if drawn.get(kind, 0.0) > LOUD[kind]]
    return " ".join([said[0], *further, *(absent[i] for i in rng.permutation(len(absent))), *artefacts])


def _absent(findings: Sequence[str], drawn: Mapping[str, float]) -> list[str]:
    """What may be denied: nothing of ST and T where a wide QRS, a strong ventricle or flutter waves change them."""
    rhythm = of_part(findings, RHYTHM)
    parts = {FINDINGS[name].part for name in findings}
    if rhythm == "paced rhythm":
        return []
    plain = drawn.get("wide", 0.0) == 0
    told = plain and not parts & {CONDUCTION, VOLTAGE} and rhythm != "atrial flutter"
    upright = told and "arm electrode reversal" not in findings
    changed = of_part(findings, REPOLARISATION)
    return [
        *(["st"] if told and "ST" not in changed else []),
        *(["t"] if upright and not changed else []),
        *([CONDUCTION] if plain and CONDUCTION not in parts else []),
        *([ECTOPY] if ECTOPY not in parts else []),
        *([VOLTAGE] if plain and not parts & {VOLTAGE, CONDUCTION} else []),
        *(["av"] if rhythm in SINUS and rhythm != "first degree AV block" else []),
        *(["af"] if rhythm in SINUS else []),
    ]


def _words(drawn: Mapping[str, float]) -> dict[str, str]:
    conduction = int(drawn.get("conduction", 0))
    return {
        "rate": f"{drawn.get('heart_rate', 0.0):.0f}",
        "pr": f"{1000 * drawn.get('pr', 0.0):.0f}",
        "qrs": f"{1000 * drawn.get('qrs', 0.0):.0f}",
        "atrial": f"{drawn.get('atrial_rate', 0.0):.0f}",
        "conducted": f" with {conduction}:1 conduction" if conduction else " with variable conduction",
        "escape": ESCAPES[int(drawn.get("wide", 0.0))],
        "strain": " with strain" if drawn.get("strain") else "",
    }


def _choose(rng: np.random.Generator, forms: Sequence[str], words: Mapping[str, str]) -> str:
    at = WORDS["rate"][int(rng.integers(len(WORDS["rate"])))].format(**words)
    return forms[int(rng.integers(len(forms)))].format(**words, at=at)
