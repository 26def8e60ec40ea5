"""What a method of explanation is given, and the methods by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from modalign.errors import RecipeError, suggest
from modalign.modalities.base import Encoder
from modalign.modalities.spans import TokenSpans

Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Window:
    """One window of an item, as a method sees it: an encoder, its inputs, and the number to explain.

    Attributes:
        name: the encoder's, for errors.
        encoder: in eval mode.
        inputs: a collated batch of one.
        key: which input is the main one: `values`, or ids.
        blank: what stands for nothing in its place (1, ...).
        cells: sizes of the parts of it that are blanked out at once.
        spans: what tokens of attention stand for; None where the encoder has no such attention.
        score: pooled features (B, width) -> (B,): the number to explain, the item's other windows as they are.
    """

    name: str
    encoder: Encoder
    inputs: Mapping[str, Tensor]
    key: str
    blank: Tensor
    cells: tuple[int, ...]
    spans: TokenSpans | None
    score: Score

    @property
    def main(self) -> Tensor:
        """The main input (1, ...)."""
        return self.inputs[self.key]

    def run(self, main: Tensor) -> Tensor:
        """The number for main inputs (B, ...): (B,). The other inputs are the same for all."""
        others = {
            key: value.expand(len(main), *value.shape[1:]) for key, value in self.inputs.items() if key != self.key
        }
        return self.score(self.encoder(**{self.key: main}, **others).pooled.float())

    def gradient(self) -> Tensor | None:
        """The number's gradient at the main input (1, ...); None where there is none that tells anything."""
        if not self.main.is_floating_point():
            return None
        with torch.enable_grad():
            main = self.main.detach().clone().requires_grad_()
            value = self.run(main).sum()
            if not value.requires_grad:
                return None
            found = torch.autograd.grad(value, main, allow_unused=True)[0]
        return None if found is None or not bool(found.any()) else found


Compute = Callable[[Window], Tensor]


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        title: what a legend says.
        needs: what an encoder must have, for the error where it does not.
        suits: whether an encoder has it.
        compute: relevance in the shape of the main input, without the batch axis.
        compares: whether it says how much a window counts beside others. What weighs slopes does not: a window that is
            full of the evidence has little slope left.
    """

    title: str
    needs: str
    suits: Callable[[Window], bool]
    compute: Compute
    compares: bool = True


METHODS: dict[str, Method] = {}
"""Name -> method; "auto" takes the first that suits the encoder, in this order."""


def register_method(
    name: str, title: str, needs: str, suits: Callable[[Window], bool], compares: bool = True
) -> Callable[[Compute], Compute]:
    """Decorator that makes a method known, by the name that users write; the rest is as in `Method`.

    Raises:
        ValueError: another method has the name.
    """

    def register(compute: Compute) -> Compute:
        if name in METHODS:
            raise ValueError(f"the method {name!r} is already registered")
        METHODS[name] = Method(title, needs, suits, compute, compares)
        return compute

    return register


def choose(name: str, window: Window, several: bool) -> str:
    """The method's name; for "auto", the first that suits the encoder.

    Args:
        name: of the method, or "auto".
        window: one of the item's.
        several: whether it has others, so that "auto" takes a method that compares them.

    Raises:
        RecipeError: there is no such method, or the encoder does not have what it needs.
    """
    if name == "auto":
        return next(known for known, m in METHODS.items() if (m.compares or not several) and m.suits(window))
    if name not in METHODS:
        raise RecipeError(f"--method {name!r}: {suggest(name, ['auto', *METHODS])}")
    if not METHODS[name].suits(window):
        others = [known for known, method in METHODS.items() if known != name and method.suits(window)]
        raise RecipeError(
            f"--method {name}: {METHODS[name].needs}, which the encoder of {window.name!r} does not have; use "
            f"{' or '.join(others)}"
        )
    return name
