"""Diagnostics while training: the gap and similarities at evaluations, gradients by tower, and what looks wrong."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from modalign.align.config import Pair
from modalign.align.diagnostics import gap_figures, mean_cosine, similarities
from modalign.align.model import AlignmentModel

SAMPLE = 1024
"""Rows of a pair that an evaluation looks at, evenly spaced: their cost stays small however large val is."""
COLLAPSED = 0.99
"""Mean cosine of a tower's different items from which it counts as collapsed,"""
APART = 0.6
"""unless so large a share of other items is farther from a row than its own: small differences may say enough."""
RAILED = 3
"""Logged steps in a row at which the temperature is at a bound until that is said."""


class TrainingWarning(UserWarning):
    """Training goes on, but what it makes may be of little use."""


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers says no types
    """What the trainer logs beside the loss, and warnings with their likely cause, each once a run.

    At logged steps: `gradient/TOWER` (norm before clipping), `temperature`, `rows/A-B` (a batch's, on average). At
    evaluations, of each pair: `gap/A-B/...` (see `diagnostics.gap_figures`) and `similarity/A-B/...`. Nothing is read
    from the device within a step: norms stay tensors until the trainer reads the loss.

    Args:
        model: the model that is trained.
        pairs: of the recipe.
    """

    def __init__(self, model: AlignmentModel, pairs: Sequence[Pair]) -> None:
        self.model = model
        self.parts = {name: list(model.tower(name).parameters()) for name in model.towers}
        self.norms: dict[str, Tensor] = {}
        self.batches: dict[str, list[int]] = {f"{p.a}-{p.b}": [] for p in pairs}  # rows of each batch, of this epoch
        self.logged = 0
        self.railed = 0
        self.said: set[str] = set()
        self.speaks = True  # of several processes, the main one

    # What is gathered in a step

    def saw(self, pairs: Sequence[Mapping[str, Any]]) -> None:
        """Count the rows of a batch's pairs, as the collator gives them."""
        found = {f"{pair['a']}-{pair['b']}": pair["size"] for pair in pairs}
        for name, counts in self.batches.items():
            counts.append(found.get(name, 0))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Of several processes, one speaks."""
        self.speaks = bool(state.is_world_process_zero)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Norms of the gradients, at steps that will be logged."""
        if (state.global_step + 1) % max(int(state.logging_steps), 1):
            return
        groups = {"all": list((model if model is not None else self.model).parameters()), **self.parts}
        self.norms = {name: _norm([p.grad for p in group if p.grad is not None]) for name, group in groups.items()}

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say which pairs lacked rows."""
        for name, counts in self.batches.items():
            empty = sum(count == 0 for count in counts)
            if counts and empty == len(counts):
                self.warn(
                    f"rows {name}",
                    f"the pair {name} had rows in no batch of an epoch, so nothing was learnt of it: too few rows have "
                    "both for this batch size. Raise training.batch_size, or lower training.modality_dropout",
                )
            elif empty:
                self.warn(
                    f"rows {name}",
                    f"the pair {name} had no rows in {empty:,} of an epoch's {len(counts):,} batches, since few rows "
                    "have both; a larger training.batch_size contrasts more of them with each other",
                )
            counts.clear()
        self.logged = 0

    # What is logged

    def complete(self, logs: Mapping[str, float]) -> dict[str, float]:
        """A log of the trainer's with ours, where it is one of a step."""
        if "loss" not in logs:
            return dict(logs)
        found = dict(logs)
        if self.norms:
            norms = dict(zip(self.norms, torch.stack(list(self.norms.values())).tolist()))
            whole = norms.pop("all")
            # These were taken after clipping, which scales all alike; the trainer's own is from before.
            before = float(logs.get("grad_norm", whole)) / whole if whole else 1.0
            found |= {f"gradient/{name}": norm * before for name, norm in norms.items()}
            self.norms = {}
        for name, counts in self.batches.items():
            new = counts[self.logged :]
            if new:
                found[f"rows/{name}"] = sum(new) / len(new)
        self.logged = max((len(counts) for counts in self.batches.values()), default=0)
        found["temperature"] = 1 / float(self.model.temperature().detach())
        self._check_temperature(found["temperature"])
        return found

    def _check_temperature(self, value: float) -> None:
        temperature = self.model.temperature
        place = float(temperature.log_scale.detach())
        low, high = place >= temperature.max - 1e-4, place <= 1e-4
        self.railed = self.railed + 1 if temperature.log_scale.requires_grad and (low or high) else 0
        if self.railed < RAILED:
            return
        cause = (
            "pairs are told apart so easily that sharper is always better (a small or repeated training set), or the "
            "learning rate is too high for it. Watch val, lower training.learning_rate, or set temperature.learnable: "
            "false"
            if low
            else "pairs are not told apart at all: captions and recordings may be matched wrongly, or the learning "
            "rate is too high. Look at the loss beside log(batch size), and lower training.learning_rate"
        )
        self.warn("temperature", f"the temperature stays at its bound, {value:.3g}. Likely: {cause}")

    def pair(self, pair: Pair, x: Tensor, y: Tensor, items: Sequence[Sequence[str]]) -> dict[str, float]:
        """Figures of one pair at an evaluation.

        Args:
            pair: its towers.
            x: (N, d) unit rows of the first.
            y: (N, d) of the second.
            items: for either tower, what makes two of its rows equal.
        """
        name = f"{pair.a}-{pair.b}"
        which = torch.linspace(0, len(x) - 1, min(len(x), SAMPLE)).round().long().tolist()
        x, y, items = x[which], y[which], [[own[k] for k in which] for own in items]
        apart = told_apart(x, y, items)
        for tower, rows, own in ((pair.a, x, items[0]), (pair.b, y, items[1])):
            if not self._sound(tower, rows, own, apart):
                return {}
        found = {}
        for key, value in gap_figures(x, y).items():
            own = key.replace("of the first", pair.a).replace("of the second", pair.b).replace(" ", "_")
            found[f"gap/{name}/{own}"] = value
        return found | {f"similarity/{name}/{k.replace(' ', '_')}": v for k, v in similarities(x, y, items).items()}

    def _sound(self, tower: str, rows: Tensor, items: Sequence[str], apart: float) -> bool:
        """Whether there is anything to measure; warns where the tower has collapsed."""
        if not torch.isfinite(rows).all():
            self.warn(
                f"finite {tower}",
                f"embeddings of {tower!r} are not finite. Likely: a learning rate that is too high, or a loss that "
                "overflows; lower training.learning_rate, set training.max_grad_norm, or train without bf16",
            )
            return False
        first = {item: k for k, item in reversed(list(enumerate(items)))}
        different = rows[sorted(first.values())]
        cosine = mean_cosine(different)
        if len(different) > 2 and cosine > COLLAPSED and apart < APART:
            self.warn(
                f"collapse {tower}",
                f"the tower {tower!r} has collapsed: {len(different):,} different items have a mean cosine of "
                f"{cosine:.4f}. Likely: a learning rate that is too high, inputs that all look alike to the encoder "
                f"(a wrong unit, rate or scale), or no gradient (see gradient/{tower}); lower training.learning_rate, "
                "check the processing, or set projection.center or standardize for a frozen tower",
            )
        return True

    def warn(self, kind: str, message: str) -> None:
        """Say it, unless something of this kind was said."""
        if kind not in self.said and self.speaks:
            self.said.add(kind)
            warnings.warn(message, TrainingWarning, stacklevel=2)


def told_apart(x: Tensor, y: Tensor, items: Sequence[Sequence[str]]) -> float:
    """How often a row of x is nearer to its own of y than to another item; a tie counts half, and 0.5 is chance."""
    alike = torch.zeros(len(x), len(x), dtype=torch.bool, device=x.device)
    for own in items:
        seen: dict[str, int] = {}
        numbers = torch.tensor([seen.setdefault(item, len(seen)) for item in own], device=x.device)
        alike |= numbers.unsqueeze(1) == numbers
    similar = x @ y.T
    nearer = similar.diagonal().unsqueeze(1) - similar
    share = (nearer > 0).double() + 0.5 * (nearer == 0).double()
    return float(share.masked_fill(alike, 0).sum() / (~alike).sum().clamp_min(1))


def _norm(gradients: Sequence[Tensor]) -> Tensor:
    if not gradients:
        return torch.zeros(())
    norms = torch._foreach_norm([g.detach() for g in gradients])
    whole: Tensor = torch.stack([n.float() for n in norms]).norm()
    return whole
