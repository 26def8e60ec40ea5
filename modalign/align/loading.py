"""How batches are loaded: worker processes, prefetch and pinned memory, from the machine. No result depends on it."""

from __future__ import annotations

import os
from typing import Any, Literal

import torch
from torch.utils.data import get_worker_info

MOST = 8
SMALL = 1024
"""Rows below which starting processes takes longer than they save."""


def workers_for(said: int | Literal["auto"], rows: int, cached: bool, cores: int, device: str) -> int:
    """How many processes read and process rows.

    Args:
        said: the recipe's; "auto" chooses.
        rows: of the training.
        cached: whether every tower's features are at hand, so that there is nothing to read.
        cores: that this process may use.
        device: where training runs; on "cpu" it needs most cores itself.

    Example:
        >>> workers_for("auto", 100_000, False, 16, "cuda"), workers_for("auto", 100_000, False, 16, "cpu")
        (8, 4)
        >>> workers_for("auto", 500, False, 16, "cuda"), workers_for("auto", 100_000, True, 16, "cuda")
        (0, 0)
    """
    if said != "auto":
        return said
    if cached or rows < SMALL:
        return 0
    return min(MOST, cores // 4 if device == "cpu" else cores - 1)


def loader_options(
    said: int | Literal["auto"], rows: int, cached: bool, device: torch.device, processes: int = 1
) -> dict[str, Any]:
    """Options of a DataLoader for this machine, whose cores `processes` that train share; see `workers_for`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = workers_for(said, rows, cached, max(cores // processes, 1), device.type)
    options: dict[str, Any] = {"num_workers": workers, "pin_memory": device.type == "cuda"}
    if workers:
        options |= {"persistent_workers": True, "prefetch_factor": 2, "worker_init_fn": share_memory}
    return options


def share_memory(worker: int) -> None:
    """Called in each worker: the room for signals in memory is for all of them together."""
    info = get_worker_info()
    assert info is not None
    rows: Any = getattr(info.dataset, "rows", info.dataset)  # a process's `Shares` stand around them
    rows.budget //= info.num_workers
