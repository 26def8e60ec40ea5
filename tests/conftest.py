"""What tests share: a tiny text checkpoint in the real format, a tiny modality, and a small manifest of both."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pandas as pd
import pytest
import torch

from modalign.align.config import Recipe
from modalign.align.manifest import Manifest, read_manifest
from modalign.align.recipe_files import parse_recipe
from modalign.modalities import get_modality
from tests import tone  # registers the modality "tone"

WORDS = "a an the low middle high tone sound of is heard quiet loud steady pitch note plays person walks sits one two"


def data_root() -> Path | None:
    """The folder of real files, or None where it is not present."""
    root = Path(os.environ.get("MODALIGN_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    return root.resolve() if root.is_dir() else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    root = data_root()
    if root is None:
        pytest.skip("set MODALIGN_DATA to the folder of real files")
    return root


@pytest.fixture(scope="session")
def text_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers in the sentence-transformers format."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("text") / "checkpoint"
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(WORDS.split()))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(11)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=24,
        hidden_dropout_prob=0.1,
    )
    BertModel(config).save_pretrained(folder)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


@pytest.fixture
def manifest_file(tmp_path: Path) -> Path:
    """36 recordings of three tones by six people: 24 train, 6 val, 6 test; captions for half, labels for all."""
    folder = tmp_path / "data"
    folder.mkdir()
    return tone.write_manifest(folder)


def make_recipe(text_checkpoint: Path, **overrides: object) -> Recipe:
    """A recipe of text and tone that trains in seconds."""
    tree: dict[str, object] = {
        "name": "tiny",
        "dim": 16,
        "towers": {
            "text": {
                "options": {"checkpoint": str(text_checkpoint)},
                "tune": "frozen",
                "projection": {"kind": "linear"},
            },
            "tone": {"projection": {"kind": "linear"}},
        },
        "pairs": [["text", "tone"]],
        "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "log_every": 1},
        **overrides,
    }
    return parse_recipe(tree)


@pytest.fixture
def recipe(text_checkpoint: Path) -> Recipe:
    return make_recipe(text_checkpoint)


@pytest.fixture
def manifest(manifest_file: Path) -> Manifest:
    return read_manifest(manifest_file, {"text": get_modality("text"), "tone": get_modality("tone")})


@pytest.fixture
def without_checkpoints(text_checkpoint: Path, tmp_path: Path):
    """Hide the text checkpoint while a test runs, so that nothing can fall back on it."""
    hidden = tmp_path / "hidden"
    shutil.move(text_checkpoint, hidden)
    yield
    shutil.move(hidden, text_checkpoint)


def read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)
