"""Prompts: label -> the sentences that stand for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modalign.errors import RecipeError


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
    if not labels:
        raise RecipeError('no labels; give two or more, for example --labels "walking;sitting"')
    if len(set(labels)) != len(labels):
        doubled = next(label for label in labels if list(labels).count(label) > 1)
        raise RecipeError(f"the label {doubled!r} stands twice")
    prompts = {}
    for label in labels:
        own = (descriptions or {}).get(label) or (() if templates else (known or {}).get(label, ()))
        prompts[label] = list(own) or [fill(template, label) for template in templates or default]
    return prompts
