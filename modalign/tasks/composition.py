"""What an encoder knows of order and mixture: a ladder of zero-shot tasks made from a labelled set.

One recording, two at once, two in turn, one loud and one faint. The compositions are synthesised from single recordings
by the modality (`Modality.compose`), so any labelled set serves. The 2 x 2 scores are CompA's (Ghosh et al. 2024); the
ladder is TeminAL-inspired: its own levels are not published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modalign.align.embed import Advance
from modalign.align.manifest import Manifest, Row
from modalign.align.metrics import cluster_bootstrap, composition_scores
from modalign.align.metrics.composition import CHANCE
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError, RecipeError, suggest
from modalign.modalities.base import Signal
from modalign.modalities.registry import list_modalities
from modalign.tasks.evaluate import MODEL, labelled
from modalign.tasks.evaluation import Evaluation, Result, Table, interval_note, protocol_of, unit_of_resampling
from modalign.tasks.prompt_embeddings import class_embeddings
from modalign.tasks.prompts import fill

IN_TURN = ("{a} followed by {b}", "{a}, then {b}", "first {a}, afterwards {b}")
AT_ONCE = ("{a} and {b}", "{a} together with {b}", "{a} amid {b}")
LOUD_AND_FAINT = ("loud {a} and faint {b}", "{a}, with {b} faintly in the background")
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


Figures = dict[str, NDArray[np.bool_]]
"""Name of a figure -> (N,) right or wrong, a row a duo."""


def single(scorer: Scorer, duos: Sequence[Duo], labels: Sequence[str]) -> Figures:
    """The first recording of each duo, named among all labels."""
    scores = scorer.signals([duo.signals[0] for duo in duos]) @ scorer.texts({label: [label] for label in labels}).T
    right = scores.argmax(1) == torch.tensor([labels.index(duo.labels[0]) for duo in duos])
    return {f"one of {len(labels)}": right.numpy()}


def at_once(scorer: Scorer, duos: Sequence[Duo], labels: Sequence[str]) -> Figures:
    """A mixture, named among all pairs of labels; either order of the words is the same pair."""
    pairs = list(combinations(labels, 2))
    said = {f"{a}\n{b}": [*_say(AT_ONCE, a, b), *_say(AT_ONCE, b, a)] for a, b in pairs}
    scores = scorer.signals([scorer.compose(duo, "mixture") for duo in duos]) @ scorer.texts(said).T
    place = {frozenset(pair): i for i, pair in enumerate(pairs)}
    right = scores.argmax(1) == torch.tensor([place[frozenset(duo.labels)] for duo in duos])
    return {f"both of a mixture, of {len(pairs)} pairs": right.numpy()}


def in_turn(scorer: Scorer, duos: Sequence[Duo], labels: Sequence[str]) -> Figures:
    """Two in a row: CompA's order scores on the recording and its reverse."""
    return _two_by_two(scorer, duos, "order", "sequence", IN_TURN)


def loud_and_faint(scorer: Scorer, duos: Sequence[Duo], labels: Sequence[str]) -> Figures:
    """A mixture in which one is louder: CompA's attribute scores, the attribute being loudness."""
    return _two_by_two(scorer, duos, "loudness", "mixture", LOUD_AND_FAINT, LOUD)


def _two_by_two(
    scorer: Scorer, duos: Sequence[Duo], name: str, how: str, connectors: Sequence[str], ratio: float = 0.5
) -> Figures:
    texts = scorer.texts({f"{a}\n{b}": _say(connectors, a, b) for a, b in _both_ways(duos)})
    place = {f"{a}\n{b}": i for i, (a, b) in enumerate(_both_ways(duos))}
    made = [scorer.compose(duo, how, swap, ratio) for duo in duos for swap in (False, True)]
    recordings = scorer.signals(made).view(len(duos), 2, -1)
    order = torch.tensor([[place[f"{a}\n{b}"], place[f"{b}\n{a}"]] for a, b in (duo.labels for duo in duos)])
    scores = torch.einsum("nid,njd->nij", texts[order], recordings)
    found = composition_scores(scores)._asdict()
    return {f"{name}, {part} score": right.numpy() for part, right in found.items()}


def _both_ways(duos: Sequence[Duo]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(pair for duo in duos for pair in (duo.labels, duo.labels[::-1])))


LADDER: Mapping[str, tuple[str, Callable[[Scorer, Sequence[Duo], Sequence[str]], Figures]]] = {
    "single": ("", single),
    "mixture": ("mixture", at_once),
    "sequence": ("sequence", in_turn),
    "loudness": ("mixture", loud_and_faint),
}
"""Level -> the composition that it needs, and what measures it."""


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
) -> Evaluation:
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
    units = unit_of_resampling([duo.rows[0] for duo in duos])[0]
    levels = [(needs, run) for needs, run in LADDER.values() if not needs or needs in modality.compositions]
    found: dict[str, Figures] = {}
    for name, one in {"untrained": untrained, MODEL: model}.items():
        if one is None:
            continue
        scorer = Scorer(one, tower, text, templates)
        found[name] = {}
        for _, run in levels:
            found[name] |= run(scorer, duos, labels)
            if advance:
                advance(1)
    return _evaluation(model, manifest, split, modality.name, duos, labels, units, found)


def _compositions(name: str) -> bool:
    from modalign.modalities.registry import get_modality

    return bool(get_modality(name).compositions)


def _evaluation(
    model: AlignmentModel,
    manifest: Manifest,
    split: str,
    kind: str,
    duos: Sequence[Duo],
    labels: Sequence[str],
    units: Sequence[str],
    found: Mapping[str, Figures],
) -> Evaluation:
    lines: list[list[str | float]] = []
    for name, right in found[MODEL].items():
        low, high = cluster_bootstrap(lambda rows, right=right: float(right[rows].mean()), units)  # type: ignore[misc]
        twin = float(found["untrained"][name].mean()) if "untrained" in found else float("nan")
        lines.append([name, _chance(name, len(labels)), twin, float(right.mean()), f"{low:.3f} - {high:.3f}"])
    table = Table(
        "The ladder",
        ["level", "chance", "untrained", MODEL, "95 %"],
        lines,
        "Text score: each recording prefers its own text; recording score: each text prefers its own recording; group: "
        "both. Equal scores are wrong.",
    )
    main = "order, text score"
    right = found[MODEL][main]
    results = [Result("chance", CHANCE["text"])]
    if "untrained" in found:
        results.append(Result("untrained", float(found["untrained"][main].mean())))
    interval = cluster_bootstrap(lambda rows: float(right[rows].mean()), units)
    results.append(Result(MODEL, float(right.mean()), interval))
    rows = [duo.rows[0] for duo in duos]
    notes = [
        f"{len(duos)} compositions, synthesised from single recordings; texts are label-derived. TeminAL-inspired "
        "ladder, CompA's 2 x 2 scores.",
        interval_note(rows),
    ]
    protocol = protocol_of(model.record, manifest, split)
    return Evaluation(
        f"Composition of {kind}, split {split}", protocol, "order, text score", [], rows, results, notes, [table]
    )


def _chance(name: str, labels: int) -> float:
    if name.startswith("one of"):
        return 1 / labels
    if name.startswith("both"):
        return 2 / (labels * (labels - 1))
    return CHANCE[name.rsplit(", ", 1)[1].removesuffix(" score")]
