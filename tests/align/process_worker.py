"""What each process of `test_processes.py` runs: train by some recipes, and save the weights and the logs."""

import json
import logging
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from modalign import build_model
from modalign.align.manifest import read_manifest
from modalign.align.recipe_files import parse_recipe
from modalign.align.trainer import AlignmentTrainer
from modalign.modalities import get_modality
from tests import tone  # noqa: F401  # registers the modality "tone"


def train(tree: dict, manifest_file: Path, out: Path) -> AlignmentTrainer:
    """Without dropout, which no two cuts of a batch draw alike."""
    torch.use_deterministic_algorithms(True)
    recipe = parse_recipe(tree)
    modalities = {name: get_modality(tower.modality or name) for name, tower in recipe.towers.items()}
    manifest = read_manifest(manifest_file, modalities)
    model = build_model(recipe)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    trainer = AlignmentTrainer(model, recipe, manifest.split("train"), manifest.split("val"), out)
    found = trainer.resume()
    trainer.train(resume_from_checkpoint=str(found) if found else None)
    return trainer


def main() -> None:
    folder = Path(sys.argv[1])
    logging.disable(logging.WARNING)
    for name, tree in json.loads((folder / "recipes.json").read_text()).items():
        trainer = train(tree, folder / "manifest.csv", folder / name)
        rank = trainer.args.process_index
        save_file(dict(trainer.model.state_dict()), folder / f"{name}-{rank}.safetensors")
        (folder / f"{name}-{rank}.json").write_text(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    main()
