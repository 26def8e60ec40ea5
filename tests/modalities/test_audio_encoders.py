"""Audio encoders: real checkpoint formats, shapes, masks, exact padding, refusals, half precision, LoRA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from modalign.errors import ModelError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.audio import encoders as module
from modalign.modalities.base import Encoder, EncoderOutput, Signal

audio = get_modality("audio")

CLAP = {
    "model_type": "clap_audio_model", "spec_size": 64, "num_mel_bins": 16, "patch_embeds_hidden_size": 8,
    "depths": [1, 1], "num_attention_heads": [2, 2], "num_hidden_layers": 2, "hidden_size": 16, "window_size": 4,
    "projection_dim": 12, "aff_block_r": 2,
}  # fmt: skip
AST = {
    "model_type": "audio-spectrogram-transformer", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "max_length": 96, "num_mel_bins": 32,
}  # fmt: skip
CLIP_VISION = {
    "model_type": "clip_vision_model", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "image_size": 32, "patch_size": 8,
}  # fmt: skip
WAV = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "conv_dim": [8, 8], "conv_stride": [20, 16], "conv_kernel": [40, 16], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "vocab_size": 8,
}  # fmt: skip
WHISPER = {
    "model_type": "whisper", "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24,
    "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24, "max_source_positions": 60,
    "num_mel_bins": 20, "vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "begin_suppress_tokens": None,
}  # fmt: skip


def wav(kind: str, norm: str) -> dict[str, Any]:
    layer = norm == "layer"
    more = {"feat_extract_norm": norm, "do_stable_layer_norm": layer, "conv_bias": layer}
    return {"hf_config": {"model_type": kind, **WAV, **more}}


DATA2VEC = {**WAV, "model_type": "data2vec-audio", "num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"mels": 16, "channels": [4, 8, 8], "width": 12},
    "clap": {"hf_config": CLAP},
    "ast": {"hf_config": AST},
    "wav2vec2": wav("wav2vec2", "layer"),
    "whisper": {"hf_config": WHISPER},
    "vit": {"hf_config": CLIP_VISION, "frames": 96, "bands": 32},
}
BUILDS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, options) for name, options in SMALL.items()},
    "clap fusion": ("clap", {"hf_config": {**CLAP, "enable_fusion": True}}),
    "wav2vec2 group": ("wav2vec2", wav("wav2vec2", "group")),
    "hubert layer": ("wav2vec2", wav("hubert", "layer")),
    "hubert group": ("wav2vec2", wav("hubert", "group")),
    "wavlm layer": ("wav2vec2", wav("wavlm", "layer")),
    "wavlm group": ("wav2vec2", wav("wavlm", "group")),
    "unispeech-sat layer": ("wav2vec2", wav("unispeech-sat", "layer")),
    "wav2vec2-conformer layer": ("wav2vec2", wav("wav2vec2-conformer", "layer")),
    "wav data2vec-audio": ("wav2vec2", {"hf_config": DATA2VEC}),
}


def build(case: str) -> Encoder:
    name, options = BUILDS[case]
    torch.manual_seed(0)
    return audio.build_encoder(name, **options).eval()


def sound(seconds: float, seed: int = 0, rate: int = 16_000) -> Signal:
    wave = torch.randn(1, round(seconds * rate), generator=torch.Generator().manual_seed(seed)) * 0.1
    return Signal(wave, float(rate), ("mono",))


def batch(encoder: Encoder, *seconds: float, **processing: Any) -> dict[str, torch.Tensor]:
    process = audio.build_processing(**{**encoder.processing_defaults(), **processing})
    return process.collate([process(sound(s, i)) for i, s in enumerate(seconds)])


@pytest.mark.parametrize("case", BUILDS)
def test_shapes_masks_and_saving(case: str) -> None:
    encoder = build(case)
    given = batch(encoder, 0.5, 0.9)
    out = encoder(**given)
    assert isinstance(out, EncoderOutput)
    assert out.pooled.shape == (2, encoder.width)
    assert out.mask.shape == out.tokens.shape[:2]
    assert out.mask.any(1).all()
    twin = audio.build_encoder(BUILDS[case][0], **json.loads(json.dumps(encoder.options()))).eval()
    twin.load_state_dict(encoder.state_dict())
    assert twin.options() == encoder.options()
    assert torch.equal(twin(**given).pooled, out.pooled)
    assert audio.build_processing(**twin.processing_defaults()) == audio.build_processing(
        **encoder.processing_defaults()
    )


@pytest.mark.parametrize("case", [c for c in BUILDS if BUILDS[c][0] in ("wav2vec2", "cnn")])
def test_padding_is_exact(case: str) -> None:
    encoder = build(case)
    assert encoder.padding == "exact"
    options = {"shorter": "keep"}
    process = audio.build_processing(**{**encoder.processing_defaults(), **options})
    items = [process(sound(s, i)) for i, s in enumerate((0.31, 0.9, 0.5, 0.9, 0.025))]
    together = encoder(**process.collate(items))
    for i, item in enumerate(items):
        alone = encoder(**process.collate([item]))
        torch.testing.assert_close(together.pooled[i], alone.pooled[0], rtol=1e-4, atol=1e-5)
        count = int(alone.mask.sum())
        assert int(together.mask[i].sum()) == count
        torch.testing.assert_close(together.tokens[i, :count], alone.tokens[0, :count], rtol=1e-4, atol=1e-5)


def test_a_mask_over_the_waveform_would_not_be_exact_for_a_group_norm() -> None:
    encoder = build("wav2vec2 group")
    assert isinstance(encoder, module.Wav2Vec2Encoder)
    given = batch(encoder, 0.3, 0.9)
    exact = encoder(**given).tokens[0, :10]
    masked = encoder.model(given["values"], attention_mask=given["mask"].long()).last_hidden_state[0, :10]
    assert (exact - masked).abs().max() > 1e-3


@pytest.mark.parametrize("case", ["clap", "ast", "whisper"])
def test_tokens_of_silence_that_fills_are_not_real(case: str) -> None:
    encoder = build(case)
    process = audio.build_processing(**{**encoder.processing_defaults(), "shorter": "pad"})
    window = process.spec.seconds
    short, whole = (encoder(**process.collate([process(sound(s))])).mask.float().mean() for s in (window / 2, window))
    assert whole == 1
    assert 0.4 < short < 0.62


def test_whisper_pools_the_sound_alone() -> None:
    encoder = build("whisper")
    out = encoder(**batch(encoder, 0.4))
    assert out.tokens.shape == (1, 60, 16)
    assert int(out.mask.sum()) == 20  # 40 frames, two a token
    torch.testing.assert_close(out.pooled, out.tokens[:, :20].mean(1))


def test_pooled_is_the_published_models_own() -> None:
    clap, ast = build("clap"), build("ast")
    given = batch(clap, 0.5)
    torch.testing.assert_close(clap(**given).pooled, clap.model(input_features=given["values"]).pooler_output)
    torch.testing.assert_close(clap(**given).tokens.mean(1), clap(**given).pooled)
    given = batch(ast, 0.5)
    tokens = ast(**given).tokens
    torch.testing.assert_close(ast(**given).pooled, (tokens[:, 0] + tokens[:, 1]) / 2)


def test_fusion_uses_the_chunks_of_long_clips_only() -> None:
    encoder = build("clap fusion")
    process = audio.build_processing(**encoder.processing_defaults())
    assert process.spec.scale == "htk"
    given = process.collate([process(sound(1.0)), process(sound(4.0))])
    assert given["values"].shape[1] == 4
    assert given["longer"].tolist() == [False, True]
    before = encoder(**given).pooled
    given["values"][:, 1:] = 0
    after = encoder(**given).pooled
    assert torch.equal(before[0], after[0])
    assert (before[1] - after[1]).abs().max() > 1e-4


# Checkpoints in each architecture's own format


def save(case: str, folder: Path) -> tuple[str, Any]:
    """Write a random checkpoint as the architecture's authors do; return the encoder's name and its audio part."""
    import transformers as t

    torch.manual_seed(1)
    if case == "clap":
        text = {
            "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
            "vocab_size": 12,
            "max_position_embeddings": 12, "projection_dim": 12,
        }  # fmt: skip
        whole: Any = t.ClapModel(t.ClapConfig(text_config=text, audio_config=CLAP, projection_dim=12))
        t.ClapFeatureExtractor(
            feature_size=16, max_length_s=2, frequency_min=50, truncation="rand_trunc"
        ).save_pretrained(folder)
        part = whole.audio_model
    elif case in ("clap tower", "clap projection"):
        config = t.ClapAudioConfig(**{k: v for k, v in CLAP.items() if k != "model_type"})
        tower = case == "clap tower"
        whole = t.ClapAudioModel(config) if tower else t.ClapAudioModelWithProjection(config)
        part = whole if tower else whole.audio_model
    elif case == "ast":
        whole = t.ASTForAudioClassification(t.ASTConfig(**AST))
        t.ASTFeatureExtractor(num_mel_bins=32, max_length=96, mean=-4.0, std=3.0).save_pretrained(folder)
        part = whole.audio_spectrogram_transformer
    elif case == "whisper":
        whole = t.WhisperForConditionalGeneration(t.WhisperConfig(**WHISPER))
        t.WhisperFeatureExtractor(feature_size=20).save_pretrained(folder)
        part = whole.model.encoder
    elif case in BARE:
        config = getattr(t, BARE[case].replace("Model", "Config"))(**DATA2VEC if "data2vec" in case else WAV)
        whole = part = getattr(t, BARE[case])(config)
    else:
        kind = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[case]
        config = getattr(t, f"{kind}Config")(**wav(case, "layer")["hf_config"])
        whole = getattr(t, f"{kind}ForCTC")(config)
        t.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
        part = getattr(whole, case)
    whole.save_pretrained(folder)
    return case.split(maxsplit=1)[0] if case not in ("hubert", "wavlm", *BARE) else "wav2vec2", part.eval()


BARE = {
    "data2vec-audio": "Data2VecAudioModel", "unispeech-sat": "UniSpeechSatModel",
    "wav2vec2-conformer": "Wav2Vec2ConformerModel",
}  # fmt: skip
CHECKPOINTS = ("clap", "clap tower", "clap projection", "ast", "whisper", "wav2vec2", "hubert", "wavlm", *BARE)


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_checkpoint_gives_its_audio_part(case: str, tmp_path: Path) -> None:
    name, part = save(case, tmp_path)
    encoder = audio.build_encoder(name, checkpoint=str(tmp_path)).eval()
    expected = part.state_dict()
    loaded = encoder.model.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)
    given = batch(encoder, 0.5, 0.7)
    assert torch.isfinite(encoder(**given).pooled).all()
    # Built again without the checkpoint, as a saved model folder is.
    twin = audio.build_encoder(name, **encoder.options()).eval()
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(twin(**given).pooled, encoder(**given).pooled)


def test_the_preprocessor_is_the_checkpoints_own(tmp_path: Path) -> None:
    dictated = {}
    for case in ("clap", "ast", "whisper", "wav2vec2"):
        folder = tmp_path / case
        name, _ = save(case, folder)
        dictated[case] = audio.build_encoder(name, checkpoint=str(folder)).processing_defaults()
    assert dictated["clap"]["seconds"] == 2.0
    assert dictated["clap"]["mels"] == 16
    assert dictated["clap"]["shorter"] == "repeatpad"
    assert dictated["ast"] | {"mean": (-4.0,), "std": (6.0,), "mels": 32} == dictated["ast"]
    assert dictated["whisper"]["seconds"] == pytest.approx(1.2)
    assert dictated["wav2vec2"]["normalize"] is False


def test_an_ast_checkpoint_gives_what_transformers_gives(tmp_path: Path) -> None:
    from transformers import ASTFeatureExtractor

    name, part = save("ast", tmp_path)
    encoder = audio.build_encoder(name, checkpoint=str(tmp_path)).eval()
    signal = sound(0.6)
    theirs = ASTFeatureExtractor.from_pretrained(tmp_path)
    inputs = theirs(signal.data[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    process = audio.build_processing(**encoder.processing_defaults())
    ours = encoder(**process.collate([process(signal)])).pooled
    torch.testing.assert_close(ours, part(inputs["input_values"]).pooler_output, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_of_another_kind_or_without_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save("ast", tmp_path / "ast")
    with pytest.raises(ModelError, match="is a audio-spectrogram-transformer checkpoint, not clap"):
        audio.build_encoder("clap", checkpoint=str(tmp_path / "ast"))
    with pytest.raises(ModelError, match="cannot be loaded"):
        audio.build_encoder("clap", checkpoint=str(tmp_path / "absent"))
    weights = tmp_path / "ast" / "model.safetensors"
    kept = {k: v for k, v in load_file(weights).items() if "layers.1." not in k and "layer.1." not in k}
    save_file(kept, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks .* weights .* would stay random"):
        audio.build_encoder("ast", checkpoint=str(tmp_path / "ast"))
    weights.unlink()
    torch.save({}, tmp_path / "ast" / "pytorch_model.bin")  # a pickle is never read
    with pytest.raises(ModelError, match="cannot be loaded"):
        audio.build_encoder("ast", checkpoint=str(tmp_path / "ast"))


DAMAGE = {
    "cut": ("model.safetensors", lambda c: c[: len(c) // 2], "cannot be loaded.*undamaged"),
    "empty": ("model.safetensors", lambda c: b"", "cannot be loaded"),
    "garbage": ("model.safetensors", lambda c: b"garbage" * 99, "cannot be loaded"),
    "a word for a number": (
        "config.json",
        lambda c: json.dumps({**json.loads(c), "hidden_size": "abc"}).encode(),
        "cannot be loaded.*hidden_size",
    ),
    "a list": ("config.json", lambda c: b"[1, 2]", "cannot be loaded"),
    "a rate of x": ("preprocessor_config.json", lambda c: b'{"sampling_rate": "x"}', "sampling_rate = 'x'"),
    "no rate": ("preprocessor_config.json", lambda c: b'{"sampling_rate": null}', "sampling_rate = None"),
    "rate 0": ("preprocessor_config.json", lambda c: b'{"sampling_rate": 0}', "sampling_rate = 0.* above 0"),
    "cut json": ("preprocessor_config.json", lambda c: b'{"sampl', "not valid JSON"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    name, change, says = DAMAGE[damage]
    for case in ("clap", "whisper", "wav2vec2"):
        folder = tmp_path / case
        encoder, _ = save(case, folder)
        if damage == "a word for a number" and case != "wav2vec2":
            continue  # theirs is inside, or has another name
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        with pytest.raises(ModelError, match=says):
            audio.build_encoder(encoder, checkpoint=str(folder)).processing_defaults()


@pytest.mark.parametrize(
    ("name", "options", "error", "says"),
    [
        ("clapp", {}, RecipeError, "did you mean 'clap'"),
        ("clap", {}, RecipeError, "give one of them"),
        ("ast", {"checkpoint": "a", "hf_config": AST}, RecipeError, "give one of them"),
        ("ast", {"hf_config": CLAP}, ModelError, "model_type is 'clap_audio_model'"),
        ("clap", {"hf_config": {**CLAP, "num_attention_heads": [3, 3]}}, ModelError, "multiple"),
        ("cnn", {"norm": "group"}, RecipeError, "norm is batch or layer"),
        ("cnn", {"dropout": 1.0}, RecipeError, "dropout is between"),
        ("cnn", {"channels": []}, RecipeError, "above 0"),
        ("cnn", {"mels": 40}, RecipeError, "mels is a multiple of 16, not 40"),
    ],
)
def test_options_are_checked(name: str, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        audio.build_encoder(name, **options)


@pytest.mark.parametrize("case", [*SMALL, "clap fusion"])
def test_features_of_another_front_end_are_refused(case: str) -> None:
    encoder = build(case)
    mask = torch.ones(1, 50, dtype=torch.bool)
    wrong = torch.zeros(1, 1, 50, 7)
    more = {"longer": torch.tensor([True])} if case == "clap fusion" else {}
    with pytest.raises(ModelError, match=r"leave|processing"):
        encoder(wrong, mask, **more)


def test_fusion_must_be_of_the_model_and_the_processing() -> None:
    for case, longer in (("clap", "fusion"), ("clap fusion", "rand_trunc")):
        encoder = build(case)
        with pytest.raises(ModelError, match="feature fusion"):
            encoder(**batch(encoder, 0.5, longer=longer))


@pytest.mark.parametrize("case", [*SMALL, "clap fusion", "wav2vec2 group"])
def test_lora_half_precision_and_training_mode(case: str) -> None:
    import peft

    encoder = build(case)
    given = batch(encoder, 0.5, 3.0)
    before = encoder(**given).pooled
    with torch.autocast("cpu", dtype=torch.bfloat16):
        auto = encoder(**given).pooled
    assert torch.cosine_similarity(auto.float(), before).min() > 0.98
    adapted = peft.get_peft_model(encoder, peft.LoraConfig(r=2, target_modules=encoder.lora_targets()))
    torch.testing.assert_close(adapted(**given).pooled, before)
    adapted.train()(**given).pooled.square().sum().backward()
    grown = [key for key, p in adapted.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert grown
    assert all("lora_" in key for key in grown)


def test_short_clips_train_in_the_wav2vec2_family() -> None:
    # transformers' own masking would refuse clips of fewer than 10 tokens.
    encoder = build("wav2vec2").train()
    encoder(**batch(encoder, 0.1)).pooled.sum().backward()


def test_the_image_transformer_sees_bands_as_rows_and_time_as_columns() -> None:
    encoder = build("vit")
    given = batch(encoder, 0.5, 0.9)
    turned = given["values"].transpose(2, 3).expand(-1, 3, -1, -1)
    theirs = encoder.image.model(pixel_values=turned, interpolate_pos_encoding=True)  # type: ignore[union-attr,operator]
    out = encoder(**given)
    torch.testing.assert_close(out.pooled, theirs.pooler_output)
    assert out.tokens.shape == (2, 12 * 4, 16)
    spans = encoder.token_spans({key: value[:1] for key, value in given.items()})
    assert spans is not None
    assert spans.spans[0].isnan().all()
    assert spans.spans[1:3, :, 0].tolist() == [[0, 0, 0], [0, 8, 0]], "time changes fastest"
    with pytest.raises(ModelError, match="no whole number of patches of 8"):
        audio.build_encoder("vit", hf_config=CLIP_VISION, frames=97)


def test_languagebinds_front_end_is_the_default() -> None:
    encoder = audio.build_encoder("vit", hf_config={**CLIP_VISION, "patch_size": 14, "image_size": 28})
    process = audio.build_processing(**encoder.processing_defaults())
    values = process.collate([process(sound(3.0))])["values"]
    assert values.shape == (1, 1, 1036, 126)
    assert process.spec.mean == (-4.2677393,)
