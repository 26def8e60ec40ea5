"""`modalign labels`: the label sets that modalities bring, as YAML to copy and change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    modality: Annotated[str | None, typer.Argument(help="A modality; none: all of them and their sets.")] = None,
    set_: Annotated[str | None, typer.Option("--set", help="A set: its labels and their sentences.")] = None,
    tree: Annotated[bool, typer.Option("--tree", help="The set's groups, for 'zero-shot --hierarchy'.")] = False,
    templates: Annotated[bool, typer.Option("--templates", help="The modality's templates.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="A YAML file to write in place of printing.")] = None,
) -> None:
    """List label sets, or print one as YAML: label -> sentences, for --descriptions.

    Examples:

      modalign labels

      modalign labels audio --set esc50 --out my_sounds.yaml

      modalign labels ecg --set ptb-xl-sub --tree --out groups.yaml

      modalign labels xray --templates --out my_templates.yaml
    """
    from modalign.errors import RecipeError
    from modalign.modalities.registry import get_modality, list_modalities
    from modalign.tasks.hierarchy import label_set

    if modality is None or not (set_ or templates):
        if tree or out or set_ or templates:
            raise RecipeError("name a modality, and give --set NAME or --templates with it; see 'modalign labels'")
        for name in [modality] if modality else list_modalities():
            for key, known in get_modality(name).label_sets.items():
                print(f"{name:8s} {key:20s} {len(label_set(get_modality(name), key).leaves):3d} labels  {known.about}")
        return
    if set_ and templates:
        raise RecipeError("give --set or --templates, not both")
    text = _templates(modality) if templates else _set(modality, set_ or "", tree)
    if out is None:
        print(text, end="")
        return
    if out.exists():
        raise RecipeError(f"{out}: exists already; give another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(f"Wrote {out}")


def _dump(head: str, value: object) -> str:
    import yaml

    return f"# {head}\n" + yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def _templates(modality: str) -> str:
    from modalign.modalities.registry import get_modality

    kind = get_modality(modality)
    said = {"templates": list(kind.templates), "negations": list(kind.negations)}
    return _dump(f"Templates of {modality}, for --templates; negations serve --multi-label pairs.", said)


def _set(modality: str, name: str, tree: bool) -> str:
    from modalign.modalities.registry import get_modality
    from modalign.tasks.hierarchy import label_set
    from modalign.tasks.prompts import prompts_for

    kind = get_modality(modality)
    found = label_set(kind, name)
    if tree:
        return _dump(f"{kind.label_sets[name].about}; for --hierarchy.", kind.label_sets[name].tree)
    prompts = prompts_for(found.leaves, (), None, kind.descriptions, kind.templates)
    return _dump(f"{kind.label_sets[name].about}; for --descriptions.", prompts)
