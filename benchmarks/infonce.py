"""InfoNCE and SigLIP of a large batch beside open_clip's, forward and backward, in float32.

    python -m benchmarks.infonce --batch N [--dim 512] [--loss infonce|siglip] [--runs 5] [--threads 2] [--json]
    python -m benchmarks.infonce --memory [--json]

JSON keys: `time_ratio` (theirs / ours; medians of alternating runs on the same rows), `memory_ratio` (theirs / ours;
each in a process of its own, the peak resident memory of one forward and backward above what was resident before it),
`floor_ratio` (ours / the four products of B x B x D that any exact form needs, measured in the same runs),
`max_grad_rel_err` (largest difference of a gradient of x, y, scale or bias, relative to the largest entry of theirs),
and the figures they are made of. `--memory`: `memory`, our additional megabytes for B = 4096 to 65536 (linear).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import alternate, resident
from modalign.align.losses import infonce, siglip

BATCHES = (4096, 8192, 16384, 32768, 65536)
SCALE, BIAS = 14.3, -10.0


def inputs(batch: int, dim: int, loss: str) -> dict[str, Tensor]:
    """Pairs whose cosines are about 0.5, as in the midst of a training."""
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(batch, dim, generator=generator), dim=1)
    y = torch.nn.functional.normalize(x + torch.randn(batch, dim, generator=generator) * (3 / dim) ** 0.5, dim=1)
    leaves = {"x": x, "y": y, "scale": torch.tensor(SCALE)}
    if loss == "siglip":
        leaves["bias"] = torch.tensor(BIAS)
    return {name: leaf.requires_grad_() for name, leaf in leaves.items()}


def losses(loss: str) -> dict[str, Callable[[dict[str, Tensor]], Tensor]]:
    """Ours and theirs, as functions of the inputs."""
    from open_clip.loss import ClipLoss, SigLipLoss

    if loss == "infonce":
        clip = ClipLoss()
        return {"ours": lambda t: infonce(**t), "theirs": lambda t: clip(t["x"], t["y"], t["scale"])}
    sigmoid = SigLipLoss()
    return {"ours": lambda t: siglip(**t), "theirs": lambda t: sigmoid(t["x"], t["y"], t["scale"], t["bias"])}


def floor(given: dict[str, Tensor], square: Tensor) -> None:
    """The products that are left when all else costs nothing: one forward, and its remaking and two backward."""
    x, y = given["x"].detach(), given["y"].detach()
    torch.mm(x, y.T, out=square)
    torch.mm(x, y.T, out=square)
    torch.mm(square, y)
    torch.mm(square.T, x)


def step(function: Callable[[dict[str, Tensor]], Tensor], given: dict[str, Tensor]) -> None:
    """Forward and backward."""
    for leaf in given.values():
        leaf.grad = None
    function(given).backward()  # type: ignore[no-untyped-call]


def measure(batch: int, dim: int = 512, loss: str = "infonce", runs: int = 5, threads: int = 2) -> dict[str, Any]:
    """All figures of one size."""
    torch.set_num_threads(threads)
    given, functions = inputs(batch, dim, loss), losses(loss)
    grads: dict[str, dict[str, Tensor]] = {}
    for name, function in functions.items():
        step(function, given)
        grads[name] = {key: leaf.grad.clone() for key, leaf in given.items() if leaf.grad is not None}
    errors = [float((grads["ours"][k] - g).abs().max() / g.abs().max()) for k, g in grads["theirs"].items()]
    seconds = timed(functions, given, runs)
    memory = {name: additional_memory(name, batch, dim, loss, threads) for name in functions}
    return {
        "time_ratio": seconds["theirs"] / seconds["ours"],
        "memory_ratio": memory["theirs"] / memory["ours"],
        "floor_ratio": seconds["ours"] / seconds["floor"],
        "max_grad_rel_err": max(errors),
        **{f"{name}_seconds": value for name, value in seconds.items()},
        **{f"{name}_mb": value for name, value in memory.items()},
        "batch": batch,
        "dim": dim,
        "loss": loss,
        "runs": runs,
        "threads": threads,
    }


def timed(functions: dict[str, Any], given: dict[str, Tensor], runs: int) -> dict[str, float]:
    """Median seconds of the floor, ours and theirs."""
    product = torch.empty(len(given["x"]), len(given["x"]))
    work: dict[str, Callable[[], None]] = {
        "floor": lambda: floor(given, product),
        "ours": lambda: step(functions["ours"], given),
        "theirs": lambda: step(functions["theirs"], given),
    }
    return alternate(work, runs)


def additional_memory(which: str, batch: int, dim: int, loss: str, threads: int) -> float:
    """Megabytes that one forward and backward adds, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.infonce", "--only", which, "--batch", str(batch), "--dim", str(dim)]
    command += ["--loss", loss, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return float(done.stdout)


def peak_of(which: str, batch: int, dim: int, loss: str, threads: int) -> float:
    """The same, in this process."""
    torch.set_num_threads(threads)
    function = losses(loss)[which]
    step(function, inputs(64, dim, loss))  # what libraries set up at the first call is not the loss's
    given = inputs(batch, dim, loss)
    before = resident("VmRSS")
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again from here
    step(function, given)
    return resident("VmHWM") - before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--loss", choices=("infonce", "siglip"), default="infonce")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory", action="store_true", help="our additional memory for B = 4096 to 65536")
    parser.add_argument("--only", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    if args.only:
        print(peak_of(args.only, args.batch, args.dim, args.loss, args.threads))
    elif args.memory:
        used = {b: round(additional_memory("ours", b, args.dim, args.loss, args.threads), 1) for b in BATCHES}
        if args.json:
            print(json.dumps({"memory": used, "loss": args.loss, "dim": args.dim}))
        else:
            print("\n".join(f"B = {b:6d}  {mb:8.1f} MB additional" for b, mb in used.items()))
    else:
        figures = measure(args.batch, args.dim, args.loss, args.runs, args.threads)
        if args.json:
            print(json.dumps(figures))
        else:
            for name, peer in (("time", "1.7"), ("memory", "15")):
                print(f"{name:6s} {figures[f'{name}_ratio']:5.2f} times less than open_clip (target: {peer})")
            print(f"floor  {figures['floor_ratio']:5.2f} of four matrix products (target: at most 1.2)")
            print(f"error  {figures['max_grad_rel_err']:.1e} of the largest gradient")
            print(", ".join(f"{k} {figures[k]:.3f}" for k in figures if k.endswith(("_seconds", "_mb"))))
