"""A small random CLAP, as transformers' ClapModel and as ours with the same weights; what its benchmarks share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from modalign.align.config import ModelConfig
from modalign.align.model import AlignmentModel

RATE, SECONDS = 48_000, 10.0
TEMPLATE = "This is a sound of {}."


def data_folder(given: Path | None = None) -> Path:
    """ESC-10's clips: FOLDER, $MODALIGN_DATA or ../shared/data."""
    root = given or Path(os.environ.get("MODALIGN_DATA") or Path(__file__).parents[1] / "../shared/data")
    folder = root / "audio_esc10"
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no such folder; give --data, or set MODALIGN_DATA")
    return folder


def save_checkpoint(folder: Path, words: list[str]) -> Path:
    """A ClapModel (no fusion; the published depths at a third of the widths), its feature extractor and tokenizer."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *sorted({w.lower() for w in words})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = ClapConfig(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": 256,
            "num_hidden_layers": 12,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
            "max_position_embeddings": 80,
            "layer_norm_eps": 1e-5,
        },
        audio_config={
            "patch_embeds_hidden_size": 32,
            "hidden_size": 256,
            "depths": [2, 2, 6, 2],
            "num_attention_heads": [2, 4, 8, 16],
            "num_mel_bins": 64,
            "spec_size": 256,
        },
        projection_dim=256,
        logit_scale_init_value=100.0,  # random towers say little, and scores should differ
    )
    ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    return folder


def towers(folder: Path) -> dict[str, Any]:
    """Our towers of that size; CLAP's text model is RoBERTa's."""
    from transformers import ClapConfig

    config = ClapConfig.from_pretrained(folder)
    text = config.text_config.to_dict() | {"model_type": "roberta"}
    projection = {"kind": "mlp", "hidden": config.projection_dim}
    return {
        "text": {
            "options": {"hf_config": text, "pooling": "pooler", "max_length": 77},
            "processing": {"tokenizer": str(folder)},
            "projection": projection,
        },
        "audio": {
            "encoder": "clap",
            "options": {"hf_config": config.audio_config.to_dict()},
            "projection": projection,
        },
    }


def ours(folder: Path) -> AlignmentModel:
    """An AlignmentModel with the checkpoint's weights and temperature."""
    from transformers import ClapModel

    theirs = ClapModel.from_pretrained(folder)
    scale = float(theirs.logit_scale_a.detach().exp())
    temperature = {"init": 1 / scale}
    model = AlignmentModel(
        ModelConfig(towers=towers(folder), dim=theirs.config.projection_dim, temperature=temperature)
    )
    for name in ("text", "audio"):
        tower, state = model.tower(name), getattr(theirs, f"{name}_model").state_dict()
        own = tower.encoder.model
        assert isinstance(own, torch.nn.Module)
        missing, left = own.load_state_dict(state, strict=False)
        buffers = dict(own.named_buffers())
        assert all(key in buffers for key in missing), missing
        assert all("position_ids" in key or "token_type_ids" in key for key in left), left
        head = getattr(theirs, f"{name}_projection")
        first, _, second = tower.projection.layers
        first.load_state_dict(head.linear1.state_dict())
        second.load_state_dict(head.linear2.state_dict())
    return model
