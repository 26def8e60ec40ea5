"""ECG encoders: MERL's and MoRE's shapes, DropKey, padding, saving, refusals, and what importing them costs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from modalign.errors import MissingExtraError, ModelError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.layers import transformer as layers
from modalign.modalities.layers.attention_pool import AttentionPool
from modalign.modalities.testing import Sample, check_modality
from tests.imports import loaded_by
from tests.modalities.ecg_files import ecg, write_wfdb

modality = get_modality("ecg")
SMALL_VIT = {"width": 24, "depth": 2, "heads": 2}
SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"stages": [8, 16]},
    "resnet1d18": {"width": 32},
    "vit1d-tiny": {**SMALL_VIT, "drop_path": 0.1, "drop_key": 0.2},
    "vit1d-small": SMALL_VIT,
    "vit1d-base": SMALL_VIT,
    "more_vit": {**SMALL_VIT, "stem": 8},
    "xresnet1d": {"layers": [1, 1, 1, 1], "widen": 0.125},
}


def build(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return modality.build_encoder(name, **{**SMALL[name], **options}).eval()


def batch(length: int = 1000, size: int = 2, channels: int = 12) -> dict[str, torch.Tensor]:
    values = torch.randn(size, channels, length, generator=torch.Generator().manual_seed(1))
    return {"values": values, "mask": torch.ones(size, length, dtype=torch.bool)}


@pytest.mark.parametrize("name", SMALL)
def test_every_encoder_conforms(name: str, tmp_path: Path) -> None:
    samples = [Sample(write_wfdb(tmp_path, f"s{n}", ecg(n))) for n in (10, 6)]
    check_modality("ecg", samples, tmp_path, {name: SMALL[name]})


def test_every_format_conforms(tmp_path: Path) -> None:
    samples = [Sample(write_wfdb(tmp_path, f"s{n}", ecg(n), kind="mat")) for n in (4, 3)]
    check_modality("ecg", samples, tmp_path, {"cnn": SMALL["cnn"]})
    arrays = [
        Sample(ecg(n), {"leads": "I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6", "rate": 100, "unit": "mV"}) for n in (4, 3)
    ]
    check_modality("ecg", arrays, tmp_path, {"cnn": SMALL["cnn"]})


def test_every_encoder_is_tested() -> None:
    assert {*SMALL, "minirocket"} == set(modality.encoders)  # its tests: test_minirocket.py


def test_merls_shapes() -> None:
    resnet = modality.build_encoder("resnet1d18", tokens=313).eval()
    with torch.no_grad():
        out = resnet(**batch(5000, 1))
    assert out.tokens.shape == (1, 313, 256)
    assert resnet.backbone[:3](batch(5000, 1)["values"]).shape == (1, 64, 2500)
    stages = [m.conv2.out_channels for m in resnet.backbone if hasattr(m, "conv2")]
    assert stages == [64, 64, 128, 128, 256, 256, 512, 512]
    assert not any(isinstance(m, torch.nn.MaxPool1d) for m in resnet.modules())
    assert resnet.pool.positions.shape == (314, 256)
    for size, (width, depth, heads) in {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}.items():
        with torch.device("meta"):
            vit = modality.build_encoder(f"vit1d-{size}")
        assert (vit.width, len(vit.transformer.blocks), vit.transformer.blocks[0].attn.heads) == (width, depth, heads)
        assert vit.positions.shape == (1, 100, width)
    assert build("vit1d-tiny")(**batch(5000, 1)).tokens.shape[1] == 100


def test_mores_shapes() -> None:
    with torch.device("meta"):
        whole = modality.build_encoder("more_vit")
    assert (whole.width, len(whole.transformer.blocks)) == (768, 12)
    assert whole.embed[0].weight.shape == (256, 12, 5)
    assert whole.embed[3].weight.shape == (768, 256, 5)
    assert whole.transformer.blocks[0].attn.qkv.bias is None
    encoder = build("more_vit")
    assert encoder(**batch(1000)).tokens.shape[1] == 196 + 1
    assert encoder.embed[:3](batch(1000)["values"]).shape[2] == 200
    assert encoder.processing_defaults() == {"padding": "fixed", "rate": 100, "seconds": 10.0}


def test_attention_pooling_ignores_what_is_masked() -> None:
    pool = AttentionPool(16, 4).eval()
    tokens = torch.randn(2, 9, 16)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    alone = pool(tokens[1:, :5])
    torch.testing.assert_close(pool(tokens, mask)[1:], alone)
    torch.testing.assert_close(pool(tokens), pool(tokens, torch.ones(2, 9, dtype=torch.bool)))


def test_drop_key_is_the_plain_attention_where_it_is_off() -> None:
    torch.manual_seed(0)
    plain, dropping = layers.Attention(16, 2), layers.Attention(16, 2, drop_key=0.5)
    dropping.load_state_dict(plain.state_dict())
    tokens = torch.randn(2, 7, 16)
    torch.testing.assert_close(dropping.eval()(tokens), plain.eval()(tokens))
    torch.testing.assert_close(layers.Attention.forward(plain.train(), tokens), plain.eval()(tokens))
    assert not torch.allclose(dropping.train()(tokens), plain(tokens))


def test_drop_key_drops_its_share_and_never_all() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, 50, 50)
    weights = layers.drop_keys(logits, 0.3).softmax(-1)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 3, 50))
    assert float((weights > 0).float().mean()) == pytest.approx(0.7, abs=0.01)
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        alone = layers.drop_keys(logits.to(kind), 1.0).float().softmax(-1)
        assert torch.isfinite(alone).all()
        torch.testing.assert_close(alone.amax(-1), torch.ones(4, 3, 50))
    assert torch.equal(layers.drop_keys(logits, 0.0), logits)


def test_the_schedule_is_on_the_attention_that_reads_it() -> None:
    encoder = modality.build_encoder("more_vit", width=12, heads=2, depth=12, stem=8, drop_key=0.2, schedule="linear")
    ratios = torch.tensor([block.attn.drop_key for block in encoder.transformer.blocks])
    assert ratios[0] == pytest.approx(0.2)
    assert ratios[-1] == 0
    torch.testing.assert_close(-ratios.diff(), torch.full((11,), 0.2 / 11))
    constant = modality.build_encoder("more_vit", width=12, heads=2, depth=3, stem=8)
    assert [block.attn.drop_key for block in constant.transformer.blocks] == [0.3] * 3
    changed = []
    for ratio in (0.2, 0.0):
        for block in encoder.transformer.blocks:
            block.attn.drop_key = ratio
        encoder.train()
        encoder.embed.eval()
        torch.manual_seed(0)
        first = encoder(**batch()).pooled
        changed.append(not torch.equal(first, encoder(**batch()).pooled))
    assert changed == [True, False]


def test_drop_path() -> None:
    drop = layers.DropPath(0.5)
    out = drop.train()(torch.ones(2000, 3, 4))
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert float(out.mean()) == pytest.approx(1, abs=0.1)
    assert torch.equal(drop.eval()(torch.ones(2, 3)), torch.ones(2, 3))
    paths = [b.drop_path.probability for b in build("vit1d-tiny", depth=3, drop_path=0.2).transformer.blocks]
    assert paths == pytest.approx([0, 0.1, 0.2])


def test_vit_takes_padding_exactly() -> None:
    encoder = build("vit1d-tiny")
    alone = encoder(**batch(630)).pooled
    padded = torch.nn.functional.pad(batch(630)["values"], (0, 370), value=0.0)
    out = encoder(padded, torch.arange(1000).expand(2, -1) < 630)
    assert out.mask.sum(1).tolist() == [12, 12]
    torch.testing.assert_close(out.pooled, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [n for n in SMALL if not n.startswith("vit1d")])
def test_fixed_encoders_refuse_padding(name: str) -> None:
    encoder = build(name)
    assert encoder.padding == "fixed"
    given = batch()
    given["mask"][0, -1] = False
    with pytest.raises(ModelError, match="no padded batch"):
        encoder(**given)


@pytest.mark.parametrize("name", SMALL)
def test_wrong_input_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="12"):
        build(name)(**batch(channels=3))
    assert build(name, channels=3)(**batch(channels=3)).pooled.shape[0] == 2


def test_too_long_or_too_short_is_refused() -> None:
    with pytest.raises(ModelError, match="positions"):
        build("vit1d-tiny", tokens=10)(**batch(1000))
    with pytest.raises(ModelError, match="50 samples or more"):
        build("vit1d-tiny")(**batch(40))
    with pytest.raises(ModelError, match="positions for 196"):
        build("more_vit")(**batch(2000))


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_and_lora(name: str) -> None:
    from modalign.align.config import LoraOptions
    from modalign.align.lora import add_lora

    encoder = build(name)
    out = build(name).to(torch.bfloat16)(**batch()).pooled
    assert out.dtype == torch.bfloat16
    assert torch.isfinite(out).all()
    before = encoder(**batch()).pooled
    adapted = add_lora(encoder, LoraOptions(r=2), "ecg").eval()
    torch.testing.assert_close(adapted(**batch()).pooled, before)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cnn", {"stages": []}), ("cnn", {"norm_kind": "layer"}), ("cnn", {"dropout": 1}), ("resnet1d18", {"width": 0}),
        ("vit1d-tiny", {"heads": 5}), ("vit1d-tiny", {"schedule": "cosine"}), ("more_vit", {"drop_key": 1}),
        ("xresnet1d", {"ks": 4}), ("xresnet1d", {"expansion": 2}), ("vit2d", {}), ("cnn", {"depth": 3}),
    ],
)  # fmt: skip
def test_bad_options_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        modality.build_encoder(name, **options)


def test_group_norm_is_the_same_alone_and_in_a_batch_while_training() -> None:
    encoder = build("cnn", norm_kind="group", dropout=0.0).train()
    together = encoder(**batch()).pooled
    alone = encoder(**{k: v[:1] for k, v in batch().items()}).pooled
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)


def test_importing_ecg_loads_nothing_heavy() -> None:
    loaded = loaded_by("from modalign.modalities import get_modality; get_modality('ecg')")
    assert "modalign.modalities.ecg" in loaded
    assert not {"tsai", "wfdb", "pydicom", "scipy.signal"} & loaded


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for package in ("pydicom", "soundfile", "tsai", "tsai.models", "tsai.models.XResNet1dPlus"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "a.dcm").write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r"modalign\[ecg\]"):
        modality.load(tmp_path / "a.dcm")
    with pytest.raises(MissingExtraError, match=r"modalign\[ecg\]"):
        modality.build_encoder("xresnet1d")
    (tmp_path / "w.dat").write_bytes(b"fLaC")
    (tmp_path / "w.hea").write_text("w 1 100 400\nw.dat 516 1000/mV 16 0 0 0 0 I\n")
    with pytest.raises(MissingExtraError, match=r"modalign\[ecg\]"):
        modality.load(tmp_path / "w.hea")


def test_templates_and_descriptions() -> None:
    assert len(set(modality.templates)) == len(modality.templates) >= 5
    assert all(template.format(label="q").count("q") >= 1 for template in modality.templates)
    everything = [sentence for sentences in modality.descriptions.values() for sentence in sentences]
    assert len(everything) == len(set(everything)), "equal texts would be positives of two labels"
    assert all(isinstance(s, str) and len(v) >= 3 for v in modality.descriptions.values() for s in v)
    for label in ("normal ECG", "myocardial infarction", "ST/T change", "conduction disturbance", "hypertrophy"):
        assert len(modality.descriptions[label]) >= 3
    with pytest.raises(KeyError):
        modality.descriptions["no such finding"]
