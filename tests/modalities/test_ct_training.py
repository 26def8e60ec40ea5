"""A manifest of folders and files of CT is trained on, saved, loaded and embedded; formats give one embedding."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from modalign.align.model import AlignmentModel
from modalign.align.recipe_files import load_recipe, parse_recipe
from modalign.tasks.training import open_manifest, train
from tests.modalities.ct_files import blob, places, ramp, tilted, write_nifti, write_nrrd, write_series


def test_the_recipe_is_valid() -> None:
    recipe = load_recipe("ct")
    assert {tower.modality or name for name, tower in recipe.towers.items()} == {"text", "ct"}


def test_train_save_load_embed(text_checkpoint: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    rows = []
    for n in range(4):
        folder = write_series(root / f"series{n}", places(6 + n), function=ramp if n % 2 else blob, slope=1.0)
        rows.append({"ct": folder.name, "label": "low" if n % 2 else "high"})
    rows.append({"ct": write_nifti(root / "a.nii.gz").name, "ct.unit": "HU", "label": "low"})
    rows.append({"ct": write_nrrd(root / "b.nrrd").name, "ct.unit": "HU", "label": "low"})
    leaning = write_series(root / "leaning", orientation=tilted(10), function=blob)
    rows.append({"ct": leaning.name, "ct.resample": "true", "label": "high"})
    table = pd.DataFrame(rows).assign(id=[f"r{n}" for n in range(len(rows))], split="train")
    table.to_csv(root / "m.csv", index=False)
    recipe = parse_recipe(
        {
            "name": "tiny", "dim": 8,
            "towers": {
                "text": {"options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen"},
                "ct": {
                    "options": {"stages": [4, 8]},
                    "processing": {"spacing": 1.0, "foreground": -900, "shape": [16, 16, 16], "larger": "random"},
                    "augment": [{"name": "affine"}, {"name": "noise"}, {"name": "intensity"}, {"name": "flip"}],
                },
            },
            "pairs": [["text", "ct"]],
            "training": {"epochs": 2, "batch_size": 4},
        }
    )  # fmt: skip
    manifest = open_manifest(recipe.model_part(), root / "m.csv")
    model = train(recipe, manifest, tmp_path / "run", untrained=False)
    assert sum(path.is_file() for path in (tmp_path / "run/cache").iterdir()) == len(rows)
    assert not any(word in (tmp_path / "run/model/training.json").read_text() for word in ("Doe", "secret"))
    loaded = AlignmentModel.from_pretrained(tmp_path / "run/model")
    folders = [root / f"series{n}" for n in range(4)]
    first = loaded.embed("ct", folders)
    torch.testing.assert_close(first, model.embed("ct", folders))
    assert torch.equal(first, loaded.embed("ct", folders))
    same = write_series(root / "same", slope=1.0)
    for name in ("a.nii.gz", "b.nrrd"):
        other = loaded.embed("ct", [root / name], unit="HU")
        torch.testing.assert_close(other, loaded.embed("ct", [same]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("encoder", ["cnn3d", "slices"])
def test_the_real_head_is_embedded(encoder: str, real_data: Path, text_checkpoint: Path) -> None:
    processing = {"spacing": 3.0, "foreground": -500}
    if encoder == "cnn3d":
        processing["shape"] = [48, 64, 64]
    towers = {
        "text": {"options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen"},
        "ct": {"encoder": encoder, "processing": processing},
    }
    model = AlignmentModel({"towers": towers, "dim": 8}).eval()
    embedded = model.embed("ct", [real_data / "ct_dicom/ge_head_series"], resample=True)
    assert embedded.shape == (1, 8)
    assert embedded.norm().item() == pytest.approx(1, abs=1e-5)
