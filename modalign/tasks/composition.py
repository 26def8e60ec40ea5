"""What an encoder knows of order and mixture: a ladder of zero-shot tasks made from a labelled set.

One recording, two at once, two in turn, one loud and one faint. The compositions are synthesised from single recordings
by the modality (`Modality.compose`), so any labelled set serves. The 2 x 2 scores are CompA's (Ghosh et al. 2024); the
ladder is TeminAL-inspired: its own levels are not published.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from modalign.align.embed import Advance
from modalign.align.manifest import Manifest, Row
from modalign.align.metrics import two_way_bootstrap
from modalign.align.metrics.composition import CHANCE
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError, RecipeError, suggest
from modalign.modalities.base import Signal
from modalign.modalities.registry import list_modalities
from modalign.tasks.evaluate import MODEL, labelled
from modalign.tasks.evaluation import Evaluation, Result, Table, interval_note, protocol_of, unit_of_resampling
from modalign.tasks.ladder import Level, chance_of, named_level, predictions_table, two_by_two_level
from modalign.tasks.prompt_embeddings import class_embeddings
from modalign.tasks.prompts import fill

IN_TURN = ("{a} followed by {b}", "{a}, then {b}", "first {a}, afterwards {b}")
AT_ONCE = ("{a} and {b}", "{a} together with {b}", "{a} amid {b}")
LOUD_AND_FAINT = ("loud {a} and faint {b}", "{a}, with {b} faintly in the background")
MAIN = "order, text score"
LOUD = 0.85
"""The loudness of the first beside the second where one is loud and one faint."""


@dataclass(frozen=True)
class Duo:
    """Two recordings of different labels.

    Attributes:
        rows: their rows.
        signals: the recordings.
        labels: their labels.
    """

    rows: tuple[Row, Row]
    signals: tuple[Signal, Signal]
    labels: tuple[str, str]


def draw_duos(
    model: AlignmentModel, manifest: Manifest, tower: str, pairs: int, seed: int, seconds: float | None
) -> list[Duo]:
    """Pairs of rows with one label each, and not the same, drawn from a seed; every row is read once.

    Raises:
        ManifestError: no two rows with one label each have different ones.
    """
    modality = model.tower(tower).modality
    rows = [row for row in manifest.rows if len(row.labels) == 1]
    if len({row.labels for row in rows}) < 2:
        raise ManifestError(f"{manifest.path}: compositions need rows of one label each, of two labels or more")
    generator = np.random.default_rng(seed)
    read: dict[str, Signal] = {}

    def signal_of(row: Row) -> Signal:
        if row.id not in read:
            read[row.id] = _cut(modality.load(row.sources[tower], **row.fields.get(tower, {})), seconds)
        return read[row.id]

    duos = []
    for _ in range(pairs):
        first = rows[int(generator.integers(len(rows)))]
        others = [row for row in rows if row.labels != first.labels]
        second = others[int(generator.integers(len(others)))]
        labels = (first.labels[0], second.labels[0])
        duos.append(Duo((first, second), (signal_of(first), signal_of(second)), labels))
    return duos


def _cut(signal: Signal, seconds: float | None) -> Signal:
    if seconds is None or signal.rate is None:
        return signal
    return replace(signal, data=signal.data[..., : max(1, round(seconds * signal.rate))])


class Scorer:
    """Embeds compositions and their texts with one model; every text once.

    Args:
        model: the model.
        tower: of the recordings.
        text: of the texts.
        templates: prompt templates with `{label}`; None: the modality's.
    """

    def __init__(self, model: AlignmentModel, tower: str, text: str, templates: Sequence[str] | None = None) -> None:
        self.model, self.tower, self.text = model, tower, text
        self.modality = model.tower(tower).modality
        self.templates = list(templates or self.modality.templates)

    def texts(self, phrases: Mapping[str, Sequence[str]]) -> Tensor:
        """Key -> phrases put into the templates: (keys, dim) unit rows."""
        prompts = {key: [fill(t, phrase) for phrase in said for t in self.templates] for key, said in phrases.items()}
        return class_embeddings(self.model, self.text, prompts)

    def signals(self, made: Sequence[Signal]) -> Tensor:
        """(N, dim) unit rows."""
        return self.model.embed(self.tower, list(made))

    def compose(self, duo: Duo, how: str, swap: bool = False, ratio: float = 0.5) -> Signal:
        """The duo's recordings made into one; swapped, the second comes first."""
        a, b = reversed(duo.signals) if swap else duo.signals
        return self.modality.compose(a, b, how, ratio)  # type: ignore[arg-type]


def _say(connectors: Sequence[str], a: str, b: str) -> list[str]:
    a, b = a.replace("_", " "), b.replace("_", " ")
    return [connector.replace("{a}", a).replace("{b}", b) for connector in connectors]


def single(scorer: Scorer, duos: Sequence[Duo], labels: Sequence[str]) -> Level:
    """The first recording of each duo, named among all labels."""
    scores = scorer.signals([duo.signals[0] for duo in duos]) @ scorer.texts({label: [label] for label in labels}).T
    chosen = [labels[i] for i in scores.argmax(1).tolist()]
    return named_level(f"one of {len(labels)}", chosen, [duo.labels[0] for duo in duos])


def at_once(scorer: Scorer, duos: Sequence[Duo], labels: Sequence[str]) -> Level:
    """A mixture, named among all pairs of labels; either order of the words is the same pair."""
    pairs = list(combinations(labels, 2))
    said = {f"{a}\n{b}": [*_say(AT_ONCE, a, b), *_say(AT_ONCE, b, a)] for a, b in pairs}
    scores = scorer.signals([scorer.compose(duo, "mixture") for duo in duos]) @ scorer.texts(said).T
    chosen = [" and ".join(pairs[i]) for i in scores.argmax(1).tolist()]
    true = [" and ".join(sorted(duo.labels)) for duo in duos]
    return named_level(f"both of a mixture, of {len(pairs)} pairs", chosen, true)


def in_turn(scorer: Scorer, duos: Sequence[Duo], labels: Sequence[str]) -> Level:
    """Two in a row: CompA's order scores on the recording and its reverse, and the recording alone with both texts."""
    return _two_by_two(scorer, duos, "order", "sequence", IN_TURN)


def loud_and_faint(scorer: Scorer, duos: Sequence[Duo], labels: Sequence[str]) -> Level:
    """A mixture in which one is louder: CompA's attribute scores, the attribute being loudness."""
    return _two_by_two(scorer, duos, "loudness", "mixture", LOUD_AND_FAINT, LOUD)


def _two_by_two(
    scorer: Scorer, duos: Sequence[Duo], name: str, how: str, connectors: Sequence[str], ratio: float = 0.5
) -> Level:
    texts = scorer.texts({f"{a}\n{b}": _say(connectors, a, b) for a, b in _both_ways(duos)})
    place = {f"{a}\n{b}": i for i, (a, b) in enumerate(_both_ways(duos))}
    made = [scorer.compose(duo, how, swap, ratio) for duo in duos for swap in (False, True)]
    recordings = scorer.signals(made).view(len(duos), 2, -1)
    order = torch.tensor([[place[f"{a}\n{b}"], place[f"{b}\n{a}"]] for a, b in (duo.labels for duo in duos)])
    scores = torch.einsum("nid,njd->nij", texts[order], recordings)
    return two_by_two_level(name, scores, _spanning(scorer, made) if how == "sequence" else [])


def _spanning(scorer: Scorer, made: Sequence[Signal]) -> list[str]:
    """A note where sequences do not fit one window of the encoder."""
    processing = scorer.model.tower(scorer.tower).processing
    spanning = sum(len(processing.segments(signal)) > 1 for signal in made)
    if not spanning:
        return []
    return [
        f"{spanning} of {len(made)} sequences span several windows of the encoder, whose features are averaged: the "
        "order between windows is lost by construction. Use less of each recording (--seconds)."
    ]


def _both_ways(duos: Sequence[Duo]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(pair for duo in duos for pair in (duo.labels, duo.labels[::-1])))


LADDER: Mapping[str, tuple[str, Callable[[Scorer, Sequence[Duo], Sequence[str]], Level]]] = {
    "single": ("", single),
    "mixture": ("mixture", at_once),
    "sequence": ("sequence", in_turn),
    "loudness": ("mixture", loud_and_faint),
}
"""Level -> the composition that it needs, and what measures it."""


@dataclass(frozen=True)
class Ladder:
    """The evaluation, and its predictions: a row a method and composition (see `recompute_ladder`)."""

    evaluation: Evaluation
    predictions: pd.DataFrame

    def save(self, folder: Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write `metrics.json` and `predictions.parquet`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps({**self.evaluation.as_dict(), **(extra or {})}, indent=1))
        self.predictions.to_parquet(folder / "predictions.parquet", index=False)


def evaluate_composition(
    model: AlignmentModel,
    manifest: Manifest,
    tower: str,
    split: str = "test",
    *,
    pairs: int = 200,
    seed: int = 0,
    seconds: float | None = None,
    text: str = "text",
    templates: Sequence[str] | None = None,
    untrained: AlignmentModel | None = None,
    advance: Advance | None = None,
) -> Ladder:
    """Climb the ladder with one model, beside chance and the untrained encoder.

    Args:
        model: the model.
        manifest: all rows; those of the split with one label are composed.
        tower: the modality.
        split: test, val, train or all.
        pairs: how many duos are drawn.
        seed: of the drawing.
        seconds: of each recording, from its start, are used; None: all. Where an encoder hears windows and averages
            them, two recordings must fit one window, or order is lost by construction.
        text: the tower of texts.
        templates: with `{label}`, for the composed phrase.
        untrained: the baseline with random encoders, if there is one.
        advance: called with 1 after each level of each model.

    Raises:
        ManifestError: too few rows or labels.
        RecipeError: the modality cannot be composed.
    """
    modality = model.tower(tower).modality
    if not modality.compositions:
        able = [name for name in list_modalities() if _compositions(name)]
        raise RecipeError(f"recordings of {modality.name} cannot be composed; {suggest(modality.name, able)}")
    kept = labelled(manifest, split, tower)
    duos = draw_duos(model, kept, tower, pairs, seed, seconds)
    labels = sorted({row.labels[0] for row in kept.rows if len(row.labels) == 1})
    levels = [(needs, run) for needs, run in LADDER.values() if not needs or needs in modality.compositions]
    found: dict[str, list[Level]] = {}
    for name, one in {"untrained": untrained, MODEL: model}.items():
        if one is None:
            continue
        scorer = Scorer(one, tower, text, templates)
        found[name] = []
        for _, run in levels:
            found[name].append(run(scorer, duos, labels))
            if advance:
                advance(1)
    about = _about(duos)
    title = f"Composition of {modality.name}, split {split}"
    protocol = protocol_of(model.record, manifest, split)
    return Ladder(_evaluation(title, protocol, duos, about, len(labels), found), predictions_table(about, found))


def _compositions(name: str) -> bool:
    from modalign.modalities.registry import get_modality

    return bool(get_modality(name).compositions)


def _about(duos: Sequence[Duo]) -> pd.DataFrame:
    """Who the two of each duo are, and what intervals resample."""
    sides = [[duo.rows[k] for duo in duos] for k in (0, 1)]
    units = unit_of_resampling([*sides[0], *sides[1]])[0]
    columns: dict[str, list[str]] = {}
    for k, (side, rows) in enumerate(zip("ab", sides)):
        columns[f"id {side}"] = [row.id for row in rows]
        columns[f"group {side}"] = [row.group for row in rows]
        columns[f"cluster {side}"] = [row.cluster for row in rows]
        columns[f"label {side}"] = [row.labels[0] for row in rows]
        columns[f"unit {side}"] = units[k * len(duos) : (k + 1) * len(duos)]
    return pd.DataFrame(columns)


def _evaluation(
    title: str,
    protocol: str,
    duos: Sequence[Duo],
    about: pd.DataFrame,
    labels: int,
    found: Mapping[str, Sequence[Level]],
) -> Evaluation:
    figures = {name: {k: v for level in levels for k, v in level.right.items()} for name, levels in found.items()}
    units = about["unit a"].tolist(), about["unit b"].tolist()
    means = {name: {k: float(v.mean()) for k, v in right.items()} for name, right in figures.items()}
    intervals = {name: two_way_bootstrap(right, *units) for name, right in figures[MODEL].items()}
    lines: list[list[str | float]] = []
    for name, value in means[MODEL].items():
        low, high = intervals[name]
        twin = means.get("untrained", {}).get(name, float("nan"))
        lines.append([name, chance_of(name, labels), twin, value, f"{low:.3f} - {high:.3f}"])
    table = Table(
        "The ladder",
        ["level", "chance", "untrained", MODEL, "95 %"],
        lines,
        "Text score: each recording prefers its own text; recording score: each text prefers its own recording; group: "
        "both. Equal scores are wrong. One recording: the first alone prefers its own text; equal scores count half.",
    )
    results = [Result("chance", CHANCE["text"])]
    if "untrained" in means:
        results.append(Result("untrained", means["untrained"][MAIN]))
    results.append(Result(MODEL, means[MODEL][MAIN], intervals[MAIN]))
    notes = [
        f"{len(duos)} compositions, synthesised from single recordings; texts are label-derived. TeminAL-inspired "
        "ladder, CompA's 2 x 2 scores.",
        *(note for level in found[MODEL] for note in level.notes),
        interval_note([row for duo in duos for row in duo.rows]),
        "Both recordings of a composition are resampled (a two-way bootstrap).",
    ]
    return Evaluation(title, protocol, MAIN, [], [duo.rows[0] for duo in duos], results, notes, [table])
