"""What a process of the two-process tests does: its share of every case, saved for the test to put together."""

import inspect
import os
from datetime import timedelta

import torch
from torch import distributed as dist

from modalign.align.distributed import alone, over_all_rows
from modalign.align.losses import cwcl, dcl, dclw, infonce, siglip, supcon, tiles
from modalign.align.losses.gap import align, uniform, xuniform
from tests.align.losses.vectors import random_rows

ROWS, PROCESSES = 7, 2
SPLITS = {"uneven": (3, 4), "none on one": (7, 0)}
CHAINED = torch.tensor([[0, 5], [0, 6], [1, 6], [2, 7], [3, 8], [4, 5], [4, 9]])
GROUPS = {"none": None, "crossing": CHAINED}


def plain(x, y, scale, groups=None, power=2):
    """Any loss that is a function of all rows; not linear in them."""
    same = 0 if groups is None else (groups[:, None] == groups[None]).any(-1)
    return ((scale * x @ y.T + same).tanh() ** power).mean() + x.mean(0).square().sum()


LOSSES = {
    "infonce": (infonce, {}),
    "infonce x2y": (infonce, {"direction": "x2y"}),
    "infonce y2x, smoothed": (infonce, {"direction": "y2x", "smoothing": 0.1}),
    "siglip": (siglip, {}),
    "cwcl": (cwcl, {}),
    "cwcl y": (cwcl, {"trusted": "y"}),
    "supcon": (supcon, {}),
    "supcon cross": (supcon, {"form": "cross"}),
    "plain": (over_all_rows(plain), {"power": 3}),
    "align": (align, {}),
    "uniform": (uniform, {}),
    "xuniform": (xuniform, {}),
    "dcl": (dcl, {}),
    "dclw x2y": (dclw, {"direction": "x2y", "intra_negatives": False}),
}


def inputs(loss, rows=slice(None)):
    """The leaves of some of the rows."""
    given = {"x": random_rows(ROWS, 5, 1)[rows], "y": random_rows(ROWS, 5, 2)[rows]}
    given["scale"] = torch.tensor(3.0, dtype=torch.float64)
    given["bias"] = torch.tensor(-1.5, dtype=torch.float64)
    asked = inspect.signature(loss).parameters
    return {name: leaf.clone().requires_grad_() for name, leaf in given.items() if name in asked}


def computed(loss, options, groups, rows=slice(None)):
    """Value and gradients."""
    given = inputs(loss, rows)
    if "groups" in inspect.signature(loss).parameters:
        options = {"groups": None if groups is None else groups[rows], **options}
    value = loss(**given, **options)
    value.backward()
    return {"value": value.detach(), **{name: leaf.grad for name, leaf in given.items()}}


def work(rank, folder):
    """One process: every case, then what is refused."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    tiles._SIDE["cpu"] = 2
    meet = {"init_method": f"file://{folder}/meet", "rank": rank, "world_size": PROCESSES}
    dist.init_process_group("gloo", timeout=timedelta(minutes=4), **meet)
    found = {}
    for name, (loss, options) in LOSSES.items():
        for split, sizes in SPLITS.items():
            rows = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
            for ids, groups in GROUPS.items():
                found[f"{name}/{split}/{ids}"] = computed(loss, options, groups, rows)
        found[f"{name}/nothing"] = computed(loss, options, None, slice(0, 0))
        with alone():
            found[f"{name}/alone"] = computed(loss, options, None)
    try:
        computed(infonce, {}, CHAINED if rank else None)
    except ValueError as error:
        found["refused"] = str(error)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
