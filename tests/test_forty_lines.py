"""A second modality, added by a file of 40 lines without touching modalign: it conforms, trains, and classifies."""

from pathlib import Path

import numpy as np
import pandas as pd

from modalign import AlignmentModel, check_modality, train
from modalign.modalities.testing import Sample
from modalign.tasks.evaluate import evaluate_zero_shot
from modalign.tasks.training import open_manifest
from tests import forty_lines
from tests.conftest import make_recipe


def test_it_is_forty_lines():
    assert len(Path(forty_lines.__file__).read_text().splitlines()) <= 40


def test_it_conforms_trains_and_classifies(text_checkpoint, tmp_path):
    generator = np.random.default_rng(0)
    rows = []
    for k in range(24):
        label, steps = (("quiet", 5), ("loud", 110))[k % 2]
        np.savetxt(tmp_path / f"{k}.txt", generator.poisson(steps, size=20 + k))
        split = ("train", "train", "val", "test")[k // 2 % 4]
        rows.append({"id": k, "split": split, "label": label, "steps": f"{k}.txt"})
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    check_modality("steps", [Sample(tmp_path / "0.txt"), Sample(tmp_path / "5.txt")], tmp_path)
    towers = {"text": make_recipe(text_checkpoint).towers["text"], "steps": {}}
    training = {"epochs": 10, "batch_size": 6, "learning_rate": 0.02}
    recipe = make_recipe(text_checkpoint, towers=towers, pairs=[["text", "steps"]], training=training)
    manifest = open_manifest(recipe, tmp_path / "manifest.csv")
    train(recipe, manifest, tmp_path / "run")
    model = AlignmentModel.from_pretrained(tmp_path / "run" / "model")
    assert evaluate_zero_shot(model, manifest, "steps").main.value == 1.0
