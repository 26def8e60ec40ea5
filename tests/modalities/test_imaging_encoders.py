"""2-D encoders: checkpoints in the real formats, DropKey where the attention reads it, shapes, norms, refusals."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from modalign.errors import MissingExtraError, ModelError, RecipeError
from modalign.modalities.imaging import convolutional
from modalign.modalities.imaging.encoders2d import ENCODERS_2D
from modalign.modalities.imaging.vit import CLASSES, VitEncoder
from modalign.modalities.layers import hf_drop_key
from modalign.modalities.layers.transformer import drop_keys

TINY: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 32,
    "patch_size": 8, "num_channels": 1,
}  # fmt: skip
KINDS = [kind for kind in CLASSES if kind not in ("clip", "siglip")]
PLAIN = ("cnn", "densenet121", "resnet18", "resnet50")


def vit(kind: str = "vit", **options: Any) -> VitEncoder:
    torch.manual_seed(0)
    return VitEncoder(hf_config={"model_type": kind, **TINY}, **options).eval()


def images(size: int = 32, height: int | None = None, channels: int = 1, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, channels, height or size, size, generator=torch.Generator().manual_seed(1))


def ratios(encoder: VitEncoder) -> list[float]:
    return [module.drop_key for module in hf_drop_key.attentions(encoder.model)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_vision_transformer(kind: str) -> None:
    encoder = vit(kind, drop_key=0.2, schedule="linear")
    with torch.no_grad():
        out = encoder(images())
        assert out.tokens.shape == (2, 16, 16), "patches alone, row by row"
        assert out.mask.all()
        assert torch.equal(out.pooled[:1], encoder(images()[:1]).pooled) or torch.allclose(
            out.pooled[:1], encoder(images()[:1]).pooled, atol=1e-6
        )
        assert encoder(images(40, 48)).tokens.shape == (2, 30, 16), "positions are interpolated"
        mean = vit(kind, pooling="mean")(images())
        torch.testing.assert_close(mean.pooled, mean.tokens.mean(1))
    assert ratios(encoder) == pytest.approx([0.2, 0.1, 0.0])
    assert encoder.stride == 8
    twin = VitEncoder(**encoder.options()).eval()
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(twin(images()).pooled, encoder(images()).pooled)
    assert ratios(twin) == ratios(encoder)
    json.dumps(encoder.options())


def test_tokens_lie_where_their_patches_are() -> None:
    for kind in ("vit", "deit", "dinov2_with_registers", "siglip_vision_model"):
        encoder = vit(kind)
        changed = images()
        changed[:, :, 8:16, 24:32] = 1 - changed[:, :, 8:16, 24:32]
        with torch.no_grad():
            moved = (encoder(changed).tokens - encoder(images()).tokens).abs().sum(-1)[0].reshape(4, 4)
        assert int(moved.argmax()) == 1 * 4 + 3, kind


@pytest.mark.parametrize("kind", ["ViT", "Dinov2", "CLIP"])
def test_checkpoints_in_the_real_format(kind: str, tmp_path: Path) -> None:
    import transformers

    config = getattr(transformers, f"{kind}Config")
    if kind == "CLIP":
        text = {**TINY, "vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2}
        whole = transformers.CLIPModel(config(vision_config=TINY, text_config=text))
        expected = whole.vision_model
    else:
        whole = expected = getattr(transformers, f"{kind}Model")(config(**TINY))
    whole.eval().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"do_normalize": True, "image_mean": [0.5], "image_std": [0.25], "crop_size": 24, "size": 28})
    )
    encoder = VitEncoder(str(tmp_path)).eval()
    with torch.no_grad():
        hidden = expected(pixel_values=images()).last_hidden_state
        torch.testing.assert_close(encoder(images()).tokens, hidden[:, 1:])
    assert encoder.processing_defaults() == {"size": [24, 24], "channels": 1, "mean": (0.5,), "std": (0.25,)}
    tensors = {k: v for k, v in whole.state_dict().items() if "layernorm.weight" not in k and "layer_norm1" not in k}
    whole.save_pretrained(tmp_path, state_dict=tensors)
    with pytest.raises(ModelError, match="lacks"):
        VitEncoder(str(tmp_path))


def test_constants_of_other_scales(tmp_path: Path) -> None:
    encoder = vit()
    assert encoder.processing_defaults() == {"size": [32, 32], "channels": 1}
    encoder._preprocessor = {
        "image_mean": [127.5],
        "image_std": [51.0],
        "do_rescale": False,
        "size": {"shortest_edge": 40},
    }
    assert encoder.processing_defaults() == {"size": [40, 40], "channels": 1, "mean": (0.5,), "std": (0.2,)}
    encoder._preprocessor = {"image_mean": [0.5], "image_std": [0.2], "do_normalize": False}
    assert "mean" not in encoder.processing_defaults()


def test_drop_key_is_the_plain_attention_where_it_is_off() -> None:
    plain, dropping, zero = vit(), vit(drop_key=0.5), vit(drop_key=0.0, schedule="linear")
    assert dropping.model.config._attn_implementation == hf_drop_key.NAME
    assert torch.equal(plain(images()).pooled, dropping(images()).pooled), "in evaluation"
    assert torch.equal(plain.train()(images()).pooled, zero.train()(images()).pooled), "at ratio 0"
    assert not torch.allclose(plain(images()).pooled, dropping.train()(images()).pooled, atol=1e-4)


def test_drop_key_drops_its_share_and_never_all(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = vit(drop_key=0.3, schedule="constant").train()
    assert ratios(encoder) == [0.3] * 3
    seen = []
    attend = hf_drop_key.attend

    def watch(module: Any, *inputs: Any, **arguments: Any) -> Any:
        out = attend(module, *inputs, **arguments)
        seen.append((module, out[1]))
        return out

    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, hf_drop_key.NAME, watch)
    torch.manual_seed(0)
    encoder(images(64, batch=8))
    assert [module for module, _ in seen] == hf_drop_key.attentions(encoder.model)
    for _, weights in seen:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3]))
        assert float((weights > 0).float().mean()) == pytest.approx(0.7, abs=0.02)
    for module in hf_drop_key.attentions(encoder.model):
        module.drop_key = 0.999
    out = encoder(images(64)).pooled
    assert torch.isfinite(out).all(), "a row without keys keeps its best one"
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


def test_the_schedule_is_on_the_attention_that_reads_it() -> None:
    encoder = vit(drop_key=0.2, schedule="linear").train()
    assert ratios(encoder) == pytest.approx([0.2, 0.1, 0.0])
    changed = []
    for ratio in (0.2, 0.0):
        for module in hf_drop_key.attentions(encoder.model):
            module.drop_key = ratio
        first = encoder(images()).pooled
        changed.append(not torch.equal(first, encoder(images()).pooled))
    assert changed == [True, False]


def test_drop_key_with_lora_and_in_a_copy() -> None:
    from peft import LoraConfig, get_peft_model

    encoder = vit(drop_key=0.4, schedule="linear")
    before = encoder(images()).pooled
    wrapped = get_peft_model(copy.deepcopy(encoder), LoraConfig(r=2, target_modules=encoder.lora_targets()))
    assert torch.equal(wrapped.eval()(values=images()).pooled, before)
    wrapped.train()
    assert not torch.equal(wrapped(values=images()).pooled, wrapped(values=images()).pooled)
    wrapped(values=images()).pooled.sum().backward()
    trained = [name for name, p in wrapped.named_parameters() if p.grad is not None]
    assert trained
    assert all("lora_" in name for name in trained)


def test_drop_key_heeds_a_mask() -> None:
    module = torch.nn.Module().train()
    module.drop_key = 0.9  # type: ignore[assignment]
    q = torch.randn(1, 2, 5, 4)
    keep = torch.tensor([True, True, False, False, False]).expand(1, 1, 5, 5)
    additive = torch.zeros(1, 1, 5, 5).masked_fill(~keep, torch.finfo(torch.float32).min)
    for mask in (keep, additive):
        for _ in range(20):
            _, weights = hf_drop_key.attend(module, q, q, q, mask)
            assert weights is not None
            assert float(weights[..., 2:].max()) == 0, "also where both real keys were dropped"
            torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 5))
    logits = torch.full((1, 1, 1, 4), torch.finfo(torch.float32).min)
    logits[..., 2] = -3.0
    assert drop_keys(logits, 1.0).argmax() == 2


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({}, RecipeError, "checkpoint .* or hf_config"),
        ({"hf_config": {"model_type": "bert"}}, ModelError, "'bert'"),
        ({"hf_config": {"model_type": "vit", **TINY, "hidden_size": "x"}}, ModelError, "hf_config.*hidden_size"),
        ({"checkpoint": "/nowhere/at/all"}, ModelError, "/nowhere/at/all"),
        ({"hf_config": {"model_type": "vit", **TINY}, "pooling": "max"}, RecipeError, "'max'"),
        ({"hf_config": {"model_type": "siglip_vision_model", **TINY}, "pooling": "cls"}, RecipeError, "class token"),
        ({"hf_config": {"model_type": "vit", **TINY}, "drop_key": 1.5}, RecipeError, "1.5"),
        ({"hf_config": {"model_type": "vit", **TINY}, "schedule": "cosine"}, RecipeError, "'cosine'"),
    ],
)
def test_vit_options_that_are_wrong(options: dict[str, Any], kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        VitEncoder(**options)


def test_drop_key_refuses_what_does_not_read_it() -> None:
    from transformers import ResNetConfig, ResNetModel

    model = ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], num_channels=1))
    with pytest.raises(RecipeError, match="ResNetModel"):
        hf_drop_key.set_drop_key(model, 0.2)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("norm_kind", ["batch", "group"])
def test_convolutional_encoders(name: str, norm_kind: str) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS_2D[name](channels=3, norm_kind=norm_kind).eval()
    with torch.no_grad():
        out = encoder(images(96, 64, 3))
    assert out.tokens.shape == (2, 3 * 2, encoder.width)
    assert out.tokens.shape[1] == 96 // encoder.stride * (64 // encoder.stride)
    norms = [m for m in encoder.modules() if isinstance(m, (torch.nn.BatchNorm2d, torch.nn.GroupNorm))]
    assert len({type(m) for m in norms}) == 1
    assert isinstance(norms[0], torch.nn.GroupNorm) == (norm_kind == "group"), "also inside MONAI's blocks"
    size = encoder.processing_defaults()["size"]
    assert encoder.processing_defaults() == {"size": size, "channels": 3}
    assert ENCODERS_2D[name](size=64).processing_defaults()["size"] == [64, 64]


def test_published_sizes() -> None:
    counts = {name: sum(p.numel() for p in ENCODERS_2D[name](channels=3).parameters()) for name in PLAIN[1:]}
    # The image nets' published counts without their classifiers: 7.98, 11.69 and 25.56 million with 1,000 classes.
    assert counts["densenet121"] == 7_978_856 - 1024 * 1000 - 1000
    assert counts["resnet18"] == 11_689_512 - 512 * 1000 - 1000
    assert counts["resnet50"] == 25_557_032 - 2048 * 1000 - 1000
    widths = [ENCODERS_2D[name]().width for name in PLAIN]
    assert widths == [128, 1024, 512, 2048]


def test_a_group_norm_is_the_same_in_any_batch() -> None:
    encoder = ENCODERS_2D["cnn"](norm_kind="group", dropout=0.0, stages=[8, 16]).train()
    batch = images(32, batch=4)
    torch.testing.assert_close(encoder(batch).pooled[:1], encoder(batch[:1]).pooled, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_half_precision_takes_float32_batches(name: str) -> None:
    encoder = ENCODERS_2D[name]().to(torch.bfloat16).eval()
    assert encoder(images(64)).pooled.dtype == torch.bfloat16
    assert vit().to(torch.bfloat16)(images()).pooled.dtype == torch.bfloat16


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match=r"\(B, 1, H, W\)"):
        ENCODERS_2D["cnn"]()(images(96, channels=3))
    with pytest.raises(ModelError, match="32 pixels"):
        ENCODERS_2D["cnn"]()(images(16))
    for wrong in (images(32, channels=3), images(36), images()[0]):
        with pytest.raises(ModelError, match="multiples of 8"):
            vit()(wrong)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cnn", {"stages": []}, "stages"),
        ("cnn", {"norm_kind": "layer"}, "norm_kind"),
        ("cnn", {"dropout": 1.0}, "dropout"),
        ("cnn", {"channels": 0}, "channels"),
        ("resnet18", {"norm_kind": "layer"}, "norm_kind"),
        ("densenet121", {"dropout": -0.1}, "dropout"),
        ("resnet50", {"size": 0}, "size"),
    ],
)
def test_options_that_are_wrong(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        ENCODERS_2D[name](**options)


def test_without_monai(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins
    import sys

    real = builtins.__import__

    def none(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("monai"):
            raise ImportError(name)
        return real(name, *rest, **more)

    for loaded in [m for m in sys.modules if m.split(".")[0] == "monai"]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setattr(builtins, "__import__", none)
    monkeypatch.setitem(sys.modules, "monai.networks.nets.densenet", None)
    with pytest.raises(MissingExtraError, match=r"modalign\[medical\]"):
        convolutional.densenet121()
