"""The registry of modalities: built-in ones by name, others by decorator or by the entry-point group."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, TypeVar

from modalign.errors import MissingExtraError, RecipeError, suggest

if TYPE_CHECKING:
    from modalign.modalities.base import Modality

T = TypeVar("T", bound="type[Modality]")

GROUP = "modalign.modalities"
BUILT_IN = {
    "audio": "modalign.modalities.audio",
    "ct": "modalign.modalities.ct",
    "ecg": "modalign.modalities.ecg",
    "motion": "modalign.modalities.motion",
    "text": "modalign.modalities.text",
    "xray": "modalign.modalities.xray",
}
"""name -> module; the module registers the modality when it is imported, so listing names imports nothing."""

_registered: dict[str, Modality] = {}
plugin_errors: dict[str, str] = {}
"""plugin name -> why it failed to import; `modalign doctor` prints it."""


def register_modality(name: str) -> Callable[[T], T]:
    """Class decorator that makes a Modality known by `name`.

    Example:
        >>> @register_modality("eeg")                       # doctest: +SKIP
        ... class Eeg(Modality): ...

    Raises:
        ValueError: another class has the name.
    """

    def register(cls: T) -> T:
        known = _registered.get(name)
        if known is not None and (type(known).__module__, type(known).__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise ValueError(f"the modality {name!r} is already registered by {type(known).__module__}")
        if not name.isidentifier():
            raise ValueError(f"a modality's name is a Python identifier, since it names manifest columns; not {name!r}")
        cls.name = name
        _registered[name] = cls()
        return cls

    return register


@cache
def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def list_modalities() -> list[str]:
    """Names of all modalities, without importing any of them."""
    return sorted({*BUILT_IN, *_registered, *_plugins()})


def get_modality(name: str) -> Modality:
    """The modality of this name, imported on first use.

    Raises:
        RecipeError: there is none of this name, or its plugin failed to import.
        MissingExtraError: it is built in, and the packages of its extra are not installed.
    """
    if name not in _registered:
        if name in BUILT_IN:
            _import_built_in(name)
        elif name in _plugins():
            _load_plugin(name)
    if name not in _registered:
        raise RecipeError(f"no modality {name!r}: {suggest(name, list_modalities())}")
    return _registered[name]


def _import_built_in(name: str) -> None:
    try:
        import_module(BUILT_IN[name])
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"the modality {name!r}", name) from error


def _load_plugin(name: str) -> None:
    try:
        loaded = _plugins()[name].load()
        if name not in _registered and isinstance(loaded, type):
            register_modality(name)(loaded)
    except Exception as error:  # a plugin may fail in any way, and must not break the rest
        plugin_errors[name] = f"{type(error).__name__}: {error}"
        raise RecipeError(f"the plugin for modality {name!r} failed to import: {plugin_errors[name]}") from error


def load_plugins() -> dict[str, str]:
    """Import every plugin; return name -> "ok" or why it failed."""
    report = {}
    for name in _plugins():
        try:
            get_modality(name)
            report[name] = "ok"
        except RecipeError:
            report[name] = plugin_errors[name]
    return report
