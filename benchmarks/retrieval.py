"""How much memory and time the search of N x N takes, beside the target of 2 GB for 100,000 x 100,000.

    python -m benchmarks.retrieval [--json] [--items N] [--queries Q] [--dim D] [--threads N] [--collapsed]

Queries are scored a chunk at a time, and what a chunk takes is given back before the next: peak memory depends on the
gallery's size and not on how many queries are asked. With `--queries` under `--items` only so many are asked, `part` is
true, and `whole_seconds` is extrapolated.

JSON keys: `items`, `queries`, `dim`, `threads`, `part`, `collapsed` (all embeddings are equal: the worst case of equal
scores), `extra_gb` (peak resident memory over what was there with the embeddings loaded, sampled every 2 ms),
`embeddings_gb` (of queries and gallery, not in `extra_gb`), `seconds`, `matmul_seconds` (the same chunks' inner
products alone), `whole_seconds`, `R@1`.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from modalign.align.metrics import retrieval_figures, search_ranks
from modalign.align.metrics.retrieval import BUDGET

TARGET_GB = 2.0


def resident() -> int:
    """Bytes of this process in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The most memory held while it is open, over what was held before."""

    def __enter__(self) -> Peak:
        self.before = self.most = resident()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.over.wait(0.002):
            self.most = max(self.most, resident())

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    @property
    def extra(self) -> int:
        """Bytes."""
        return self.most - self.before


def measure(items: int, queries: int, dim: int, collapsed: bool) -> dict[str, Any]:
    """Search `items` rows for the first `queries` of noisy copies of them."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(items, dim, generator=generator)
    x = y[:queries] + 2 * torch.randn(queries, dim, generator=generator)
    x, y = (F.normalize(torch.ones_like(z) if collapsed else z, dim=1) for z in (x, y))
    search_ranks(x[:8], y[:100], [(range(8), range(100))])  # what torch loads once
    with Peak() as peak:
        start = time.perf_counter()
        found = search_ranks(x, y, [(range(queries), range(items))])
        seconds = time.perf_counter() - start
    start, chunk = time.perf_counter(), max(1, min(1024, BUDGET // items))
    for at in range(0, queries, chunk):
        x[at : at + chunk] @ y.T
    matmul = time.perf_counter() - start
    return {
        "items": items,
        "queries": queries,
        "dim": dim,
        "threads": torch.get_num_threads(),
        "part": queries < items,
        "collapsed": collapsed,
        "extra_gb": peak.extra / 1e9,
        "embeddings_gb": (x.numel() + y.numel()) * 4 / 1e9,
        "seconds": seconds,
        "matmul_seconds": matmul,
        "whole_seconds": seconds * items / queries,
        "R@1": retrieval_figures(found).recall[1],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--queries", type=int, help="default: all")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--collapsed", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    figures = measure(given.items, min(given.queries or given.items, given.items), given.dim, given.collapsed)
    if given.json:
        print(json.dumps(figures))
    else:
        asked = (
            f" ({figures['queries']:,} queries asked; the rest would need no more memory)" if figures["part"] else ""
        )
        print(f"search {given.items:,} x {given.items:,}, d = {given.dim}{asked}")
        print(f"extra memory   {figures['extra_gb']:.2f} GB (target: under {TARGET_GB:.0f}; embeddings: "
              f"{figures['embeddings_gb']:.2f} GB)")  # fmt: skip
        print(f"time           {figures['seconds']:.1f} s, of it inner products {figures['matmul_seconds']:.1f} s")
        if figures["part"]:
            print(f"all queries    {figures['whole_seconds']:.0f} s, extrapolated")
