"""Prompts: label -> the sentences that stand for it, and those that stand for its absence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from modalign.errors import RecipeError, suggest


def fill(template: str, label: str) -> str:
    """Put a label into a template; underscores become spaces, as in CLAP's "This is a sound of {label}.".

    Raises:
        RecipeError: the template has no `{label}`.
    """
    if "{label}" not in template:
        raise RecipeError(
            f"template {template!r} has no {{label}}; write it as, for example, 'a recording of {{label}}'"
        )
    return template.replace("{label}", label.replace("_", " "))


def check_labels(labels: Sequence[str]) -> None:
    """Refuse labels that no prompts can be made of.

    Raises:
        RecipeError: there are none, or one stands twice.
    """
    if not labels:
        raise RecipeError('no labels; give two or more, for example --labels "walking;sitting"')
    if len(set(labels)) != len(labels):
        doubled = next(label for label in labels if list(labels).count(label) > 1)
        raise RecipeError(f"the label {doubled!r} stands twice")


def prompts_for(
    labels: Sequence[str],
    templates: Sequence[str] = (),
    descriptions: Mapping[str, Sequence[str]] | None = None,
    known: Mapping[str, Sequence[str]] | None = None,
    default: Sequence[str] = ("{label}",),
) -> dict[str, list[str]]:
    """The prompts of each label: its descriptions if it has any, else the templates, else what the modality knows.

    Args:
        labels: the candidate labels.
        templates: with `{label}`; given by the user, they win over what the modality knows.
        descriptions: label -> sentences; they win over templates.
        known: the modality's own descriptions.
        default: the modality's own templates, for labels that nothing else speaks of.

    Example:
        >>> prompts_for(["dog_bark"], ["the sound of {label}"])
        {'dog_bark': ['the sound of dog bark']}

    Raises:
        RecipeError: no labels, a label twice, or a template without `{label}`.
    """
    check_labels(labels)
    prompts = {}
    for label in labels:
        own = (descriptions or {}).get(label) or (() if templates else (known or {}).get(label, ()))
        prompts[label] = list(own) or [fill(template, label) for template in templates or default]
    return prompts


def negatives_for(
    labels: Sequence[str],
    negatives: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    opposites: Mapping[str, Sequence[str]] | None = None,
    negations: Sequence[str] = ("no {label}",),
    templates: Sequence[str] = ("{label}",),
) -> dict[str, list[str]]:
    """The sentences that say each label is absent, for CheXzero's pairs of prompts.

    Args:
        labels: the labels.
        negatives: the user's: templates with `{label}`, or label -> sentences (what it lacks is made as without it).
        opposites: the modality's own sentences for labels whose absence has words of its own.
        negations: the modality's templates for the others.
        templates: the modality's positive templates: the absence of "no finding" is the presence of "finding".

    Example:
        >>> negatives_for(["edema", "no finding"])
        {'edema': ['no edema'], 'no finding': ['finding']}

    Raises:
        RecipeError: no labels, a label twice, a template without `{label}`, or a label without a sentence.
    """
    check_labels(labels)
    said: Mapping[str, Sequence[str]] = negatives if isinstance(negatives, Mapping) else {}
    given = () if negatives is None or isinstance(negatives, Mapping) else tuple(negatives)
    unknown = next((label for label in said if label not in labels), None)
    if unknown is not None:
        raise RecipeError(f"negatives of {unknown!r}, which is no label here; {suggest(unknown, labels)}")
    made = {}
    for label in labels:
        plain = label.replace("_", " ")
        own = said.get(label) or (() if given else (opposites or {}).get(label, ()))
        if not own and not given and plain.lower().startswith("no "):
            own = [fill(template, plain[3:]) for template in templates]
        made[label] = list(own) or [fill(negation, label) for negation in given or negations]
    return made


def read_templates(path: str | Path) -> tuple[list[str], list[str] | None]:
    """Read a copy of a modality's `templates.yaml`: templates, and negations where it has any.

    Raises:
        RecipeError: it is not that.
    """
    try:
        tree: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())[:200]})") from None
    tree = {"templates": tree} if isinstance(tree, list) else tree
    parts = [tree.get(key) if isinstance(tree, dict) else None for key in ("templates", "negations")]
    for key, part in zip(("templates", "negations"), parts):
        if part is None and key == "negations":
            continue
        if not isinstance(part, list) or not part or not all(isinstance(t, str) and "{label}" in t for t in part):
            raise RecipeError(f"{path}: must have {key!r}, a list of sentences in quotes, {{label}} in each")
    templates, negations = parts
    assert templates is not None
    return templates, negations
