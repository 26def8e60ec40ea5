"""Text checkpoints: whole, damaged, by name, and what a machine without the Hub is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from modalign.errors import ModelError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.text.encoders import NAMED

text = get_modality("text")


@pytest.fixture
def folder(text_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(text_checkpoint, tmp_path / "checkpoint"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("model.safetensors", b"", "cannot be loaded"),
        ("model.safetensors", b"garbage" * 99, "cannot be loaded"),
        ("config.json", b'{"model_type": "bert", "hidden_size": "abc"}', "cannot be loaded.*hidden_size"),
        ("config.json", b"[]", "cannot be loaded"),
        ("1_Pooling/config.json", b"{", "not valid JSON"),
        ("sentence_bert_config.json", b'{"max_seq_length": "x"}', "max_seq_length = 'x'"),
    ],
)
def test_a_damaged_checkpoint_is_refused(name: str, content: bytes, says: str, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=says) as caught:
        text.build_encoder(checkpoint=str(folder))
    assert "checkpoint" in str(caught.value)


@pytest.mark.parametrize("content", ["garbage", "[]", '{"a": 1}'])
def test_a_damaged_tokenizer_is_refused(content: str, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(content)
    process = text.build_processing(tokenizer=str(folder))
    with pytest.raises(RecipeError, match="cannot load a tokenizer"):
        process(text.load("a tone"))


def test_weights_that_are_lacking_are_not_left_random(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "pooler" not in k}, folder / "model.safetensors", {"format": "pt"})
    text.build_encoder(checkpoint=str(folder))  # the mean needs no pooler
    with pytest.raises(ModelError, match="lacks 2 weights"):
        text.build_encoder(checkpoint=str(folder), pooling="pooler")
    save_file({k: v for k, v in weights.items() if "layer.1" not in k}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="would stay random"):
        text.build_encoder(checkpoint=str(folder))


def test_a_config_that_is_no_config_is_refused() -> None:
    with pytest.raises(ModelError, match="hf_config"):
        text.build_encoder(hf_config={"model_type": "bert", "hidden_size": "abc"})


def test_the_multilingual_tower_has_a_name(text_checkpoint: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(NAMED, "multilingual", str(text_checkpoint))  # the ordinary way of loading, at the named place
    encoder = text.build_encoder(checkpoint="multilingual")
    assert encoder.processing_defaults()["tokenizer"] == str(text_checkpoint)
    assert json.dumps(encoder.options())


def test_offline_the_multilingual_tower_says_how_to_give_a_folder() -> None:
    with pytest.raises(ModelError, match=r"multilingual-MiniLM-L12-v2.*give its path as options\.checkpoint"):
        text.build_encoder(checkpoint="multilingual")  # HF_HUB_OFFLINE is set for every test
