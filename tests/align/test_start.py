"""Going on from a saved model: its weights, constants and temperature come first, and LoRA goes on top of them."""

import json

import pytest
import torch

from modalign import ModelError, RecipeError, build_model, load_recipe, train
from modalign.tasks.training import untrained_recipe
from tests.conftest import make_recipe


@pytest.fixture
def base(recipe, manifest, tmp_path):
    return train(recipe, manifest, tmp_path / "base", untrained=False)


@pytest.mark.parametrize("tune", ["full", "lora", "frozen"])
def test_it_starts_where_the_base_ended(base, tmp_path, tune, manifest):
    again = build_model(load_recipe(tmp_path / "base", [f"towers.tone.tune={tune}", "seed=5"])).eval()
    sources = [row.sources["tone"] for row in manifest.rows[:3]]
    torch.testing.assert_close(again.embed("tone", sources), base.eval().embed("tone", sources))
    torch.testing.assert_close(again.embed("text", ["a low tone"]), base.embed("text", ["a low tone"]))
    assert again.temperature().item() == pytest.approx(base.temperature().item())
    assert again.tower("tone").processing == base.tower("tone").processing


def test_lora_on_a_base_trains_saves_and_merges(base, manifest, tmp_path, without_checkpoints):
    recipe = load_recipe(tmp_path / "base" / "model", ["towers.tone.tune=lora", "training.learning_rate=0.05"])
    tuned = train(recipe, manifest, tmp_path / "tuned")
    sources = [row.sources["tone"] for row in manifest.rows[:3]]
    after = tuned.embed("tone", sources)
    assert not torch.allclose(after, base.embed("tone", sources), atol=1e-3)
    third = build_model(load_recipe(tmp_path / "tuned", ["towers.tone.tune=full"])).eval()
    torch.testing.assert_close(third.embed("tone", sources), after, atol=1e-5, rtol=1e-5)


def test_constants_are_the_base_s_and_not_fitted_again(base, manifest, tmp_path):
    recipe = load_recipe(tmp_path / "base")
    before = base.tower("tone").projection.sd.clone(), base.tower("text").projection.sd.clone()
    few = manifest.take(list(range(12)))
    tuned = train(recipe, few, tmp_path / "tuned", untrained=False)
    assert tuned.tower("tone").processing == base.tower("tone").processing
    assert torch.equal(tuned.tower("text").projection.sd, before[1])


def test_the_twin_s_recordings_are_random_and_its_text_is_the_base_s(base, tmp_path):
    recipe = load_recipe(tmp_path / "base")
    model = build_model(recipe)
    twin = build_model(untrained_recipe(recipe, model), ["text"])
    same = [torch.equal(a, b) for a, b in zip(twin.tower("text").parameters(), model.tower("text").parameters())]
    assert all(same)
    assert not torch.equal(*(m.tower("tone").projection.layers.weight for m in (twin, model)))


def test_refusals(base, text_checkpoint, tmp_path, manifest):
    saved = str(tmp_path / "base" / "model")
    with pytest.raises(RecipeError, match="the projection of 'text' in"):
        build_model(make_recipe(text_checkpoint, dim=8, init=saved))
    towers = {**make_recipe(text_checkpoint).model_dump()["towers"], "tone": {"options": {"width": 5}}}
    with pytest.raises(RecipeError, match="the encoder of 'tone' in"):
        build_model(make_recipe(text_checkpoint, towers=towers, init=saved))
    with pytest.raises(ModelError, match="no such folder"):
        build_model(make_recipe(text_checkpoint, init=str(tmp_path / "nothing" / "at" / "all")))
    (tmp_path / "base" / "model" / "training.json").write_text(json.dumps({}))
    with pytest.raises(RecipeError, match="says what it was trained by"):
        load_recipe(tmp_path / "base")
