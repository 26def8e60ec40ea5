"""`modalign modalities`: what can be aligned, and a package to start a modality of your own from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from modalign.cli import new_modality


class _Group(TyperGroup):
    """`modalign modalities NAME` is short for `modalign modalities show NAME`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take what is no command for a modality's name."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


group = typer.Typer(cls=_Group, invoke_without_command=True, rich_markup_mode=None)
group.command("new")(new_modality.command)


@group.callback()
def list_command(context: typer.Context) -> None:
    """List the modalities, show one, or write a package for a new one.

    Examples:

      modalign modalities

      modalign modalities motion

      modalign modalities new eeg
    """
    from modalign.modalities.registry import list_modalities

    if context.invoked_subcommand is None:
        for known in list_modalities():
            print(known)


@group.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="Show one modality: its encoders, fields and augmentations.")],
) -> None:
    """Show one modality: its encoders, fields, processing and augmentations.

    Example:

      modalign modalities motion
    """
    from modalign.modalities.registry import get_modality

    modality = get_modality(name)
    print((type(modality).__doc__ or name).splitlines()[0])
    print("\nEncoders (towers.TOWER.encoder and .options):")
    for key, factory in modality.encoders.items():
        print(f"  {key:14s} {_options(factory)}")
    if modality.fields is not None:
        print(f"\nFields ({name}.KEY columns of a manifest, --field KEY=VALUE):")
        _print_model(modality.fields)
    print("\nProcessing (towers.TOWER.processing.KEY of a recipe):")
    _print_model(modality.processing)
    if modality.augmentations:
        print("\nAugmentations (towers.TOWER.augment), what each breaks, and its options:")
        for key, augmentation in modality.augmentations.items():
            print(f"  {key} (breaks {', '.join(sorted(augmentation.breaks)) or 'nothing'})")
            _print_model(augmentation, indent="    ")


def _options(factory: Callable[..., Any]) -> str:
    parameters = inspect.signature(factory).parameters.values()
    return ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)


def _print_model(model: Any, indent: str = "  ") -> None:
    documented = attribute_docs(model)
    for key, field in model.model_fields.items():
        default = "required" if field.is_required() else f"{field.get_default(call_default_factory=True)!r}"
        print(f"{indent}{key:14s} [{default}] {field.description or documented.get(key, '')}")


def attribute_docs(cls: type) -> dict[str, str]:
    """The "Attributes:" of a class's Google-style docstring, and of its bases': name -> one line.

    Example:
        >>> class A:
        ...     '''Head.
        ...
        ...     Attributes:
        ...         x: the first,
        ...             and more of it.
        ...         y: the second.
        ...     '''
        >>> attribute_docs(A)
        {'x': 'the first, and more of it.', 'y': 'the second.'}
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        doc = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        section = re.search(r"^Attributes:\n((?:[ ]{4}.*\n?|\n)+)", doc, re.MULTILINE)
        for entry in re.findall(r"^ {4}(\w+): ((?:.*)(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE):
            found[entry[0]] = " ".join(entry[1].split())
    return found
