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
from modalign.modalities.base import Modality
from modalign.tasks.evaluation import Evaluation
from modalign.tasks.report.classes import truth_of
from modalign.tasks.report.markup import chart, esc

Array = NDArray[Any]
UNASKED = 3
VECTOR_POINTS = 20_000
"""Beyond these a picture's lines are drawn as pixels: they would weigh megabytes as vectors."""


@dataclass(frozen=True)
class Pick:
    """A row to show: its position, why, and the class whose score speaks for it."""

    row: int
    kind: Literal["nearest", "confused"]
    label: str
    score: float


@dataclass(frozen=True)
class Gallery:
    """Pictures of rows, each with its caption (plain text), and what to say above them."""

    nearest: Sequence[tuple[str, str]] = ()
    confused: Sequence[tuple[str, str]] = ()
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
    shown: dict[str, list[tuple[str, str]]] = {"nearest": [], "confused": []}
    for pick in picks(evaluation, UNASKED if number is None else number):
        row = evaluation.rows[pick.row]
        identifier = hashed_id(row.id, salt) if modality.private else row.id
        signal = modality.load(row.sources[tower], **row.fields.get(tower, {}))
        shown[pick.kind].append((_words(pick, row.labels, identifier), picture(signal, modality)))
    note = "These pictures show recordings of patients: keep this file as the recordings are kept."
    return Gallery(shown["nearest"], shown["confused"], note if modality.private else "")


def hashed_id(identifier: str, salt: str) -> str:
    """Eight digits that stand for a row and cannot be turned back without the salt."""
    return hashlib.blake2b(f"{salt}{identifier}".encode(), digest_size=4).hexdigest()


def picks(evaluation: Evaluation, number: int) -> list[Pick]:
    """Up to `number` rows that score highest with a label of theirs, and as many that score highest with a wrong one.

    Each from another class where there are enough, and no two of one recording.
    """
    scores = evaluation.main.scores
    assert scores is not None
    truth = truth_of(evaluation).astype(bool)
    own, other = np.where(truth, scores, -np.inf), np.where(truth, -np.inf, scores)
    right = own.max(1) > other.max(1)
    nearest = [(float(own[i].max()), i, int(own[i].argmax())) for i in np.flatnonzero(right)]
    margin = other.max(1) - np.where(truth, scores, np.inf).min(1)  # the worst of its own labels
    wrong = [(float(margin[i]), i, int(other[i].argmax())) for i in range(len(margin)) if np.isfinite(margin[i])]
    chosen = []
    for kind, found in (("nearest", nearest), ("confused", [w for w in wrong if w[0] > 0])):
        for i, c in _spread(sorted(found, reverse=True), evaluation, number):
            chosen.append(Pick(i, kind, evaluation.labels[c], float(scores[i, c])))  # type: ignore[arg-type]
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


def picture(signal: Any, modality: Modality) -> str:
    """A drawing of a signal by its modality, as an SVG in a data URI: its styles and ids stay apart from the page's."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "modalign", "font.size": 9}):
        figure = Figure(figsize=modality.plot_inches(signal), dpi=110, layout="constrained")
        modality.plot(signal, figure.add_subplot())
        lines = [artist for artist in figure.findobj(Line2D) if isinstance(artist, Line2D)]
        if sum(len(line.get_xdata()) for line in lines) > VECTOR_POINTS:
            for line in lines:
                line.set_rasterized(True)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"


def _words(pick: Pick, labels: Sequence[str], identifier: str) -> str:
    truth = ", ".join(labels)
    said = "scores highest with its own" if pick.kind == "nearest" else "scores higher with"
    return f"{truth}; {said} {pick.label} ({pick.score:.3f}). Row {identifier}"


def gallery_section(shown: Gallery) -> str:
    """The pictures in two parts, or why there are none."""
    if not (shown.nearest or shown.confused or shown.note):
        return ""
    parts = f"<p class='soft'>{esc(shown.note)}</p>" if shown.note else ""
    for title, found in (("Nearest to their class", shown.nearest), ("Most confused", shown.confused)):
        if found:
            pictures = "".join(
                chart(f"<img src='{source}' alt='Recording: {esc(words)}'>", "", esc(words)) for words, source in found
            )
            parts += f"<h3>{title}</h3><div class='charts'>{pictures}</div>"
    return f"<h2>Examples</h2>{parts}"
