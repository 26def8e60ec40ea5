"""Pushing to a Hub and loading from it, over HTTP, in a process of its own: its address is read when it starts."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from modalign import AlignmentModel, build_model
from tests.conftest import make_recipe
from tests.hub import Hub

PUSH = """
import sys
import torch
from modalign import AlignmentModel
from tests import tone

model = AlignmentModel.from_pretrained(sys.argv[1])
model.push_to_hub("user/name", token="hf_of_no_one", model_card_kwargs={"license": "cc-by-4.0"})
again = AlignmentModel.from_pretrained("user/name")
said = {"steps": again.embed("text", ["a low tone"]), "record": again.record}
torch.save(said, sys.argv[2])
"""


@pytest.fixture
def saved(text_checkpoint, tmp_path):
    model = build_model(make_recipe(text_checkpoint)).eval()
    model.record = {"labels": ["low", "high"], "rows": 24, "groups": 4, "text": "text"}
    model.save_pretrained(tmp_path / "model")
    return model, tmp_path / "model"


def test_a_model_goes_to_the_hub_whole_and_comes_back_the_same(saved, tmp_path):
    model, folder = saved
    with Hub() as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-c", PUSH, str(folder), str(tmp_path / "said.pt")]
        root = Path(__file__).parents[2]
        run = subprocess.run(
            command, env=environment, cwd=root, capture_output=True, text=True, timeout=240, check=False
        )
        assert run.returncode == 0, run.stderr[-3000:]
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert set(hub.files) == set(there)
    assert hub.large == {"model.safetensors"}
    for name in ("config.json", "model.safetensors", "training.json"):
        assert hub.files[name] == there[name], name
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in hub.files.items()}
    del hashes["README.md"], hashes["checksums.json"]
    assert json.loads(hub.files["checksums.json"]) == hashes  # each file arrived whole
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.license == "cc-by-4.0"
    assert "from_pretrained('user/name')" in card.text
    assert str(tmp_path) not in "".join(content.decode(errors="ignore") for content in hub.files.values())
    said = torch.load(tmp_path / "said.pt", weights_only=True)
    torch.testing.assert_close(said["steps"], model.embed("text", ["a low tone"]), rtol=0, atol=0)
    assert said["record"] == model.record


def test_figures_on_the_card_are_pushed_while_the_weights_are_the_same(saved, tmp_path):
    _, folder = saved
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nWritten by hand.\n")
    model = AlignmentModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "copy", model_card_kwargs={"license": "mit", "repo_id": "user/tones"})
    card = ModelCard.load(tmp_path / "copy" / "README.md")
    assert (card.data.license, card.data.get("license_name")) == ("mit", None)
    assert "from_pretrained('user/tones')" in card.text
    assert "No licence" not in card.text
    assert "Written by hand." in (tmp_path / "copy" / "README.md").read_text()
    with torch.no_grad():
        model.temperature.log_scale += 1
    model.save_pretrained(tmp_path / "other")
    assert "Written by hand." not in (tmp_path / "other" / "README.md").read_text()
    model.save_pretrained(folder)  # a card of other weights does not stay beside these
    assert "Written by hand." not in (folder / "README.md").read_text()
    assert "README.md" not in json.loads((folder / "checksums.json").read_text())
