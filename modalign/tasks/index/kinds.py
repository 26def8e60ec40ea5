"""The kinds of FAISS index: exact, a graph, or compressed cells (Douze et al. 2024, arXiv:2401.08281)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.errors import MissingExtraError, RecipeError

Array = NDArray[np.float32]
LEAST = 1000
"""Vectors that training the cells and codes of IVF-PQ needs."""


def faiss() -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import faiss as library
    except ImportError:
        raise MissingExtraError("an index", "index") from None
    return library


def flat(vectors: Array) -> Any:
    """Every vector is compared: exact."""
    index = faiss().IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def hnsw(vectors: Array) -> Any:
    """A graph of neighbours (Malkov and Yashunin 2018): fast, nearly exact, somewhat larger than the vectors."""
    index = faiss().IndexHNSWFlat(vectors.shape[1], 32, faiss().METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 200, 128
    index.add(vectors)
    return index


def ivfpq(vectors: Array) -> Any:
    """Cells of codes of a byte a part (Jegou et al. 2011): a tenth of the memory; the best are compared exactly.

    Raises:
        RecipeError: too few vectors to learn the codes from.
    """
    n, d = vectors.shape
    if n < LEAST:
        raise RecipeError(f"--kind ivfpq learns its codes from {LEAST:,} items or more, and there are {n:,}; take flat")
    cells = max(1, min(round(4 * math.sqrt(n)), n // 39))
    parts = max(m for m in range(1, d // 4 + 1) if d % m == 0)
    index = faiss().IndexIVFPQ(faiss().IndexFlatIP(d), d, cells, parts, 8, faiss().METRIC_INNER_PRODUCT)
    index.train(vectors[np.random.default_rng(0).permutation(n)[: 256 * cells]] if n > 256 * cells else vectors)
    index.add(vectors)
    index.nprobe = max(1, min(cells, 32))
    return index


KINDS: Mapping[str, Callable[[Array], Any]] = {"flat": flat, "hnsw": hnsw, "ivfpq": ivfpq}


def kind_for(items: int) -> str:
    """flat for up to 50,000 items, hnsw for up to a million, ivfpq beyond.

    Example:
        >>> [kind_for(n) for n in (1_000, 200_000, 5_000_000)]
        ['flat', 'hnsw', 'ivfpq']
    """
    return "flat" if items <= 50_000 else "hnsw" if items <= 1_000_000 else "ivfpq"
