"""Solving the projections that a recipe does not train, from the frozen features of the training rows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.align.cache import FeatureTable
from modalign.align.config import Recipe
from modalign.align.data import AlignmentDataset, Key
from modalign.align.model import AlignmentModel
from modalign.errors import ManifestError


def solve_projections(
    model: AlignmentModel, rows: AlignmentDataset, tables: Mapping[str, FeatureTable], recipe: Recipe
) -> list[str]:
    """Whiten first, then regress on what was whitened; towers that training goes on from keep theirs.

    Args:
        model: its projections are changed in place.
        rows: the training rows.
        tables: the frozen towers' features of these rows.
        recipe: which towers are solved, and how they are paired.

    Returns:
        What the user should be told.

    Raises:
        ManifestError: fewer than two rows to regress on.
    """
    notes = []
    new = [name for name in model.towers if name not in model.started]
    for name in [n for n in new if model.tower(n).config.projection.solve == "whiten"]:
        shares = item_shares(rows, name)
        weights = torch.tensor(list(shares.values()), dtype=torch.float64)
        model.tower(name).projection.whiten(tables[name].take(list(shares)), weights)
    for name in [n for n in new if model.tower(n).config.projection.solve == "ridge"]:
        own, targets, groups = regression(model, rows, tables, name, recipe.partners(name))
        found = model.tower(name).projection.regress(own, targets, groups)
        held = "" if found.explained is None else f"; explains {found.explained:.1%} of the captions in held-out groups"
        notes.append(f"{name}: ridge regression on {len(own):,} rows, penalty {found.penalty:.1e}{held}")
    return notes


def item_shares(rows: AlignmentDataset, tower: str) -> dict[Key, float]:
    """How much each distinct item counts: every row's items share one."""
    shares: dict[Key, float] = {}
    for i in range(len(rows)):
        options = rows.options_of(i, tower)
        for key in options:
            shares[key] = shares.get(key, 0.0) + 1 / len(options)
    return shares


def regression(
    model: AlignmentModel,
    rows: AlignmentDataset,
    tables: Mapping[str, FeatureTable],
    tower: str,
    partners: Mapping[str, float],
) -> tuple[Tensor, Tensor, list[str]]:
    """Features (N, width), targets (N, dim) and groups of the rows that have this tower and one that it is paired with.

    A row's target is the direction of its partners' mean embedding, over all captions that it may be given.
    """
    features, targets, groups = [], [], []
    for i, row in enumerate(rows.manifest.rows):
        own = rows.options_of(i, tower)
        parts = []
        for other, weight in partners.items():
            options = rows.options_of(i, other)
            if own and options:
                pooled = tables[other].take(options).to(model.device)
                parts.append(weight * model.tower(other).project(pooled).mean(0))
        if parts:
            features.append(tables[tower].take(own).mean(0))
            targets.append(F.normalize(torch.stack(parts).sum(0), dim=0).detach().cpu())
            groups.append(row.group or row.cluster or row.id)
    if len(features) < 2:
        raise ManifestError(f"{rows.manifest.path}: {len(features)} rows to regress {tower!r} on; it needs two or more")
    return torch.stack(features), torch.stack(targets), groups
