"""Every recipe: whole at full size without a download; at its smallest size trained, saved, loaded and evaluated."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from modalign import AlignmentModel, get_modality
from modalign.align.config import Recipe
from modalign.align.embed import embed_split
from modalign.align.objective import Objective
from modalign.align.recipe_files import list_recipes, load_recipe, recipe_text
from modalign.align.sizes import sizes_of
from modalign.tasks.evaluate import dataset_of, evaluate_zero_shot
from modalign.tasks.training import open_manifest, train
from tests.recipes import rows

TREES: dict[str, dict[str, Any]] = {name: yaml.safe_load(recipe_text(name)) for name in list_recipes()}
PUBLISHED = [name for name, tree in TREES.items() if sizes_of(tree)]
"""Recipes of published systems: those with a size that needs no download."""
SETTINGS = {
    "ct": [
        "towers.ct.options={channels: 1, stages: [8, 16]}", "towers.ct.augment=[]",
        "towers.ct.processing={range: [0, 255], shape: [32, 32, 32], sizing: resize}",
    ],
}  # fmt: skip
"""What the real data of the tests need (docs/modalities/ct.md)."""
PAGES = Path(__file__).parents[2] / "docs" / "recipes"


def sizes() -> Iterator[tuple[str, list[str]]]:
    for name, tree in TREES.items():
        yield name, []
        for size in sizes_of(tree):
            yield name, [f"size={size}"]


@pytest.mark.parametrize(("name", "size"), list(sizes()))
def test_it_is_whole_without_loading_a_weight(name: str, size: list[str]) -> None:
    recipe = load_recipe(name, size)
    Objective(recipe.loss, recipe.pairs, recipe.temperature.bias is not None)
    for tower, config in recipe.towers.items():
        modality = get_modality(config.modality or tower)
        parameters = inspect.signature(
            modality.encoders[config.encoder or modality.default_encoder or next(iter(modality.encoders))]
        ).parameters
        free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        assert free or set(config.options) <= set(parameters), tower
        assert set(config.processing) <= set(modality.processing.model_fields), tower
        modality.build_augmentations(config.augment)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_system_names_its_checkpoints_and_is_small_without_them(name: str) -> None:
    def named(size: list[str]) -> set[str]:
        found = (tower.options.get("checkpoint") for tower in load_recipe(name, size).towers.values())
        return {str(checkpoint) for checkpoint in found if checkpoint}

    assert any("/" in checkpoint for checkpoint in named([]))
    assert named(["size=tiny"]) <= {"minilm"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_a_page_that_the_recipe_names(name: str) -> None:
    page = f"docs/recipes/{re.sub(r'[0-9]$', '', name)}.md"
    assert page in recipe_text(name)
    text = (PAGES / Path(page).name).read_text()
    assert "| paper | this recipe | why different |" in text
    assert f"modalign train {name} " in text


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is emptied again: every run saves a text encoder of 90 MB several times."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def manifest_for(recipe: Recipe, root: Path, folder: Path) -> Path:
    """Rows that have what the recipe's pairs contrast."""
    recordings = [name for name in recipe.towers if name != recipe.text]
    if all(recipe.text in (pair.a, pair.b) for pair in recipe.pairs):
        return rows.apart(recordings, root, folder)
    return rows.together(recordings, root, folder)


@pytest.mark.parametrize("name", list_recipes())
def test_it_trains_saves_loads_and_evaluates(name: str, real_data: Path, folder: Path) -> None:
    size = ["size=tiny"] if name in PUBLISHED else []
    quick = ["training.epochs=2", "training.batch_size=6", "training.accumulation=1", "training.evaluate_every=2"]
    quick.append("training.keep_checkpoints=1")
    recipe = load_recipe(name, [*size, *SETTINGS.get(name, []), *quick])
    path = manifest_for(recipe, real_data, folder)
    manifest = open_manifest(recipe, path, allow_outside=True)
    composed = recipe.loss.name.startswith("compa")
    learnt = open_manifest(recipe, rows.scenes(real_data, folder), allow_outside=True) if composed else manifest
    model = train(recipe, learnt, folder / "run", untrained=False, console=Console(quiet=True))
    saved = yaml.safe_load((folder / "run" / "recipe.yaml").read_text())
    assert not {"size", "sizes"} & set(saved)
    loaded = AlignmentModel.from_pretrained(folder / "run" / "model")
    part = manifest.split("test")
    for tower in recipe.towers:
        before, after = (embed_split(m, dataset_of(m, part), tower).embeddings for m in (model.eval(), loaded))
        assert torch.isfinite(after).all()
        torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    for tower in recipe.towers:
        if tower == recipe.text:
            continue
        evaluation = evaluate_zero_shot(loaded, manifest, tower)
        assert {"chance", "modalign"} <= {result.name for result in evaluation.results}
