"""Prompts of presence and of absence, and templates in YAML files."""

import pytest

from modalign import RecipeError, get_modality, list_modalities
from modalign.tasks.prompts import negatives_for, read_templates


def test_negatives():
    labels = ["edema", "no finding", "lung_lesion"]
    assert negatives_for(labels) == {
        "edema": ["no edema"],
        "no finding": ["finding"],
        "lung_lesion": ["no lung lesion"],
    }
    assert negatives_for(["edema"], ["without {label}"]) == {"edema": ["without edema"]}
    assert negatives_for(["a", "b"], {"a": ["said"]}, {"b": ["known"]}) == {"a": ["said"], "b": ["known"]}
    assert negatives_for(["b"], ["not {label}"], {"b": ["known"]}) == {"b": ["not b"]}
    with pytest.raises(RecipeError, match="negatives of 'edma', which is no label here; did you mean 'edema'"):
        negatives_for(["edema"], {"edma": ["x"]})
    with pytest.raises(RecipeError, match=r"has no \{label\}"):
        negatives_for(["edema"], ["nothing"])


@pytest.mark.parametrize("name", [n for n in list_modalities() if n not in ("text", "tone")])
def test_every_modality_words_presence_and_absence(name, tmp_path):
    modality = get_modality(name)
    assert len(modality.templates) >= 5
    assert len(modality.negations) >= 3
    assert all("{label}" in t for t in (*modality.templates, *modality.negations))
    assert not set(modality.templates) & set(modality.negations)
    for label in modality.opposites:
        assert label in modality.descriptions
        assert not set(modality.opposites[label]) & set(modality.descriptions[label])
    templates, negations = read_templates(modality.descriptions.path.with_name("templates.yaml"))
    assert (tuple(templates), tuple(negations)) == (modality.templates, modality.negations)


def test_templates_of_the_users_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("- a {label}\n- the {label}\n")
    assert read_templates(path) == (["a {label}", "the {label}"], None)
    path.write_text("templates: ['a {label}']\nnegations: [no label]\n")
    with pytest.raises(RecipeError, match="must have 'negations'"):
        read_templates(path)
    path.write_text("templates: a\n")
    with pytest.raises(RecipeError, match="must have 'templates'"):
        read_templates(path)
    with pytest.raises(RecipeError, match="cannot be read as YAML"):
        read_templates(tmp_path / "none.yaml")
