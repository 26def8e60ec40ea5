"""An index that is open for searching."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from modalign.align.model import AlignmentModel
from modalign.errors import ModelError, RecipeError, suggest
from modalign.tasks.index.identity import identity_of
from modalign.tasks.index.store import Stored, read_index

REFINED = 10
"""Candidates a wanted hit that an approximate kind proposes, and that are then compared exactly."""


class Index:
    """Embeddings of one tower's items, searched by inner product.

    Args:
        stored: what `read_index` gave.

    Attributes:
        tower: whose items these are.
        kind: flat, hnsw or ivfpq.
        items: a row an item: id, content, and the manifest's columns.

    Example:
        >>> index = Index.load("clips", model)                                    # doctest: +SKIP
        >>> index.search(model.embed("text", ["a dog barks"]), 5)[0]              # doctest: +SKIP
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.tower = str(stored.about["tower"])
        self.kind = str(stored.about["kind"])
        self.items = stored.items

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def load(cls, folder: str | Path, model: AlignmentModel | None = None) -> Self:
        """Open an index, its files checked against their hashes, and its model's hash against `model`.

        Raises:
            ModelError: it is damaged, or another model's.
        """
        stored = read_index(Path(folder))
        if model is not None and stored.about["model"] != identity_of(model):
            raise ModelError(
                f"{folder}: the index is of another model ({stored.about['model_name']}), whose space is another; "
                "search with that model, or build the index again"
            )
        return cls(stored)

    def search(self, queries: Tensor, top: int = 10, where: Mapping[str, str] | None = None) -> list[pd.DataFrame]:
        """The best items of each query.

        Args:
            queries: (N, dim) unit rows.
            top: items a query.
            where: column -> value: only items with it, all of which are compared.

        Returns:
            A table a query, best first: `score` and the items' columns.

        Raises:
            RecipeError: no such column.
        """
        vectors = np.ascontiguousarray(queries.detach().cpu().float().numpy())
        if where:
            kept = self._rows(where)
            return [self._best(query, kept, top) for query in vectors]
        if self.kind == "flat":
            scores, places = self._stored.vectors.search(vectors, min(top, len(self)))
            return [self._table(p, s) for p, s in zip(places, scores)]
        _, candidates = self._stored.vectors.search(vectors, min(top * REFINED, len(self)))
        return [self._best(query, rows[rows >= 0], top) for query, rows in zip(vectors, candidates)]

    def _rows(self, where: Mapping[str, str]) -> NDArray[np.int64]:
        kept = np.ones(len(self), dtype=bool)
        for column, value in where.items():
            if column not in self.items:
                raise RecipeError(f"--where: the index has no column {column!r}; {suggest(column, self.items.columns)}")
            kept &= (self.items[column].astype(str) == value).to_numpy()
        return kept.nonzero()[0]

    def _best(self, query: NDArray[np.float32], rows: NDArray[np.int64], top: int) -> pd.DataFrame:
        rows = np.sort(rows)
        scores = self._stored.embeddings[rows] @ query
        order = np.argsort(-scores, kind="stable")[:top]
        return self._table(rows[order], scores[order])

    def _table(self, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> pd.DataFrame:
        table = self.items.iloc[rows].drop(columns="content").reset_index(drop=True)
        table.insert(0, "score", scores)
        return table

    def about(self) -> dict[str, Any]:
        """What the index is of: model, tower, kind, count."""
        return {k: v for k, v in self._stored.about.items() if k != "files"}
