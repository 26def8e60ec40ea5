"""What an evaluation says of the text side: what the text limit cuts, and how far captions lie from recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from modalign.align.data import AlignmentDataset
from modalign.align.diagnostics import gap_figures
from modalign.align.embed import Embedded
from modalign.align.model import AlignmentModel
from modalign.tasks.figure_tables import gap_table
from modalign.tasks.results import Table

MOST_PAIRS = 5000
"""Rows at most from which the gap is measured, evenly taken: what it costs grows with their square."""


def limit_table(
    model: AlignmentModel, dataset: AlignmentDataset, text: str, prompts: Mapping[str, Sequence[str]]
) -> Table:
    """How many of the split's captions and of the prompts are longer than the text tower reads."""
    part = model.tower(text)
    captions = [key[0] for i in range(len(dataset)) for key in dataset.options_of(i, text)]
    spoken = [sentence for sentences in prompts.values() for sentence in sentences]
    rows: list[list[str | float]] = []
    for name, texts in (("captions", captions), ("prompts", spoken)):
        cut = {one: part.processing.cuts(part.modality.load(one)) for one in dict.fromkeys(texts)}
        share = sum(cut[one] for one in texts) / len(texts) if texts else float("nan")
        rows.append([name, len(texts), len(cut), sum(cut.values()), share])
    note = "Share: of all, not of the distinct ones. Raise processing.max_length of the text tower if it can read more."
    return Table("Cut at the text limit", ["texts", "all", "distinct", "cut", "share"], rows, note)


def gap_of(model: AlignmentModel, dataset: AlignmentDataset, tower: str, text: str, embedded: Embedded) -> Table | None:
    """The gap between rows and their first captions; None where fewer than two rows have one.

    Args:
        model: the model.
        dataset: the split.
        tower: the rows' modality.
        text: the tower of captions.
        embedded: the rows, embedded before.
    """
    pairs = [(k, i) for k, i in enumerate(embedded.rows) if dataset.options_of(i, text)]
    if len(pairs) < 2 or text == tower:
        return None
    step = -(-len(pairs) // MOST_PAIRS)
    kept = pairs[::step]
    captions = [dataset.options_of(i, text)[0][0] for _, i in kept]
    derived = any(text not in dataset.manifest.rows[i].sources for _, i in kept)
    figures = gap_figures(embedded.embeddings[[k for k, _ in kept]], embed_texts(model, text, captions))
    return gap_table(figures, tower, text, len(kept), derived)


def embed_texts(model: AlignmentModel, text: str, texts: Sequence[str]) -> Tensor:
    """(N, dim) unit rows on the CPU; equal texts are encoded once."""
    distinct = list(dict.fromkeys(texts))
    place = {one: i for i, one in enumerate(distinct)}
    return model.embed(text, distinct)[[place[one] for one in texts]]
