"""What a recipe trains on: the weighted sum of its losses over the pairs, or the views, of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from modalign.align.config import LossConfig, LossTerm, Pair
from modalign.align.data import AlignmentDataset
from modalign.align.losses import Loss, LossInputs, StatefulLoss, Training, get_loss
from modalign.align.model import AlignmentOutput
from modalign.errors import RecipeError

VIEWS = "views"


class Term(nn.Module):
    """One loss of the sum: one for all views, or one for each pair, since each keeps a state of its own."""

    def __init__(self, config: LossTerm, pairs: Sequence[Pair], has_bias: bool) -> None:
        super().__init__()
        first = get_loss(config.name, config.options, has_bias)
        self.weight, self.any_number, self.needs = config.weight, first.any_number, first.needs
        names = [VIEWS] if first.any_number else [edge(pair.a, pair.b) for pair in pairs]
        self.losses = nn.ModuleDict(
            {name: get_loss(config.name, config.options, has_bias) if i else first for i, name in enumerate(names)}
        )
        # Of rows that training does not know, val's: InfoNCE stands for a loss that keeps a state by row.
        self.stand_in = None if first.anywhere else get_loss("infonce")

    def of(self, name: str, training: bool) -> Loss:
        """The loss of a pair, or of the views."""
        loss = self.losses[name] if training or self.stand_in is None else self.stand_in
        assert isinstance(loss, Loss)
        return loss


def edge(a: str, b: str) -> str:
    """What a pair is called among modules."""
    return f"{a}+{b}"


class Objective(nn.Module):
    """The weighted sum of a recipe's losses.

    Args:
        config: `loss` of the recipe.
        pairs: `pairs` of the recipe.
        has_bias: whether the model has a bias of the logits.

    Raises:
        RecipeError: a loss or an option is not known, or the bias lacks or is in vain.
    """

    def __init__(self, config: LossConfig, pairs: Sequence[Pair], has_bias: bool = False) -> None:
        super().__init__()
        self.terms = nn.ModuleList([Term(term, pairs, has_bias) for term in (config, *config.plus)])
        if has_bias and not any("bias" in term.needs for term in self._terms()):
            raise RecipeError(f"temperature.bias: the loss {config.name!r} adds none to the logits; leave it out")
        self.epoch_done = -1

    def every(self) -> list[Loss]:
        """All losses of all terms."""
        return [loss for term in self._terms() for loss in term.losses.values() if isinstance(loss, Loss)]

    def _terms(self) -> list[Term]:
        return [term for term in self.terms if isinstance(term, Term)]

    @property
    def uses_views(self) -> bool:
        """Whether a loss takes any number of views, so that batches must say which rows have which."""
        return any(term.any_number for term in self._terms())

    @property
    def most_rows(self) -> int | None:
        """How many rows the losses can take at a time, where one of them needs more than the square of the rows."""
        return min((loss.most_rows for loss in self.every() if loss.most_rows), default=None)

    @property
    def captions(self) -> set[str]:
        """The kinds of further captions that losses take: "hard", "parts"."""
        return {kind for loss in self.every() for kind in ("hard", "parts") if kind in loss.needs}

    def left_out(self, rows: AlignmentDataset) -> list[str]:
        """What to say of rows that a loss of any number of views cannot use, where there are some."""
        if not self.uses_views:
            return []
        views = [sum(bool(rows.options_of(i, name)) for name in rows.modalities) for i in range(len(rows))]
        said = []
        for loss in {loss.name: loss for loss in self.every() if loss.any_number}.values():
            few = sum(n < loss.least_views for n in views)
            if few:
                said.append(
                    f"{loss.name}: {few:,} of {len(views):,} rows have fewer than {loss.least_views} modalities"
                )
        return said

    def stateful(self) -> dict[str, StatefulLoss]:
        """Pair -> its losses' states, by a name that a checkpoint may use."""
        found = {}
        for i, term in enumerate(self._terms()):
            for name, loss in term.losses.items():
                if isinstance(loss, Loss) and isinstance(loss.state, StatefulLoss):
                    found[f"{i}.{name}"] = loss.state
        return found

    def start(self, training: Mapping[str, Training]) -> None:
        """Let losses make their states. `training`: pair, as `edge` names it, -> what is known of its rows."""
        for name, state in self.stateful().items():
            state.start(training[name.partition(".")[2]])

    def epoch(self, training: Mapping[str, Training], number: int) -> None:
        """Called before each epoch; does nothing where a checkpoint was made within it."""
        if number != self.epoch_done:
            for name, state in self.stateful().items():
                state.epoch(training[name.partition(".")[2]])
        self.epoch_done = number

    def forward(self, output: AlignmentOutput, batch: Mapping[str, Any], progress: float | None) -> Tensor:
        """The loss of a batch.

        Args:
            output: the embeddings of the batch.
            batch: `pairs`, and `views` where a loss needs them, as the collator makes them.
            progress: share of the training that is done; None: the rows are not training's.
        """
        # Every embedding takes part, so that no gradient is missing where a batch lacks a pair.
        loss: Tensor = sum(e.sum() for e in output.embeddings.values()) * 0.0 + output.scale * 0.0
        for term in self._terms():
            training = progress is not None
            if term.any_number:
                least = term.of(VIEWS, training).least_views
                groups = [group for group in batch.get("views", ()) if len(group["index"]) >= least]
            else:
                groups = batch["pairs"]
            total = sum(group["size"] for group in groups)
            for group in groups:
                one = term.of(VIEWS if term.any_number else edge(group["a"], group["b"]), training)
                weight = group["size"] / total if term.any_number else group["weight"]
                loss = loss + term.weight * weight * one(inputs_of(output, group, progress or 0.0))
        return loss


def inputs_of(output: AlignmentOutput, group: Mapping[str, Any], progress: float) -> LossInputs:
    """What a loss is given of one pair, or of one set of views, of a batch."""
    names, index = list(group["towers"]), list(group["index"])
    extra: dict[str, Tensor] = {}
    if group.get("captions"):  # hard negatives and parts are the second view's
        if group["captions"] == names[0]:
            names, index = names[::-1], index[::-1]
        for kind in ("hard", "parts"):
            where = group[kind]
            if where is None:
                continue
            extra |= {kind: output.embeddings[names[1]][where.clamp_min(0)], f"{kind}_mask": where >= 0}
    return LossInputs(
        tuple(output.embeddings[name][rows] for name, rows in zip(names, index)),
        output.scale,
        output.bias,
        group["groups"],
        group["rows"],
        progress,
        names=tuple(names),
        features=() if output.features is None else tuple(output.features[n][at] for n, at in zip(names, index)),
        **extra,
    )
