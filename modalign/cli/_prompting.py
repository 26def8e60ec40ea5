"""Options on prompts that several commands share, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from modalign.modalities.base import Modality
    from modalign.tasks.hierarchy import Hierarchy
    from modalign.tasks.prompting import Prompting

TemplatesOption = Annotated[
    Path | None,
    typer.Option("--templates", help="YAML of templates and negations; copy one with 'modalign labels --templates'."),
]
MultiLabelOption = Annotated[
    str | None,
    typer.Option("--multi-label", help="Several labels an item: pairs (a label against its absence) or cosine."),
]
NegativesOption = Annotated[
    Path | None, typer.Option("--negatives", help="YAML: label -> sentences that say it is absent, for pairs.")
]
EnsembleOption = Annotated[
    str, typer.Option("--ensemble", help="Of a label's prompts: mean_embedding, mean_score or max.")
]
GammaOption = Annotated[
    float,
    typer.Option("--gamma", help="Taken from the scores of labels that training saw; 'modalign held-out' chooses it."),
]
RejectOption = Annotated[
    float | None,
    typer.Option("--reject-rate", help="Say 'none of these' under a threshold with this false-positive rate."),
]
LabelSetOption = Annotated[
    str | None, typer.Option("--label-set", help="A set of labels by name, with its groups; see 'modalign labels'.")
]
HierarchyOption = Annotated[
    Path | None, typer.Option("--hierarchy", help="YAML: group -> labels, or groups; scores for every level.")
]
RuleOption = Annotated[
    str, typer.Option("--rule", help="Scores of groups: children (sums), or path (decisions from the top).")
]


def tree_of(label_set_name: str | None, hierarchy: Path | None, modality: Modality) -> Hierarchy | None:
    """The tree that a set's name or a file gives; None where neither is given.

    Raises:
        RecipeError: both are given, or one is not what it should be.
    """
    from modalign.errors import RecipeError
    from modalign.tasks.hierarchy import label_set, read_hierarchy

    if label_set_name is not None and hierarchy is not None:
        raise RecipeError("give --label-set or --hierarchy, not both")
    if label_set_name is not None:
        return label_set(modality, label_set_name)
    return None if hierarchy is None else read_hierarchy(hierarchy)


def check_rule(rule: str, tree: Hierarchy | None) -> None:
    """Refuse a rule that is not known, or that has no groups to act on.

    Raises:
        RecipeError: says which.
    """
    from modalign.errors import RecipeError, suggest
    from modalign.tasks.hierarchy import RULES

    if rule not in RULES:
        raise RecipeError(f"--rule {rule!r}: {suggest(rule, RULES)}")
    if rule != "children" and tree is None:
        raise RecipeError(f"--rule {rule} is for groups of labels; give --hierarchy, or a --label-set that has groups")


def prompting_of(
    text: str,
    template: list[str] | None,
    templates: Path | None,
    descriptions: Path | None,
    multi_label: str | None,
    negatives: Path | None,
    ensemble: str,
    gamma: float = 0.0,
    **options: Any,
) -> Prompting:
    """The options as one thing.

    Raises:
        RecipeError, ManifestError: a file is not what it should be, or two options exclude each other.
    """
    from modalign.align.manifest import read_descriptions
    from modalign.errors import RecipeError
    from modalign.tasks.prompting import Prompting
    from modalign.tasks.prompts import read_templates

    absent: Any = None
    if templates is not None:
        if template:
            raise RecipeError("give --template or --templates, not both")
        template, absent = read_templates(templates)
    if negatives is not None:
        absent = read_descriptions(negatives)
        if multi_label != "pairs":
            raise RecipeError("--negatives are prompts for --multi-label pairs; give that too")
    said = read_descriptions(descriptions) if descriptions else None
    chosen = {"multi_label": multi_label, "negatives": absent, "ensemble": ensemble, "gamma": gamma, **options}
    return Prompting(template, said, text, chosen)
