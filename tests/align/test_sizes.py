"""Sizes of a recipe: laid over it before overrides, and gone afterwards."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modalign import RecipeError, load_recipe
from modalign.align.sizes import lay

TREE: dict[str, Any] = {
    "towers": {
        "text": {"options": {"checkpoint": "someone/large", "pooling": "cls"}, "tune": "frozen"},
        "tone": {"lora": {"r": 16}},
    },
    "pairs": [["text", "tone"]],
    "training": {"epochs": 50, "batch_size": 512},
    "sizes": {
        "tiny": {"towers": {"text": {"options": {"checkpoint": "minilm", "pooling": None}}}, "training": {"epochs": 2}},
        "middle": {"training": {"batch_size": 64}},
    },
}


def written(tree: dict[str, Any], folder: Path) -> Path:
    (folder / "own.yaml").write_text(yaml.safe_dump(tree))
    return folder / "own.yaml"


def test_a_size_is_laid_over_the_recipe_and_under_the_overrides(tmp_path: Path) -> None:
    path = written(TREE, tmp_path)
    full = load_recipe(path)
    assert full.training.epochs == 50
    assert full.towers["text"].options == {"checkpoint": "someone/large", "pooling": "cls"}
    tiny = load_recipe(path, ["training.epochs=3", "size=tiny"])
    assert tiny.training.epochs == 3
    assert tiny.training.batch_size == 512
    assert tiny.towers["text"].options == {"checkpoint": "minilm"}
    assert tiny.towers["text"].tune == "frozen"
    assert not {"size", "sizes"} & set(tiny.model_dump())
    assert load_recipe(path, ["size=tiny", "size=middle"]).training.batch_size == 64


def test_a_file_may_name_its_size(tmp_path: Path) -> None:
    assert load_recipe(written({**TREE, "size": "tiny"}, tmp_path)).training.epochs == 2


@pytest.mark.parametrize(
    ("change", "override", "says"),
    [
        ({}, "size=tinny", "no size 'tinny': .*did you mean 'tiny'"),
        ({}, "size=3", "no size 3: .*known: middle, tiny"),
        ({"sizes": None}, "size=tiny", "no size 'tiny': it has one size"),
        ({"sizes": ["tiny"]}, "size=tiny", "sizes: is a mapping of sizes"),
        ({"sizes": {"tiny": {"trainin": {}}}}, "size=tiny", "trainin: no such key; did you mean 'training'"),
    ],
)
def test_what_is_no_size_is_refused(change: dict[str, Any], override: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        load_recipe(written({**TREE, **change}, tmp_path), [override])


def test_laying_changes_neither_tree() -> None:
    under, over = {"a": {"b": 1}, "c": 2}, {"a": {"d": [3]}, "c": None, "e": {"f": 4}}
    assert lay(under, over) == {"a": {"b": 1, "d": [3]}, "e": {"f": 4}}
    assert (under, over) == ({"a": {"b": 1}, "c": 2}, {"a": {"d": [3]}, "c": None, "e": {"f": 4}})
