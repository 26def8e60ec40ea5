"""The sum of losses: terms, pairs, any number of modalities with cells missing, states in checkpoints, dropout."""

from pathlib import Path

import numpy as np
import pytest
import torch

from modalign import ModelError, RecipeError, build_model
from modalign.align.config import LossConfig, Pair
from modalign.align.data import AlignmentDataset
from modalign.align.embed import evaluate_pairs
from modalign.align.losses import infonce, mv_infonce
from modalign.align.losses.gap import uniform
from modalign.align.manifest import parse_table
from modalign.align.model import AlignmentOutput
from modalign.align.objective import Objective
from modalign.align.pairs import pair_batch, views_of
from modalign.align.recipe_files import parse_recipe
from modalign.align.trainer import AlignmentTrainer
from modalign.modalities import get_modality
from tests.align.losses.vectors import random_rows
from tests.align.test_trainer import StopAt
from tests.conftest import make_recipe, read_table

TWO = torch.tensor(2.0, dtype=torch.float64)


def rows_with_gaps(rows=9, seed=0):
    """Towers a, b, c of which rows miss some at random: tower -> position -> row of its embeddings."""
    generator = np.random.default_rng(seed)
    has = {name: [n for n in range(rows) if generator.random() < 0.7] for name in "abc"}
    place = {name: {n: k for k, n in enumerate(present)} for name, present in has.items()}
    output = AlignmentOutput({name: random_rows(len(present), seed=ord(name)) for name, present in has.items()}, TWO)
    return place, output


@pytest.mark.parametrize("pairs", [[("a", "b")], [("a", "b"), ("a", "c")], [("a", "b"), ("a", "c"), ("b", "c")]])
def test_pairs_are_the_losses_of_the_observed_rows(pairs):
    place, output = rows_with_gaps()
    edges = [Pair(a=a, b=b, weight=1 + k) for k, (a, b) in enumerate(pairs)]
    found = [pair_batch(pair, place, place, range(9)) for pair in edges]
    batch = {"pairs": [vars(p) for p in found]}
    value = Objective(LossConfig(), edges)(output, batch, 0.0)
    expected = 0
    for k, (a, b) in enumerate(pairs):
        shared = [n for n in range(9) if n in place[a] and n in place[b]]
        x, y = (output.embeddings[name][[place[name][n] for n in shared]] for name in (a, b))
        expected = expected + (1 + k) * infonce(x, y, TWO)
    torch.testing.assert_close(value, expected)


def test_views_are_the_losses_of_the_observed_sub_batches():
    place, output = rows_with_gaps(rows=24)
    batch = {"pairs": [], "views": [vars(view) for view in views_of(place, place, range(24))]}
    value = Objective(LossConfig(name="mv_infonce"), [])(output, batch, 0.0)
    patterns: dict[tuple, list[int]] = {}
    for n in range(24):
        patterns.setdefault(tuple(name for name in "abc" if n in place[name]), []).append(n)
    kept = {towers: rows for towers, rows in patterns.items() if len(towers) > 1 and len(rows) > 1}
    assert len(kept) > 2
    total = sum(map(len, kept.values()))
    expected = 0
    for towers, rows in kept.items():
        views = [output.embeddings[name][[place[name][n] for n in rows]] for name in towers]
        expected = expected + len(rows) / total * mv_infonce(views, TWO)
    torch.testing.assert_close(value, expected)
    whole = [vars(view) for view in views_of(place, place, range(24)) if len(view.towers) == 3]
    alone = Objective(LossConfig(name="symile"), [])(output, {"pairs": [], "views": batch["views"]}, 0.0)
    # Rows with fewer views than it needs weigh nothing.
    torch.testing.assert_close(
        alone, Objective(LossConfig(name="symile"), [])(output, {"pairs": [], "views": whole}, 0.0)
    )


def test_terms_are_added_with_their_weights():
    place, output = rows_with_gaps()
    pair = Pair(a="a", b="b")
    found = pair_batch(pair, place, place, range(9))
    batch = {"pairs": [vars(found)]}
    config = LossConfig(weight=2, plus=[{"name": "uniform", "weight": 0.5}])
    x, y = output.embeddings["a"][found.a_index], output.embeddings["b"][found.b_index]
    torch.testing.assert_close(
        Objective(config, [pair])(output, batch, 0.0), 2 * infonce(x, y, TWO) + 0.5 * uniform(x, y)
    )


def three(text_checkpoint, **overrides):
    """Two towers of recordings and one of text."""
    towers = make_recipe(text_checkpoint).model_dump()["towers"]
    other = {**towers["tone"], "modality": "tone", "options": {"width": 6}}
    return make_recipe(text_checkpoint, towers={**towers, "other": other}, **{"pairs": "all", **overrides})


def thirds(manifest_file):
    """The manifest with a second recording of each row, a third of all cells empty."""
    table = read_table(manifest_file)
    table["other"] = table["tone"].to_numpy()[::-1]
    table["text"] = [f"a {label} tone is heard" for label in table["label"]]
    table["label"] = ""
    generator = np.random.default_rng(1)
    for i in range(len(table)):
        table.loc[i, generator.choice(["text", "tone", "other"])] = ""
    kinds = {"text": get_modality("text"), "tone": get_modality("tone"), "other": get_modality("tone")}
    table["rows"] = range(len(table))
    return parse_table(table.drop(columns=["rows", "cluster"]), kinds, root=manifest_file.parent)


def test_all_pairs_and_a_star(text_checkpoint):
    ends = {(pair.a, pair.b) for pair in three(text_checkpoint).pairs}
    assert ends == {("text", "tone"), ("text", "other"), ("tone", "other")}
    star = three(text_checkpoint, pairs={"star": "tone"}).pairs
    assert {(pair.a, pair.b) for pair in star} == {("tone", "text"), ("tone", "other")}


STATES = ["isogclr", "protoclip", "clap"]


@pytest.mark.parametrize("name", [*STATES, "gist", "m3col", "mv_dhel", "gram"])
def test_every_kind_of_loss_trains_three_modalities_with_gaps(text_checkpoint, manifest_file, tmp_path, name):
    options = {"clusters": 3} if name == "protoclip" else {}
    recipe = three(text_checkpoint, loss={"name": name, "options": options})
    rows = thirds(manifest_file)
    model = build_model(recipe)
    trainer = AlignmentTrainer(model, recipe, rows.split("train"), rows.split("val"), tmp_path)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses
    assert np.isfinite(losses).all()
    for tower in ("tone", "other"):
        assert any(not torch.equal(p, before[n]) for n, p in model.named_parameters() if n in before and tower in n)
    evaluated = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert np.isfinite(evaluated).all()


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("stop", [3, 4], ids=["end of an epoch", "middle of an epoch"])
def test_the_state_of_a_loss_resumes_exactly(text_checkpoint, manifest, tmp_path, name, stop):
    options = {"clusters": 3} if name == "protoclip" else {}
    towers = {
        "text": {"options": {"checkpoint": str(text_checkpoint)}, "tune": "full"},
        "tone": {"options": {"dropout": 0.3}, "augment": [{"name": "gain"}]},
    }
    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "log_every": 1}
    recipe = make_recipe(text_checkpoint, towers=towers, training=settings, loss={"name": name, "options": options})

    def trainer_for(out, **options):
        torch.manual_seed(0)
        rows = manifest.split("train"), manifest.split("val")
        return AlignmentTrainer(build_model(recipe), recipe, *rows, out, **options)

    whole = trainer_for(tmp_path / "whole")
    whole.train()
    broken = trainer_for(tmp_path / "broken", callbacks=[StopAt(stop)])
    broken.train()
    torch.manual_seed(99)
    resumed = trainer_for(tmp_path / "broken")
    resumed.train(resume_from_checkpoint=str(resumed.resume()))
    for key, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[key]), key
    for key, tensor in whole.objective.state_dict().items():
        assert torch.equal(tensor, resumed.objective.state_dict()[key]), key
    (tmp_path / "broken" / "checkpoint-9" / "loss.safetensors").unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"has no loss\.safetensors"):
        resumed._load_from_checkpoint(str(tmp_path / "broken" / "checkpoint-9"))


def test_a_state_goes_to_the_row_with_the_same_id(tmp_path):
    from modalign.align.objective_state import load_state, save_state
    from tests.align.losses.vectors import Rows

    def made():
        objective = Objective(LossConfig(name="isogclr"), [Pair(a="x", b="y")])
        objective.start({"x+y": Rows(rows=3)})
        return objective

    first, second = made(), made()
    (state,) = first.stateful().values()
    state.tau_x.copy_(torch.tensor([0.1, 0.2, 0.3]))
    save_state(first, ["a", "b", "c"], tmp_path)
    load_state(second, ["c", "a", "b"], tmp_path)
    (got,) = second.stateful().values()
    assert got.tau_x.tolist() == pytest.approx([0.3, 0.1, 0.2])
    with pytest.raises(ModelError, match="does not know row 'd'"):
        load_state(second, ["a", "b", "d"], tmp_path)


def test_modality_dropout_leaves_two_and_is_a_function_of_row_and_epoch(text_checkpoint, manifest_file, tmp_path):
    recipe = three(text_checkpoint, training={"batch_size": 8, "modality_dropout": 0.6})
    table = read_table(manifest_file)
    table["other"] = table["tone"]
    table["text"] = "a tone"
    kinds = {"text": get_modality("text"), "tone": get_modality("tone"), "other": get_modality("tone")}
    rows = parse_table(table, kinds, root=manifest_file.parent).split("train")
    dataset = AlignmentTrainer(build_model(recipe), recipe, rows, None, tmp_path).train_rows
    seen = [set(dataset[epoch, i].keys) for epoch in range(4) for i in range(len(dataset))]
    assert {len(towers) for towers in seen} == {2, 3}
    assert {frozenset(t) for t in seen if len(t) == 2} == {
        frozenset(p) for p in (("text", "tone"), ("text", "other"), ("tone", "other"))
    }
    assert set(dataset[3, 5].keys) == set(dataset[3, 5].keys)
    share = sum(len(towers) == 2 for towers in seen) / len(seen)
    assert share == pytest.approx(1 - 0.4**3, abs=0.12)  # one goes where any of three draws falls below 0.6


def test_rows_that_a_loss_cannot_use_are_counted(text_checkpoint, manifest_file, tmp_path):
    recipe = three(text_checkpoint, loss={"name": "symile", "plus": [{"name": "infonce"}]})
    rows = thirds(manifest_file).split("train")
    trainer = AlignmentTrainer(build_model(recipe), recipe, rows, None, tmp_path)
    assert "symile: 24 of 24 rows have fewer than 3 modalities" in trainer.notes


def test_gist_takes_a_saved_model_as_its_guide(text_checkpoint, manifest, tmp_path):
    guide = build_model(make_recipe(text_checkpoint, dim=8, seed=3))
    guide.save_pretrained(tmp_path / "guide")
    loss = {"name": "gist", "options": {"guide": str(tmp_path / "guide")}}
    recipe = make_recipe(text_checkpoint, loss=loss)
    rows = manifest.split("train")
    trainer = AlignmentTrainer(build_model(recipe), recipe, rows, None, tmp_path / "run")
    (state,) = trainer.objective.stateful().values()
    expected = guide.eval().embed("tone", [row.sources["tone"] for row in rows.rows])
    torch.testing.assert_close(state.guide_y, expected)
    trainer.train()
    resumed = AlignmentTrainer(build_model(recipe), recipe, rows, None, tmp_path / "run")
    resumed._load_from_checkpoint(str(resumed.resume()))
    other = make_recipe(
        text_checkpoint,
        towers={"text": recipe.towers["text"].model_dump(), "hum": {"modality": "tone"}},
        pairs=[["text", "hum"]],
        loss=loss,
    )
    rows = parse_table(
        read_table(Path(manifest.path)).rename(columns={"tone": "hum"}),
        {"text": get_modality("text"), "hum": get_modality("tone")},
        root=Path(manifest.path).parent,
    )
    with pytest.raises(RecipeError, match="has no tower 'hum'"):
        AlignmentTrainer(build_model(other), other, rows.split("train"), None, tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dcl", {"direction": "up"}, "not one of both, x2y, y2x"),
        ("infonce", {"smoothing": 2}, r"not in \[0, 1\]"),
        ("dclw", {"sigma": 0}, "gives nan"),
        ("m3col", {"temperature": 0}, "gives (nan|inf)"),
        ("gram", {"smoothing": 5}, r"not in \[0, 1\)"),
        ("isogclr", {"least": 2, "most": 1}, "in this order"),
        ("clap", {"init": -1}, r"not in \[0\.01, 1\]"),
        ("gist", {"direction": "up"}, "not one of both"),
        ("protoclip", {"clusters": 1}, "two or more"),
        ("mv_infonce", {"denominator": "none"}, "not one of all, cross"),
        ("symile", {"negatives": "some"}, "not one of n_squared, n"),
    ],
)
def test_options_are_refused_before_training(name, options, message):
    state = torch.get_rng_state()
    with pytest.raises(RecipeError, match=message):
        Objective(LossConfig(name=name, options=options), [Pair(a="x", b="y")])
    assert torch.equal(state, torch.get_rng_state())


def test_settings_without_effect_are_refused(text_checkpoint, manifest, tmp_path):
    with pytest.raises(RecipeError, match="two towers can go without neither"):
        make_recipe(text_checkpoint, training={"modality_dropout": 0.1})
    with pytest.raises(RecipeError, match=r"loss\.options\.anchor: no tower 'txt'; did you mean 'text'"):
        make_recipe(text_checkpoint, loss={"name": "gram", "options": {"anchor": "txt"}})
    recipe = make_recipe(text_checkpoint, training={"hard_captions": ["order"]})
    with pytest.raises(RecipeError, match="hard_captions: the loss takes none"):
        AlignmentTrainer(build_model(recipe), recipe, manifest.split("train"), None, tmp_path)
    assert Objective(LossConfig(name="siglip"), [], has_bias=True) is not None  # without pairs, as fine-tuning has it


def test_dropout_in_a_star_leaves_a_pair(text_checkpoint, manifest_file, tmp_path):
    training = {"batch_size": 8, "modality_dropout": 0.9}
    recipe = three(text_checkpoint, pairs={"star": "tone"}, training=training)
    table = read_table(manifest_file)
    table["other"], table["text"] = table["tone"], "a tone"
    kinds = {"text": get_modality("text"), "tone": get_modality("tone"), "other": get_modality("tone")}
    rows = parse_table(table, kinds, root=manifest_file.parent).split("train")
    dataset = AlignmentTrainer(build_model(recipe), recipe, rows, None, tmp_path).train_rows
    seen = [set(dataset[0, i].keys) for i in range(len(dataset))]
    assert all("tone" in towers and len(towers) >= 2 for towers in seen)
    assert any(len(towers) == 2 for towers in seen)


def test_val_loss_weighs_rows(text_checkpoint, manifest):
    model = build_model(make_recipe(text_checkpoint)).eval()
    dataset = AlignmentDataset(manifest.take(range(10, 15)), {name: model.tower(name) for name in model.towers})
    pairs = make_recipe(text_checkpoint).pairs
    objective = Objective(LossConfig(), pairs)
    whole = evaluate_pairs(model, dataset, pairs, objective, {}, loss_rows=3)["loss"]
    parts = [
        evaluate_pairs(model, dataset.with_manifest(manifest.take(part)), pairs, objective, {})["loss"]
        for part in (range(10, 13), range(13, 15))
    ]
    assert whole == pytest.approx((3 * parts[0] + 2 * parts[1]) / 5, rel=1e-5)


def test_wrong_recipes_are_refused(text_checkpoint):
    with pytest.raises(RecipeError, match="did you mean 'uniform'"):
        Objective(LossConfig(plus=[{"name": "unifrm"}]), [])
    with pytest.raises(RecipeError, match="no such key"):
        parse_recipe({"towers": {"text": {}, "tone": {}}, "pairs": "all", "loss": {"plus": [{"nam": "x"}]}})
