"""Text checkpoints: whole, damaged, by name, and what a machine without the Hub is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from modalign.errors import ModelError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.text.encoders import NAMED
from tests.modalities.test_audio_encoders import CLAP

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


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
IDS = torch.tensor([[1, 5, 6, 2, 0, 0], [1, 7, 8, 9, 4, 2]])
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]).bool()


def whole_clip(folder: Path, kind: str) -> Any:
    """A whole model of two towers, saved: its text tower."""
    if kind == "clip":
        said = {**SMALL, "vocab_size": 12, "bos_token_id": 1, "eos_token_id": 2, "projection_dim": 8}
        vision = {**SMALL, "image_size": 16, "patch_size": 8}
        config = transformers.CLIPConfig(text_config=said, vision_config=vision, projection_dim=8)
        whole: Any = transformers.CLIPModel(config)
    else:
        said = {**SMALL, "vocab_size": 12, "max_position_embeddings": 20, "pad_token_id": 0}
        config = transformers.ClapConfig(text_config=said, audio_config=dict(CLAP))
        whole = transformers.ClapModel(config)
    whole.save_pretrained(folder)
    return whole.eval()


@pytest.mark.parametrize("kind", ["clip", "clap"])
def test_the_text_tower_of_a_whole_clip_or_clap(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = whole_clip(tmp_path, kind)
    encoder = text.build_encoder(checkpoint=str(tmp_path)).eval()
    out = encoder(IDS, MASK)
    theirs = whole.text_model(input_ids=IDS, attention_mask=MASK.long())
    pooled = whole.text_projection(theirs.pooler_output) if kind == "clip" else theirs.pooler_output
    torch.testing.assert_close(out.pooled, pooled)
    assert out.pooled.shape == (2, encoder.width)
    assert encoder.width == (8 if kind == "clip" else 16)
    twin = text.build_encoder(**json.loads(json.dumps(encoder.options()))).eval()
    twin.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(twin(IDS, MASK).pooled, out.pooled)
    alone = encoder(IDS[:1, :4], MASK[:1, :4]).pooled
    torch.testing.assert_close(alone, out.pooled[:1], atol=1e-5, rtol=1e-4)
    assert text.build_encoder(checkpoint=str(tmp_path), pooling="mean").width == 16


def test_a_clap_without_a_pooler_is_refused(tmp_path: Path) -> None:
    whole_clip(tmp_path, "clap")
    weights = {k: v for k, v in load_file(tmp_path / "model.safetensors").items() if "text_model.pooler" not in k}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks 2 weights"):
        text.build_encoder(checkpoint=str(tmp_path))


def test_what_is_put_around_a_text(text_checkpoint: Path) -> None:
    plain, framed = (
        text.build_processing(tokenizer=str(text_checkpoint), **more)
        for more in ({}, {"prefix": "a ", "suffix": " sound"})
    )
    signal = text.load("low tone")
    assert torch.equal(framed(signal)["input_ids"], plain(text.load("a low tone sound"))["input_ids"])
    assert framed.restore([torch.ones(6)], signal).tolist() == [1, 1, 1, 0, 1, 1, 1, 1]
