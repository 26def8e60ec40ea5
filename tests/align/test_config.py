"""Recipes: every problem is named with its key before anything heavy starts."""

import pytest
import yaml

from modalign import RecipeError, load_recipe
from modalign.align.recipe_files import list_recipes, parse_recipe
from tests.imports import loaded_by

GOOD = {"towers": {"text": {"tune": "frozen"}, "tone": {}}, "pairs": [["text", "tone"]]}


@pytest.mark.parametrize("name", list_recipes())
def test_recipes_of_the_package_are_valid(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description


def test_overrides():
    recipe = load_recipe(
        "motion", ["training.epochs=3", "towers.motion.tune=lora", "training.learning_rate=1e-3", "seed=4"]
    )
    assert recipe.training.epochs == 3
    assert recipe.towers["motion"].tune == "lora"
    assert recipe.training.learning_rate == 1e-3
    assert recipe.seed == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", "training.epoch: no such key; did you mean 'epochs'"),
        ("training.epochs=-1", "training.epochs: .*greater than 0.*given: -1"),
        ("training.epochs", "write it as key.key=value"),
        ("pairs=5", "pairs"),
        ("towers.motion.tune=half", "towers.motion.tune: .*'full', 'lora', 'bitfit' or 'frozen'"),
        ("name.deep=1", "'name' is not a mapping"),
        ("towers.motion.x=[", "not valid YAML"),
        ("pairs=[[text, motin]]", "no tower 'motin'; did you mean 'motion'"),
    ],
)
def test_bad_overrides(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("motion", [override])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"towers": {"text": {}}}, "towers"),
        ({"towers": {"text": {}, "smell": {}}}, "no modality 'smell'.*known"),
        ({"pairs": []}, "pairs"),
        ({"pairs": [["text"]]}, "a pair is"),
        ({"pairs": [["text", "text"]]}, "paired with itself"),
        ({"towers": {**GOOD["towers"], "other": {"modality": "tone"}}}, "no pair names the tower 'other'"),
        ({"towers": {"text": {"projection": {"center": True}}, "tone": {}}}, "center needs tune: frozen"),
        ({"towers": {"text": {"tune": "frozen", "augment": [{"name": "x"}]}, "tone": {}}}, "augment has no use"),
        ({"training": {"batch_size": 1}}, "training.batch_size"),
        ({"los": {}}, "los: no such key; did you mean 'loss'"),
        ({"temperature": {"init": 0}}, "temperature.init"),
    ],
)
def test_bad_recipes(change, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe({**GOOD, **change})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "a recipe is a mapping"),
        ("", "a recipe is a mapping"),
        ("1: 2", "recipe|key"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_unknown_names():
    with pytest.raises(RecipeError, match="did you mean 'motion'"):
        load_recipe("moton")
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe("somewhere/else.yaml")


def test_a_recipe_survives_its_own_dump(tmp_path):
    recipe = load_recipe("motion")
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(tmp_path / "r.yaml") == recipe


def test_checking_a_recipe_loads_no_torch():
    loaded = loaded_by("from modalign import load_recipe; load_recipe('motion')")
    assert "modalign.align.config" in loaded
    assert "torch" not in loaded
