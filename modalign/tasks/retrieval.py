"""Retrieval between any two towers, or within one: what of a split finds its own, in both directions."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.align.data import AlignmentDataset
from modalign.align.embed import Advance, check_finite
from modalign.align.manifest import Manifest, Row
from modalign.align.metrics import cluster_bootstrap, retrieval_figures, search_ranks
from modalign.align.metrics.retrieval import AnyOf, Found, Keys, expected_rank, hit_probability, reciprocal_rank
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError, RecipeError
from modalign.tasks.evaluate import MODEL, dataset_of
from modalign.tasks.evaluation import Evaluation, Result, Table, interval_note, protocol_of, unit_of_resampling

Same = Literal["item", "label", "group"]
KS = (1, 5, 10)


@dataclass(frozen=True)
class Side:
    """What one tower brings to a search: an entry a recording, or a caption.

    Attributes:
        rows: position of each entry's row.
        contents: what makes entries equal.
        embeddings: (N, dim) unit rows.
        derived: how many entries are captions made from labels.
    """

    rows: list[int]
    contents: list[str]
    embeddings: Tensor
    derived: int = 0


@dataclass(frozen=True)
class Direction:
    """One direction of a search: its name, its figures, and a row for each query."""

    name: str
    evaluation: Evaluation
    ranks: pd.DataFrame


def embed_side(
    model: AlignmentModel, dataset: AlignmentDataset, tower: str, rows: Sequence[int], advance: Advance | None = None
) -> Side:
    """Embed the entries of these rows: the recording, or every caption of the row's own (else the first made one).

    Each distinct entry is encoded once.

    Raises:
        ReadError: a source cannot be read.
    """
    part = model.tower(tower)
    place: list[int] = []
    keys: list[Any] = []
    derived = 0
    for i in rows:
        own = dataset.options_of(i, tower)
        if not part.modality.is_path and not dataset.manifest.rows[i].sources.get(tower):
            own, derived = own[:1], derived + 1
        place += [i] * len(own)
        keys += own
    first: dict[Any, int] = {}
    for i, key in zip(place, keys):
        first.setdefault(key, i)
    distinct, chunks = list(first), []
    for start in range(0, len(distinct), 256):
        batch = distinct[start : start + 256]
        chunks.append(model.embed(tower, [dataset.signal(first[key], tower, key) for key in batch]))
        if advance:
            advance(len(batch))
    number = {key: n for n, key in enumerate(distinct)}
    whole = torch.cat(chunks) if chunks else torch.zeros(0, model.dim)
    check_finite(whole, [dataset.manifest.rows[i].id for i in first.values()], tower)
    embeddings = whole[torch.tensor([number[key] for key in keys], dtype=torch.long)]
    return Side(place, [dataset.content(key) for key in keys], embeddings, derived)


def relevance(queries: Side, gallery: Side, rows: Sequence[Row], same: Same, within: bool) -> Keys:
    """The keys by which a gallery's entry is relevant to a query's.

    By item: what stands in one row with the query, or with a copy of it (equal text, equal samples); and every copy of
    that, whatever stands in its own row. By label or group: rows with the same ones; those without find nothing.
    """
    if same != "item":
        return _shared(queries.rows, rows, same, "q"), _shared(gallery.rows, rows, same, "g")
    if within:
        return queries.contents, gallery.contents
    said: dict[int, list[str]] = {}
    for row, content in zip(gallery.rows, gallery.contents):
        said.setdefault(row, []).append(content)
    paired: dict[str, dict[str, None]] = {}
    for row, content in zip(queries.rows, queries.contents):
        paired.setdefault(content, {}).update(dict.fromkeys(said.get(row, [])))
    keys = {content: AnyOf(found) for content, found in paired.items()}
    return [keys[content] for content in queries.contents], gallery.contents


def own_recording(side: Side, rows: Sequence[Row]) -> Keys | None:
    """What hides a query's own recording (cluster) from it, where any has more entries than one."""
    clusters = [rows[i].cluster for i in side.rows]
    if len(set(filter(None, clusters))) == sum(map(bool, clusters)):
        return None
    return tuple([cluster or (which, n) for n, cluster in enumerate(clusters)] for which in "qg")  # type: ignore[return-value]


def _shared(places: Sequence[int], rows: Sequence[Row], same: Same, side: str) -> list[Hashable]:
    values: list[Hashable] = [frozenset(rows[i].labels) if same == "label" else rows[i].group for i in places]
    return [value or (side, n) for n, value in enumerate(values)]


def evaluate_retrieval(
    model: AlignmentModel,
    manifest: Manifest,
    source: str,
    target: str,
    split: str = "test",
    *,
    same: Same = "item",
    untrained: AlignmentModel | None = None,
    advance: Advance | None = None,
) -> list[Direction]:
    """Search a split from one tower to the other and back, or within one tower.

    Args:
        model: the model.
        manifest: all rows.
        source: the tower of the queries.
        target: the tower that is searched; the same one: every entry among the others.
        split: test, val, train or all.
        same: what is relevant: the same item (caption, recording), label or group.
        untrained: the baseline with random encoders, if there is one.
        advance: called with the entries embedded.

    Returns:
        The directions: each an Evaluation whose table has R@1, 5, 10, MRR, median rank and mAP@10, and ranks by query.

    Raises:
        ManifestError: under two rows have both.
        ModelError: no such tower.
    """
    sides = [model.tower(name).modality.name for name in (source, target)]
    part = manifest.split(split)
    methods = {"untrained": untrained, MODEL: model} if untrained is not None else {MODEL: model}
    found: dict[str, dict[str, Side]] = {}
    rows: list[int] = []
    for name, one in methods.items():
        dataset = dataset_of(one, part)
        rows = [i for i in range(len(part.rows)) if all(dataset.options_of(i, tower) for tower in (source, target))]
        if len(rows) < 2:
            raise ManifestError(
                f"{manifest.path}: {len(rows)} rows of split {split!r} have both {source} and {target}; retrieval "
                "needs two or more"
            )
        found[name] = {
            tower: embed_side(one, dataset, tower, rows, advance) for tower in dict.fromkeys([source, target])
        }
    within = source == target
    directions = [(source, target)] if within else [(source, target), (target, source)]
    measured = []
    for a, b in directions:
        searches = {name: _search(towers[a], towers[b], part.rows, same, within) for name, towers in found.items()}
        own = found[MODEL]
        nothing = Side(own[a].rows, own[a].contents, torch.zeros_like(own[a].embeddings))
        chance = _search(nothing, own[b], part.rows, same, within)
        notes = _notes(model, own, part, same, within)
        title = f"Retrieval of {sides[1 if a == source else 0]} by {sides[0 if a == source else 1]}, split {split}"
        evaluation = _evaluation(title, chance, searches, own[a], part, model, manifest, split, same, notes)
        measured.append(Direction(f"{a}_to_{b}", evaluation, ranks_table(searches[MODEL], evaluation.rows)))
    return measured


def _search(queries: Side, gallery: Side, rows: Sequence[Row], same: Same, within: bool) -> Found:
    keys = relevance(queries, gallery, rows, same, within)
    hidden = own_recording(queries, rows) if within and same != "item" else None
    return search_ranks(queries.embeddings, gallery.embeddings, [keys], depth=10, itself=within, hidden=hidden)


def _notes(model: AlignmentModel, sides: Mapping[str, Side], part: Manifest, same: Same, within: bool) -> list[str]:
    equal = "Equal scores count as random order would have them."
    if same == "item":
        notes = [f"Rows with an equal caption or equal samples are all relevant. {equal}"]
    else:
        notes = [f"Rows with the same {same} are all relevant. {equal}"]
        side = next(iter(sides.values()))
        if within and own_recording(side, part.rows):
            notes.append("Other entries of a query's own recording (cluster) are not in its gallery.")
        elif within and not any(part.rows[i].cluster for i in side.rows):
            notes.append(
                "No row names its recording (cluster): windows of one recording, if there are, find each other."
            )
    made = sum(side.derived for side in sides.values())
    if made:
        notes.append(f"Label-derived: {made} of {len(part.rows)} captions were made from labels, so many are equal.")
    texts = [side for name, side in sides.items() if not model.tower(name).modality.is_path]
    return [*notes, *(said for side in texts for said in _label_sentences(side, part.rows))]


def _label_sentences(side: Side, rows: Sequence[Row]) -> list[str]:
    """A note where captions that the manifest gives say no more than labels do: few, each of one label only.

    A heuristic: captions are heard in two rows or more on average, and never with two labels.
    """
    labels: dict[str, set[tuple[str, ...]]] = {}
    given = side.derived < len(side.rows)
    for row, content in zip(side.rows, side.contents):
        labels.setdefault(content, set()).add(rows[row].labels)
    bound = all(len(of) == 1 and all(of) for of in labels.values())
    if not given or not bound or 2 * len(labels) > len(side.rows):
        return []
    return [
        f"Label-derived, as it seems: {len(labels)} distinct captions for {len(side.rows)} rows, each with one label "
        "only. A model that knows the label finds them all."
    ]


def _evaluation(
    title: str,
    chance: Found,
    searches: Mapping[str, Found],
    queries: Side,
    part: Manifest,
    model: AlignmentModel,
    manifest: Manifest,
    split: str,
    same: Same,
    notes: Sequence[str],
) -> Evaluation:
    rows = [part.rows[i] for i in queries.rows]
    has = (searches[MODEL].relevant > 0).numpy()
    units = unit_of_resampling(rows)[0]
    said = [*notes, interval_note(rows)]
    distinct = len(set(queries.contents))
    if same == "item" and distinct < len(set(units)):  # copies of a query succeed or fail together
        units = queries.contents
        said.append(f"R@1's interval is by bootstrap over the {distinct:,} distinct queries: copies share their fate.")
    units = [u for u, kept in zip(units, has) if kept]
    if not has.any():
        raise ManifestError(f"{manifest.path}: no row of split {split!r} has another with the same {same} to find")
    results = [Result("chance", retrieval_figures(chance).recall[1], note="all scores equal")]
    lines: list[list[str | float]] = [["chance", *retrieval_figures(chance).as_dict().values()]]
    for name, search in searches.items():
        hits = hit_probability(search, 1).numpy()[has]
        interval = cluster_bootstrap(lambda index, hits=hits: float(hits[index].mean()), units)  # type: ignore[misc]
        note = "frozen random encoder, trained projection" if name == "untrained" else ""
        results.append(Result(name, float(hits.mean()), interval, note=note))
        lines.append([name, *retrieval_figures(search).as_dict().values()])
    columns = ["method", *retrieval_figures(chance).as_dict()]
    kept = int(has.sum())
    if kept < len(has):
        said.append(f"{len(has) - kept} of {len(has)} queries have nothing to find, and are left out.")
    return Evaluation(
        title,
        protocol_of(model.record, manifest, split),
        "R@1",
        [],
        rows,
        results,
        said,
        [Table("All figures", columns, lines, f"Relevant: the same {same}.")],
    )


def ranks_table(found: Found, rows: Sequence[Row]) -> pd.DataFrame:
    """A row a query: id, group, relevant rows, expected rank of the first, P(hit at 1, 5, 10), AP@10."""
    has = (found.relevant > 0).numpy()
    columns: dict[str, Any] = {
        "id": [row.id for row in rows],
        "group": [row.group for row in rows],
        "relevant": found.relevant.numpy(),
        "rank": np.where(has, expected_rank(found).numpy(), np.nan),
        "reciprocal": np.where(has, reciprocal_rank(found).numpy(), np.nan),
        f"AP@{found.depth}": np.where(has, found.precision.numpy(), np.nan),
    }
    columns |= {f"hit@{k}": np.where(has, hit_probability(found, k).numpy(), np.nan) for k in KS}
    return pd.DataFrame(columns)


def combine(model: AlignmentModel, parts: Sequence[tuple[str, Any, float]], **fields: Mapping[str, Any]) -> Tensor:
    """One query (1, dim) out of several: the weighted sum of their embeddings, of unit length.

    Args:
        model: the model.
        parts: (tower, source, weight); a negative weight takes something away.
        fields: tower -> what a manifest would say of its sources.

    Example:
        >>> combine(model, [("ecg", "a.hea", 1), ("text", "sinus rhythm", -0.5)])      # doctest: +SKIP

    Raises:
        ReadError: a source cannot be read.
        RecipeError: the parts cancel out, so that no direction is left to search in.
    """
    embedded = [weight * model.embed(tower, [source], **dict(fields.get(tower, {}))) for tower, source, weight in parts]
    total = torch.stack(embedded).sum(0)
    if not total.norm() > 1e-4 * sum(abs(weight) for _, _, weight in parts):
        raise RecipeError("the parts of the query cancel out, and nothing is left to look for; change them or weights")
    return F.normalize(total, dim=-1)


def save_retrieval(folder: Path, directions: Sequence[Direction], extra: Mapping[str, Any] | None = None) -> None:
    """Write `metrics.json`, and a `DIRECTION_ranks.parquet` from which its figures can be computed again."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = {**(extra or {}), **{direction.name: direction.evaluation.as_dict() for direction in directions}}
    (folder / "metrics.json").write_text(json.dumps(tree, indent=1))
    for direction in directions:
        direction.ranks.to_parquet(folder / f"{direction.name}_ranks.parquet", index=False)
