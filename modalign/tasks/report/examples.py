"""Examples: the rows that fit their class best and those that are most wrong, as people of the field look at them."""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from modalign.errors import MissingExtraError
from modalign.modalities.base import Modality, Signal
from modalign.tasks.evaluation import Evaluation
from modalign.tasks.predictions import indicator
from modalign.tasks.report.markup import esc, scroll

Array = NDArray[Any]
UNASKED = 3
HEAVY = 160_000
"""Bytes beyond which a drawing is kept as pixels."""


@dataclass(frozen=True)
class Pick:
    """A row to show: its position, why, the label that scores so high; of a confused one its own that scores lower."""

    row: int
    kind: Literal["nearest", "confused"]
    label: str
    score: float
    own: str = ""
    own_score: float = 0.0


@dataclass(frozen=True)
class Example:
    """A picture of a row: its caption (plain text), a data URI, and its width in px at full size."""

    words: str
    source: str
    width: int


@dataclass(frozen=True)
class Gallery:
    """Pictures of rows, and what to say above them."""

    nearest: Sequence[Example] = ()
    confused: Sequence[Example] = ()
    note: str = ""


def check_plot() -> None:
    """Refuse pictures that cannot be drawn, before anything is computed.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError("Drawing examples", "plot") from None


def gallery(evaluation: Evaluation, modality: Modality, tower: str, number: int | None = None) -> Gallery:
    """The examples of an evaluation.

    Recordings of a private modality (of patients) are shown only where a number is given; their ids are hashes whose
    salt is drawn here and written nowhere.

    Args:
        evaluation: with scores and rows.
        modality: the tower's; it reads and draws its recordings.
        tower: the column of the manifest.
        number: examples of each kind; None: three where the modality is not private, else none.

    Raises:
        MissingExtraError: a number is given, and matplotlib is not installed.
        ReadError: a recording cannot be read any more.
    """
    if number == 0:
        return Gallery()
    if number is None and modality.private:
        return Gallery(note=f"Recordings of {modality.name} may show patients; --examples N shows N of each kind.")
    try:
        check_plot()
    except MissingExtraError as error:
        if number is not None:
            raise
        return Gallery(note=f"No examples are shown. {error}")
    salt = secrets.token_hex(16)
    shown: dict[str, list[Example]] = {"nearest": [], "confused": []}
    for pick in picks(evaluation, UNASKED if number is None else number):
        row = evaluation.rows[pick.row]
        identifier = hashed_id(row.id, salt) if modality.private else row.id
        signal = modality.load(row.sources[tower], **row.fields.get(tower, {}))
        shown[pick.kind].append(Example(_words(pick, row.labels, identifier), *picture(signal, modality)))
    note = "These pictures show recordings of patients: keep this file as the recordings are kept."
    return Gallery(shown["nearest"], shown["confused"], note if modality.private else "")


def hashed_id(identifier: str, salt: str) -> str:
    """Eight digits that stand for a row and cannot be turned back without the salt."""
    return hashlib.blake2b(f"{salt}{identifier}".encode(), digest_size=4).hexdigest()


def picks(evaluation: Evaluation, number: int) -> list[Pick]:
    """Up to `number` rows that score highest with a label of theirs, and as many that score higher with another.

    Each from another class where there are enough, and no two of one recording. Where rows have several labels, each
    label's scores are first standardised over the rows: cosines with two prompts are not comparable as they are.
    """
    scores = evaluation.main.scores
    assert scores is not None
    truth = indicator([row.labels for row in evaluation.rows], evaluation.labels).astype(bool)
    level = (scores - scores.mean(0)) / scores.std(0).clip(1e-12) if evaluation.multi_label else scores
    own, other = np.where(truth, level, -np.inf), np.where(truth, -np.inf, level)
    worst = np.where(truth, level, np.inf)
    nearest, confused = [], []
    for i in range(len(scores)):
        if own[i].max() > other[i].max():
            nearest.append((float(own[i].max()), i, int(own[i].argmax())))
        if np.isfinite(other[i].max()) and other[i].max() > worst[i].min():
            confused.append((float(other[i].max() - worst[i].min()), i, int(other[i].argmax())))
    labels = evaluation.labels
    chosen = []
    for i, c in _spread(sorted(nearest, reverse=True), evaluation, number):
        chosen.append(Pick(i, "nearest", labels[c], float(scores[i, c])))
    for i, c in _spread(sorted(confused, reverse=True), evaluation, number):
        mine = int(worst[i].argmin())
        chosen.append(Pick(i, "confused", labels[c], float(scores[i, c]), labels[mine], float(scores[i, mine])))
    return chosen


def _spread(found: Sequence[tuple[float, int, int]], evaluation: Evaluation, number: int) -> list[tuple[int, int]]:
    """The first of each class in order, then the others, without a second of one recording."""
    classes: set[int] = set()
    first = [(i, c) for _, i, c in found if not (c in classes or classes.add(c))]  # type: ignore[func-returns-value]
    taken: list[tuple[int, int]] = []
    recordings: set[str] = set()
    for i, c in [*first, *((i, c) for _, i, c in found)]:
        recording = evaluation.rows[i].cluster or evaluation.rows[i].id
        if recording not in recordings and len(taken) < number:
            recordings.add(recording)
            taken.append((i, c))
    return taken


def picture(signal: Signal, modality: Modality) -> tuple[str, int]:
    """A drawing of a signal by its modality as a data URI, and its width in px at full size.

    An SVG, whose styles and ids stay apart from the page's, or where that is heavy (pictures, long traces) a WebP.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    inches = modality.plot_inches(signal)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "modalign"}):
        figure = Figure(figsize=inches, dpi=110)
        modality.plot(signal, figure.add_subplot())
        file, kind = io.BytesIO(), "svg+xml"
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
        if file.tell() > HEAVY:
            file, kind = io.BytesIO(), "webp"
            figure.savefig(file, format="webp", dpi=144, bbox_inches="tight", pil_kwargs={"quality": 85})
    content = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind};base64,{content}", round(inches[0] * 96)


def _words(pick: Pick, labels: Sequence[str], identifier: str) -> str:
    said = f"{pick.label} {pick.score:.3f}"
    if pick.kind == "confused":
        said += f", {pick.own} {pick.own_score:.3f}"
    return f"Truth: {', '.join(labels)}. Scores: {said}. Row {identifier}"


def gallery_section(shown: Gallery) -> str:
    """The pictures in two parts, or why there are none."""
    if not (shown.nearest or shown.confused or shown.note):
        return ""
    parts = f"<p class='soft'>{esc(shown.note)}</p>" if shown.note else ""
    for title, found in (("Nearest to their class", shown.nearest), ("Most confused", shown.confused)):
        if found:
            pictures = "".join(map(_shown, found))
            parts += f"<h3>{title}</h3><div class='examples'>{pictures}</div>"
    return f"<h2>Examples</h2>{parts}"


def _shown(example: Example) -> str:
    words = esc(example.words)
    image = f"<img src='{example.source}' alt='Recording: {words}'>"
    return (
        f"<figure style='--w:{example.width}px'>{scroll(image, example.words)}<figcaption>{words}</figcaption></figure>"
    )
