"""The embedding map: items and prompts in two dimensions, coloured by class and by modality."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modalign.align.diagnostics import centroid_distance
from modalign.errors import MissingExtraError, RecipeError, suggest
from modalign.tasks.evaluation import Evaluation
from modalign.tasks.report.drawing import BLUE, INK, LINE, RED, Chart, colour, padded
from modalign.tasks.report.markup import chart, esc

Array = NDArray[Any]
MOST = 2000
NUMBERED = 60
SEVERAL = "#9aa3af"


def pca(rows: Array) -> tuple[Array, str]:
    """The two directions of greatest variance of (N, d) rows: (N, 2), and what was done."""
    centred = rows - rows.mean(0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    kept = (values[:2] ** 2).sum() / max(float((values**2).sum()), 1e-12)
    placed = centred @ axes[:2].T
    placed *= np.sign(axes[:2][np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(1)])  # the sign is arbitrary: fix it
    if placed.shape[1] < 2:
        placed = np.pad(placed, ((0, 0), (0, 2 - placed.shape[1])))
    return placed, f"Principal components; the two axes hold {kept:.0%} of the variance"


def umap(rows: Array) -> tuple[Array, str]:
    """UMAP (McInnes et al. 2018) by cosine, with a fixed seed: (N, 2), and what was done.

    Raises:
        MissingExtraError: umap-learn is not installed.
    """
    neighbours = min(15, len(rows) - 1)
    reducer = _umap().UMAP(n_neighbors=neighbours, metric="cosine", random_state=0, n_jobs=1)
    return np.asarray(reducer.fit_transform(rows)), (
        f"UMAP by cosine, {neighbours} neighbours, seed 0; distances between groups and the groups' sizes mean little"
    )


def _umap() -> Any:
    try:
        import umap as package
    except ImportError:
        raise MissingExtraError("A UMAP map", "umap") from None
    return package


Projection = Callable[[Array], tuple[Array, str]]
PROJECTIONS: dict[str, Projection] = {"pca": pca, "umap": umap}


def check_projection(name: str) -> None:
    """Refuse a map that cannot be drawn, before anything is computed.

    Raises:
        RecipeError: there is none of that name.
        MissingExtraError: its package is not installed.
    """
    if name not in PROJECTIONS:
        raise RecipeError(f"--map {name!r} is not known: {suggest(name, PROJECTIONS)}")
    if name == "umap":
        _umap()


def map_section(evaluation: Evaluation, projection: str) -> str:
    """Two maps side by side and their key; empty where the evaluation holds no embeddings."""
    if evaluation.embeddings is None or len(evaluation.embeddings) != len(evaluation.rows) or len(evaluation.rows) < 3:
        return ""
    items = evaluation.embeddings.numpy()
    labels = [row.labels for row in evaluation.rows]
    note = ""
    if len(items) > MOST:
        kept = np.sort(np.random.default_rng(0).choice(len(items), MOST, replace=False))
        items, labels = items[kept], [labels[k] for k in kept]
        note = f"{MOST:,} rows drawn at random of {len(evaluation.rows):,}."
    prompts = evaluation.classes.numpy() if evaluation.classes is not None else np.zeros((0, items.shape[1]))
    pictures = _by_class(evaluation, items, prompts, labels, PROJECTIONS[projection])
    if len(prompts):
        pictures += _by_modality(items, prompts, PROJECTIONS[projection])
    return f"<h3>Map of embeddings</h3><p class='soft'>{esc(note)}</p><div class='charts'>{pictures}</div>"


def _placed(items: Array, prompts: Array, project: Projection) -> tuple[Chart, Array, Array, str]:
    """An empty chart, the places of items and of prompts, and how they were found."""
    placed, how = project(np.concatenate([items, prompts]))
    drawn = Chart(padded(placed[:, 0]), padded(placed[:, 1]), (460, 400), (8, 8, 8, 8))
    drawn.parts.append(f"<rect x='.5' y='.5' width='459' height='399' rx='4' fill='none' stroke='{LINE}'/>")
    return drawn, placed[: len(items)], placed[len(items) :], how


def _centred(rows: Array) -> Array:
    """About their mean, and of the same spread as any other modality's rows."""
    if len(rows) < 2:
        return rows
    centred = rows - rows.mean(0)
    scaled: Array = centred / max(float(np.sqrt((centred**2).sum(1).mean())), 1e-12)
    return scaled


def _by_class(
    evaluation: Evaluation, items: Array, prompts: Array, labels: list[tuple[str, ...]], project: Projection
) -> str:
    drawn, dots, marks, how = _placed(_centred(items), _centred(prompts), project)
    count = len(evaluation.labels)
    several = np.array([len(of_row) > 1 for of_row in labels])
    if several.any():
        drawn.dots(dots[several], SEVERAL, 5, 0.6)
    shown = []
    for c, label in enumerate(evaluation.labels):
        own = np.array([of_row == (label,) for of_row in labels])
        if own.any():
            drawn.dots(dots[own], colour(c, count))
            shown.append((c, np.median(dots[own], 0)))
    for c, (x, y) in enumerate(marks):
        drawn.diamond(x, y, colour(c, count))
    if count <= NUMBERED:
        for c, (x, y) in shown:
            drawn.words(drawn.px(x), drawn.py(y) + 4, str(c + 1), "middle", 13, INK)
        for c, (x, y) in enumerate(marks):
            drawn.words(drawn.px(x) + 8, drawn.py(y) + 4, str(c + 1), "start", 11, INK)
    keys = "".join(
        f"<li>{_swatch(colour(c, count))}{f'{c + 1} ' if count <= NUMBERED else ''}{esc(label)}</li>"
        for c, label in enumerate(evaluation.labels)
    )
    if several.any():
        keys += f"<li>{_swatch(SEVERAL)}several labels</li>"
    numbered = " Numbers stand at the middle of a class." if count <= NUMBERED else ""
    about = " Diamonds: the classes' prompts. Each modality about its own mean, and of equal spread."
    said_of = f"{how}.{about if len(marks) else ''}"
    said = f"Map of {len(dots)} recordings of {count} classes, coloured by class"
    return chart(drawn.svg(said), "By class", f"{esc(said_of)}{numbered}<ul class='key'>{keys}</ul>")


def _by_modality(items: Array, prompts: Array, project: Projection) -> str:
    """As the embeddings are, so that the gap between the modalities shows."""
    drawn, dots, marks, how = _placed(items, prompts, project)
    distance = centroid_distance(torch.from_numpy(items), torch.from_numpy(prompts))
    gap = f"{how}. The means of recordings and of prompts are {distance:.3f} apart (0: no gap; 2: opposite)."
    drawn.dots(dots, BLUE, 5, 0.5)
    for x, y in marks:
        drawn.diamond(x, y, RED)
    keys = f"<li>{_swatch(BLUE)}recordings</li><li>{_swatch(RED, True)}prompts (text)</li>"
    said = f"Map of {len(dots)} recordings and {len(marks)} prompts, coloured by modality. {gap}"
    return chart(drawn.svg(said), "By modality", f"{esc(gap)}<ul class='key'>{keys}</ul>")


def _swatch(fill: str, diamond: bool = False) -> str:
    shape = "<path d='M7 1l6 6-6 6-6-6z'/>" if diamond else "<circle cx='7' cy='7' r='5'/>"
    return f"<svg viewBox='0 0 14 14' fill='{fill}' aria-hidden='true'>{shape}</svg>"
