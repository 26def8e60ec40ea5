"""`modalign modalities`: what can be aligned."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="Show one modality: its encoders, fields and augmentations.")] = "",
) -> None:
    """List the modalities, or show one.

    Examples:

      modalign modalities

      modalign modalities motion
    """
    from modalign.modalities.registry import get_modality, list_modalities

    if not name:
        for known in list_modalities():
            print(known)
        return
    modality = get_modality(name)
    print((type(modality).__doc__ or name).splitlines()[0])
    print("\nencoders:", ", ".join(modality.encoders))
    if modality.fields is not None:
        print(f"\nfields ({name}.KEY columns of a manifest):")
        for key, field in modality.fields.model_fields.items():
            print(f"  {key:14s} {field.description or ''}")
    print("\nprocessing (towers.TOWER.processing.KEY of a recipe):")
    for key, field in modality.processing.model_fields.items():
        default = "required" if field.is_required() else f"default {field.get_default(call_default_factory=True)!r}"
        print(f"  {key:14s} {default}")
    if modality.augmentations:
        print("\naugmentations (and what they break):")
        for key, augmentation in modality.augmentations.items():
            print(f"  {key:18s} {', '.join(sorted(augmentation.breaks)) or 'nothing'}")
