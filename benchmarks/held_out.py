"""Leave classes out: what calibration, sentences and attribute sentences bring to classes that training never saw.

    python -m benchmarks.held_out [--only demo NAME ...] [--wordings names sentences attributes both] [--inner 2]
        [--epochs N] [--root DIR] [--json]

`demo` is the demo's smartwatch data; the other names are those of `benchmarks.results` that have one label a row, or
several. Each set is trained without each of its labels in turn, by its recipe, and as many times again for gamma
(`--inner 2`). Wordings: `names` (templates with the label's name), `sentences` (the set's descriptions), `attributes`
(sentences that name one property each, shared between labels; demo only), `both`. The demo's windows do not overlap
here, and it trains for 6 epochs, so that it ends in minutes.

JSON, a line each: `dataset`, `wording`, `metric`, `unseen`, `seen`, `harmonic`, `gamma`, `unseen_calibrated`,
`seen_calibrated`, `harmonic_calibrated`, `ausuc` (means over labels; for several labels a row `unseen` and `seen` are
AUROC), `chance`, `sets` (the same by label), `seconds`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

UPRIGHT, BENT, BAND, NOTHING = "standing upright", "bent over", "a resistance band is pulled", "no equipment is used"
STRAIGHT, TUCKED, HANGS = "the elbow is straight", "the elbow is bent and tucked in", "the arm hangs straight down"
ATTRIBUTES = {
    "pendulum swing": (BENT, HANGS, "the arm swings loosely", NOTHING),
    "shoulder abduction": (UPRIGHT, STRAIGHT, "the arm goes up sideways", NOTHING),
    "forward elevation": (UPRIGHT, STRAIGHT, "the arm goes up in front", NOTHING),
    "internal rotation": (UPRIGHT, TUCKED, "the forearm turns inward", BAND),
    "external rotation": (UPRIGHT, TUCKED, "the forearm turns outward", BAND),
    "trapezius row": (UPRIGHT, "the arm is down by the side", "the arm pulls backward", BAND),
    "bent-over row": (BENT, HANGS, "the elbow bends to pull upward", "a dumbbell is lifted"),
}
"""Posture, arm, movement, equipment: each class is a combination, and most of its parts are another class's too."""


def attribute_sentences(parts: Sequence[str]) -> list[str]:
    """A sentence for each attribute, and one of all."""
    posture, *rest = parts
    return [f"The posture is {posture}.", *(f"{r[0].upper()}{r[1:]}." for r in rest), f"Posture is {', '.join(parts)}."]


def demo_wordings() -> dict[str, dict[str, list[str]]]:
    """Wording -> label -> sentences, for the demo's data."""
    from importlib.resources import files

    text = (files("modalign.datasets") / "shoulder_exercises.yaml").read_text(encoding="utf-8")
    # The last of each class's sentences is one of attributes.
    sentences = {label: said["train"][:-1] for label, said in yaml.safe_load(text).items()}
    attributes = {label: attribute_sentences(parts) for label, parts in ATTRIBUTES.items()}
    names = {label: [label, f"a person does the exercise {label}"] for label in sentences}
    both = {label: [*sentences[label], *attributes[label]] for label in sentences}
    return {"names": names, "sentences": sentences, "attributes": attributes, "both": both}


def prepared(name: str, root: Path | None, work: Path, epochs: float | None) -> tuple[Any, Any, str, dict[str, Any]]:
    """Recipe, manifest, tower, and wording -> descriptions of a set."""
    from benchmarks.results import STUDIES
    from modalign.align.recipe_files import load_recipe
    from modalign.datasets.registry import prepare
    from modalign.tasks.crossval import with_fold
    from modalign.tasks.training import modalities_of, open_manifest

    if name == "demo":
        recipe = load_recipe("shoulder", [f"training.epochs={epochs or 6:g}", "training.evaluate_every=100"])
        manifest = open_manifest(recipe, prepare("seglearn", None, work / "manifest.csv", {"hop": "2"}))
        return recipe, manifest, "motion", demo_wordings()
    study = next(s for s in STUDIES if s.name == name)
    if root is None:
        raise SystemExit(f"{name}: give --root, or set MODALIGN_DATA")
    recipe = load_recipe(study.recipe, [*study.settings, *([f"training.epochs={epochs:g}"] if epochs else [])])
    fold = study.folds[-1]
    manifest = open_manifest(recipe, prepare(study.dataset, root / study.folder, work / "manifest.csv", fold.options))
    if fold.test_fold is not None:
        manifest = with_fold(manifest, manifest.table["fold"].astype(int).tolist(), fold.test_fold, fold.folds)
    kind = modalities_of(recipe)[study.tower]
    names = {label: [t.replace("{label}", label) for t in kind.templates] for label in manifest.vocabulary}
    return recipe, manifest, study.tower, {"names": names, "sentences": dict(manifest.descriptions)}


def run(name: str, wording: str, root: Path | None, inner: int, epochs: float | None) -> dict[str, Any] | None:
    """One set with one wording; None where it has no such wording."""
    from rich.console import Console

    from modalign.tasks.held_out import leave_classes_out
    from modalign.tasks.prompting import Prompting

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        recipe, manifest, tower, wordings = prepared(name, root, Path(folder), epochs)
        if wording not in wordings:
            return None
        manifest.descriptions = wordings[wording]
        quiet = Console(file=open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
        prompting = Prompting(descriptions=wordings[wording], text=recipe.text)
        evaluation = leave_classes_out(
            recipe, manifest, tower, Path(folder) / "runs", inner=inner, prompting=prompting, console=quiet
        )
    table = evaluation.tables[0]
    keys = [str(c) for c in table.columns]
    mean = dict(zip(keys, table.rows[-1]))
    named = {
        "unseen": "unseen", "seen": "seen", "harmonic": "harmonic", "gamma": "gamma",
        "unseen_calibrated": "unseen, cal.", "seen_calibrated": "seen, cal.", "harmonic_calibrated": "harmonic, cal.",
        "ausuc": "AUSUC",
    }  # fmt: skip
    if evaluation.metric != "accuracy":
        named = {"unseen": "AUROC, left out", "seen": "AUROC, the others"}
    return {
        "dataset": name,
        "wording": wording,
        "metric": evaluation.metric,
        **{key: mean[column] for key, column in named.items()},
        "chance": evaluation.results[0].value,
        "sets": [dict(zip(keys, row)) for row in table.rows[:-1]],
        "seconds": round(time.perf_counter() - started),
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of the means."""
    keys = ["unseen", "seen", "harmonic", "unseen_calibrated", "seen_calibrated", "harmonic_calibrated", "ausuc"]
    heads = ["unseen", "seen", "harmonic", "unseen, calibrated", "seen, calibrated", "harmonic, calibrated", "AUSUC"]
    lines = [f"| data | wording | {' | '.join(heads)} | chance |", f"|---|---|{'---:|' * (len(heads) + 1)}"]
    for r in rows:
        cells = [f"{r[k]:.3f}" if isinstance(r.get(k), float) and math.isfinite(r[k]) else "–" for k in keys]
        lines.append(f"| {r['dataset']} | {r['wording']} | {' | '.join(cells)} | {r['chance']:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is asked for, and print a table."""
    from benchmarks.results import STUDIES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=["demo"], choices=["demo", *(s.name for s in STUDIES)])
    parser.add_argument("--wordings", nargs="*", default=["names", "sentences", "both"])
    parser.add_argument("--inner", type=int, default=2)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--root", type=Path, default=os.environ.get("MODALIGN_DATA"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    root = Path(arguments.root) if arguments.root else None
    rows = []
    for name in arguments.only:
        for wording in arguments.wordings:
            row = run(name, wording, root, arguments.inner, arguments.epochs)
            if row is not None:
                rows.append(row)
                print(json.dumps(row) if arguments.json else markdown([row]).splitlines()[-1], flush=True)
    if not arguments.json:
        print(f"\n{markdown(rows)}")


if __name__ == "__main__":
    main()
