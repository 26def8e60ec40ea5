"""X-ray towers in a model: trained on files, saved without their checkpoint, with LoRA and DropKey."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from modalign import AlignmentModel, build_model
from modalign.modalities import get_modality
from modalign.modalities.layers.hf_drop_key import attentions
from modalign.tasks.training import open_manifest, train
from tests.conftest import make_recipe
from tests.modalities.test_xray_conformance import TINY
from tests.modalities.xray_files import picture, write_dicom, write_picture

xray = get_modality("xray")


def recipe(text_checkpoint: Path, tower: dict[str, Any], **more: Any) -> Any:
    text = {"options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen", "projection": {"kind": "linear"}}
    towers = {"text": text, "xray": {"projection": {"kind": "linear"}, **tower}}
    return make_recipe(text_checkpoint, towers=towers, pairs=[["text", "xray"]], **more)


@pytest.mark.parametrize("tune", ["full", "lora", "frozen"])
def test_a_checkpoint_is_not_needed_again(tune: str, text_checkpoint: Path, tmp_path: Path) -> None:
    import transformers

    transformers.Dinov2Model(transformers.Dinov2Config(**TINY)).save_pretrained(tmp_path / "dino")
    said = '{"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.2, 0.3], "crop_size": 48}'
    (tmp_path / "dino/preprocessor_config.json").write_text(said)
    options = {"checkpoint": str(tmp_path / "dino"), "drop_key": 0.2, "schedule": "linear"}
    model = build_model(recipe(text_checkpoint, {"encoder": "vit", "options": options, "tune": tune})).eval()
    signals = [xray.load(picture(size)) for size in (40, 64)]
    before = model.embed("xray", signals)
    model.save_pretrained(tmp_path / "saved")
    shutil.rmtree(tmp_path / "dino")
    again = AlignmentModel.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.embed("xray", signals), before)
    processing: Any = again.tower("xray").processing
    assert (processing.size, processing.mean) == ((48, 48), (0.4, 0.5, 0.6))
    assert [m.drop_key for m in attentions(again.tower("xray").encoder)] == [0.2, 0.0]


def test_training_on_files(text_checkpoint: Path, tmp_path: Path) -> None:
    rows = []
    for n in range(24):
        high = n % 2 == 0
        pixels = picture(40, 4095, n) if high else picture(40, 4095, n)[::-1].copy()
        if n % 3:
            path = write_dicom(tmp_path / f"{n}.dcm", pixels, BitsStored=12)
        else:
            path = write_picture(tmp_path / f"{n}.png", pixels)
        label, split = ("high tone" if high else "low tone"), ("train", "train", "val", "test")[n // 6]
        rows.append({"id": n, "xray": path.name, "xray.bits": "" if n % 3 else 12, "label": label, "split": split,
                     "group": n})  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    tower = {
        "encoder": "cnn", "options": {"stages": [8, 16]}, "processing": {"size": 32, "clahe": True},
        "augment": [{"name": "random_resized_crop", "scale": [0.8, 1]}, {"name": "shift"}],
        "tune": "full",
    }  # fmt: skip
    training = {"epochs": 30, "batch_size": 8, "learning_rate": 0.01, "evaluate_every": 10}
    made = recipe(text_checkpoint, tower, training=training)
    model = train(made, open_manifest(made, tmp_path / "manifest.csv"), tmp_path / "run", untrained=False)
    processing: Any = model.tower("xray").processing
    assert 0.1 < processing.mean[0] < 0.9, "from the training rows"
    again = AlignmentModel.from_pretrained(tmp_path / "run/model")
    signals = [xray.load(tmp_path / "22.dcm"), xray.load(tmp_path / "23.dcm")]
    assert torch.equal(again.embed("xray", signals), model.embed("xray", signals))
    texts = again.embed("text", ["high tone", "low tone"])
    assert (again.embed("xray", signals) @ texts.T).argmax(1).tolist() == [0, 1]
