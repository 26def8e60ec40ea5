"""Several processes train as one does: same batches, losses, weights and figures, with rows that miss modalities."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from modalign import RecipeError, build_model
from modalign.align.collate import Collator
from modalign.align.config import Recipe
from modalign.align.data import AlignmentDataset
from modalign.align.objective import Objective
from modalign.align.processes import Shares, check_cut
from tests.align.process_worker import train
from tests.conftest import make_recipe

TOWERS = {
    "text": {"tune": "full", "projection": {"kind": "linear"}},
    "tone": {"augment": [{"name": "gain"}]},
    "hum": {"modality": "tone", "projection": {"kind": "linear"}},
}
TRAINING = {"epochs": 2, "batch_size": 7, "learning_rate": 0.01, "log_every": 1}
RECIPES = {
    "plain": {},
    "frozen": {
        "towers": {**TOWERS, "text": {"tune": "frozen"}},
        "training": {**TRAINING, "accumulation": 2, "modality_dropout": 0.3},
        "temperature": {"learnable": False},
    },
    "gradcache": {
        "training": {**TRAINING, "micro_batch": 2, "max_grad_norm": 0.1},
        "loss": {"name": "siglip", "positives": "label"},
        "temperature": {"bias": -3.0},
    },
}


def recipe_tree(text_checkpoint: Path, **changes: object) -> dict:
    towers = {**TOWERS, **changes.pop("towers", {})}
    towers["text"] = {**towers["text"], "options": {"checkpoint": str(text_checkpoint)}}
    pairs = [["text", "tone"], ["text", "hum", 0.5], ["tone", "hum"]]
    settings = {"pairs": pairs, "training": TRAINING, **changes}
    return make_recipe(text_checkpoint, towers=towers, **settings).model_dump(mode="json")


def gaps(manifest_file: Path) -> pd.DataFrame:
    """A third tower, a third of the cells empty, and 23 train rows: 7, 7, 7 and 2."""
    table = pd.read_csv(manifest_file, dtype=str, keep_default_na=False)
    table["hum"] = table["tone"].where([k % 3 != 1 for k in range(len(table))], "")
    table.loc[[k % 5 == 2 for k in range(len(table))], "tone"] = ""
    table.loc[[k % 4 == 1 for k in range(len(table))], ["text", "label"]] = ""
    table = table[(table["tone"] + table["hum"] + table["text"] + table["label"]) != ""]
    train_rows = table[table["split"] == "train"].head(23)
    assert len(train_rows) == 23
    return pd.concat([train_rows, table[table["split"] != "train"]])


def launch(folder: Path, count: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.align.process_worker", str(folder)]
    workers = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=300)
            assert worker.returncode == 0, errors[-3000:]
    finally:
        for worker in workers:
            worker.kill()


@pytest.mark.parametrize(("count", "names"), [(2, ["plain", "frozen", "gradcache"]), (3, ["frozen"])])
def test_several_processes_train_as_one(text_checkpoint, manifest_file, tmp_path, count, names):
    """With three, a share of the last batch is empty."""
    recipes = {name: recipe_tree(text_checkpoint, **RECIPES[name]) for name in names}
    folder = manifest_file.parent
    gaps(manifest_file).to_csv(manifest_file, index=False)
    (folder / "recipes.json").write_text(json.dumps(recipes))
    launch(folder, count)
    for name, tree in recipes.items():
        alone = train(tree, manifest_file, tmp_path / name)
        logs = [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(count)]
        assert [h for h in logs[0] if "train_runtime" not in h] == [h for h in logs[1] if "train_runtime" not in h]
        for kind in ("loss", "grad_norm", "eval_loss", "eval_R@1"):
            expected = [h[kind] for h in alone.state.log_history if kind in h]
            assert [h[kind] for h in logs[0] if kind in h] == pytest.approx(expected, rel=1e-3), (name, kind)
        for rank in range(count):
            found = load_file(folder / f"{name}-{rank}.safetensors")
            for key, tensor in alone.model.state_dict().items():
                if key.endswith("key.bias"):
                    continue  # softmax does not see it: its gradient is rounding, which Adam makes large
                torch.testing.assert_close(found[key], tensor, atol=1e-5, rtol=1e-4, msg=f"{name} {rank} {key}")
        assert len(list((folder / name).glob("checkpoint-*"))) == 2


def test_shares_know_the_whole_batch(text_checkpoint, manifest):
    """The parts in order are the batch; groups, pairs and their sizes are the same in all."""
    for k in (0, 1, 2, 3):
        manifest.rows[k].sources.pop("tone")
    recipe = make_recipe(text_checkpoint)
    model = build_model(recipe)
    dataset = AlignmentDataset(manifest, {n: model.tower(n) for n in model.towers}, train=True, modality_dropout=0.5)
    collate = Collator(dataset, recipe.pairs, {}, by_label=True, views=True)
    batch = [(3, i) for i in range(10)]
    whole = collate([dataset[index] for index in batch])
    parts = [collate(Shares(dataset, rank, 3).__getitems__(batch)) for rank in range(3)]
    for kind in ("pairs", "views"):
        (expected,) = whole[kind]
        own = [part[kind][0] for part in parts]
        assert len(own[0]["rows"]) == 0
        assert [o["size"] for o in own] == [expected["size"]] * 3
        for key in ("groups", "rows"):
            assert torch.equal(torch.cat([o[key] for o in own]), expected[key]), key


def test_modality_dropout_is_known_without_reading(text_checkpoint, manifest):
    for row in manifest.rows:
        row.sources["hum"], row.fields["hum"] = row.sources["tone"], row.fields["tone"]
    model = build_model(Recipe(**recipe_tree(text_checkpoint)))
    dataset = AlignmentDataset(manifest, {n: model.tower(n) for n in model.towers}, train=True, modality_dropout=0.5)
    found = {dataset.towers_of(epoch, i) for epoch in range(3) for i in range(12)}
    assert len(found) > 2
    for epoch in range(3):
        for i in range(12):
            assert dataset.towers_of(epoch, i) == tuple(n for n in model.towers if n in dataset[epoch, i].contents)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("isogclr", r"'isogclr' is not made for several processes.*infonce.*siglip"),
        ("infonce", "tone: encoder.norm is a Batch"),
    ],
)
def test_what_is_not_exact_across_processes_is_refused(text_checkpoint, name, message):
    recipe = make_recipe(text_checkpoint, loss={"name": name})
    model, objective = build_model(recipe), Objective(recipe.loss, recipe.pairs)
    if name == "infonce":
        check_cut(model, objective, recipe, 2, head=False)
        model.tower("tone").encoder.norm = nn.BatchNorm1d(12)
    check_cut(model, objective, recipe, 1, head=False)
    with pytest.raises(RecipeError, match=message):
        check_cut(model, objective, recipe, 2, head=False)
    with pytest.raises(RecipeError, match="do without where a head is trained"):
        check_cut(model, objective, recipe, 2, head=True)
