"""The registry of few-shot methods: a name, a scikit-learn style estimator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from modalign.errors import RecipeError, suggest
from modalign.tasks.few_shot.base import Array, FewShotEstimator

Method = TypeVar("Method", bound=type[FewShotEstimator])
_methods: dict[str, type[FewShotEstimator]] = {}


def register_few_shot(name: str) -> Callable[[Method], Method]:
    """Decorator that makes an estimator known by `name`."""

    def register(method: Method) -> Method:
        if name in _methods:
            raise ValueError(f"the few-shot method {name!r} is already registered")
        _methods[name] = method
        return method

    return register


def list_few_shot(multi_label: bool = False) -> list[str]:
    """Names of the registered methods; with `multi_label` of those for several labels a row."""
    return sorted(name for name, method in _methods.items() if method.multi_label or not multi_label)


def make_few_shot(name: str, classes: Sequence[str] | None = None, text: Array | None = None) -> FewShotEstimator:
    """A method by name, with its defaults.

    Args:
        name: as registered.
        classes: C labels in the order of the scores' columns; None: those of `fit`, sorted.
        text: (C, d) unit rows of the class names, for the methods that use them.

    Raises:
        RecipeError: no such method.
    """
    if name not in _methods:
        raise RecipeError(f"no few-shot method {name!r}; {suggest(name, _methods)}")
    method = _methods[name]
    options = {"text": text} if method.uses_text else {}
    return method(classes=classes, **options)
