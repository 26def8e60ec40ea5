"""CT keeps the contract of a modality with every encoder and kind of source; its words are usable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from modalign.errors import ModelError, RecipeError
from modalign.modalities import get_modality, list_modalities
from modalign.modalities.ct.slicewise import GatedAttention, SliceEncoder
from modalign.modalities.ct.volumes import cnn3d
from modalign.modalities.testing import Sample, check_modality
from tests.modalities.ct_files import places, write_nifti, write_nrrd, write_series

SMALL: dict[str, dict[str, Any]] = {
    "cnn3d": {"stages": [4, 8], "norm_kind": "group"},
    "densenet121_3d": {"growth": 4, "features": 8, "blocks": [1, 1]},
    "swin_unetr": {"feature_size": 12, "heads": [1, 2, 3, 6], "window": 2},
    "vit3d": {"shape": [32, 32, 32], "patch": 16, "width": 24, "depth": 2, "heads": 2},
    "slices": {"encoder": "cnn", "hidden": 8, "options_2d": {"stages": [4, 8], "size": 24}},
}
PROCESSING: dict[str, dict[str, Any]] = {
    name: {} if name == "slices" else {"shape": [32, 32, 32], "spacing": 1.0} for name in SMALL
}


@pytest.mark.parametrize("name", SMALL)
def test_every_encoder_conforms(name: str, tmp_path: Path) -> None:
    if name in ("densenet121_3d", "swin_unetr", "vit3d"):
        pytest.importorskip("monai")
    if name in ("swin_unetr", "vit3d"):
        pytest.importorskip("einops")
    samples = [Sample(write_series(tmp_path / f"series{n}", places(n))) for n in (6, 9)]
    (tmp_path / "check").mkdir()
    check_modality("ct", samples, tmp_path / "check", {name: SMALL[name]}, PROCESSING[name])


@pytest.mark.parametrize("kind", ["nii.gz", "nii", "nrrd"])
def test_every_format_conforms(kind: str, tmp_path: Path) -> None:
    write = write_nrrd if kind == "nrrd" else write_nifti
    samples = [Sample(write(tmp_path / f"{name}.{kind}"), {"unit": "HU"}) for name in ("a", "b")]
    (tmp_path / "check").mkdir()
    check_modality("ct", samples, tmp_path / "check", {"slices": SMALL["slices"]})


def test_every_encoder_is_tested() -> None:
    assert "ct" in list_modalities()
    assert set(SMALL) == set(get_modality("ct").encoders)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("cnn3d", {"stem": 3}, "stem is one of 2, 4"),
        ("cnn3d", {"stages": []}, "stages"),
        ("cnn3d", {"norm_kind": "layer"}, "norm_kind"),
        ("densenet121_3d", {"dropout": 1.0}, "dropout"),
        ("swin_unetr", {"feature_size": 20}, "multiple of 12"),
        ("swin_unetr", {"heads": [3, 6, 12]}, "four numbers"),
        ("vit3d", {"shape": [30, 32, 32]}, "three multiples of patch"),
        ("vit3d", {"width": 100, "heads": 3}, "width a multiple of heads"),
        ("slices", {"encoder": "cnn2"}, "did you mean 'cnn'"),
        ("slices", {"options_2d": {"depth": 3}}, "options_2d of 'cnn'"),
        ("slices", {"hidden": 0}, "hidden"),
        ("resnet", {}, "no encoder 'resnet'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        get_modality("ct").build_encoder(name, **options)


def test_wrong_inputs() -> None:
    with pytest.raises(ModelError, match=r"takes \(B, 1, D, H, W\) of 32 voxels"):
        cnn3d()(torch.zeros(1, 1, 16, 64, 64))
    with pytest.raises(ModelError, match="option channels"):
        cnn3d(channels=3)(torch.zeros(1, 1, 64, 64, 64))
    with pytest.raises(ModelError, match="mask"):
        SliceEncoder()(torch.zeros(2, 4, 1, 96, 96), torch.ones(2, 5, dtype=torch.bool))
    pytest.importorskip("einops")
    with pytest.raises(ModelError, match=r"leave processing\.shape to it"):
        get_modality("ct").build_encoder("vit3d", **SMALL["vit3d"])(torch.zeros(1, 1, 32, 32, 48))


def test_a_strided_stem_and_published_widths() -> None:
    assert cnn3d(stem=4).eval()(torch.zeros(1, 1, 64, 64, 64)).tokens.shape == (1, 1, 128)
    pytest.importorskip("monai")
    dense = get_modality("ct").build_encoder("densenet121_3d").eval()
    assert dense.width == 1024
    with torch.no_grad():
        assert dense(torch.zeros(1, 1, 32, 32, 64)).tokens.shape == (1, 2, 1024)
    pytest.importorskip("einops")
    swin = get_modality("ct").build_encoder("swin_unetr", feature_size=24)
    assert swin.width == 384


def test_swin_is_the_encoder_of_swin_unetr() -> None:
    """Weights of a SwinUNETR fit by name, and give the deepest features that its decoder would get."""
    pytest.importorskip("einops")
    from monai.networks.nets import SwinUNETR

    options = SMALL["swin_unetr"]
    torch.manual_seed(0)
    whole = SwinUNETR(
        1, 2, feature_size=12, num_heads=options["heads"], window_size=options["window"], spatial_dims=3
    ).eval()
    encoder = get_modality("ct").build_encoder("swin_unetr", **options).eval()
    own = {f"backbone.{k}": v for k, v in whole.state_dict().items() if k.startswith("swinViT.")}
    assert not encoder.load_state_dict(own, strict=False).unexpected_keys
    assert not encoder.load_state_dict(own, strict=False).missing_keys
    values = torch.randn(1, 1, 32, 64, 32)
    with torch.no_grad():
        expected = whole.swinViT(values, whole.normalize)[-1]
        torch.testing.assert_close(encoder(values).tokens, expected.flatten(2).transpose(1, 2))


def test_gated_attention_by_hand_and_exactly_masked() -> None:
    torch.manual_seed(0)
    pool, tokens = GatedAttention(6, 4).double(), torch.randn(2, 5, 6, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    weights = pool.weights(tokens, mask)
    one = tokens[1, 0]
    score = pool.score(torch.tanh(pool.content(one)) * torch.sigmoid(pool.gate(one)))
    others = [pool.score(torch.tanh(pool.content(t)) * torch.sigmoid(pool.gate(t))) for t in tokens[1, :3]]
    expected = (score.exp() / sum(o.exp() for o in others)).item()
    assert weights[1, 0].item() == pytest.approx(expected, abs=1e-6)
    assert weights[1, 3:].tolist() == [0, 0]
    spoilt = tokens.clone()
    spoilt[1, 3:] = 1e6
    torch.testing.assert_close(pool(spoilt, mask)[1], pool(tokens, mask)[1])
    torch.testing.assert_close(pool(tokens[1:, :3], mask[1:, :3])[0], pool(tokens, mask)[1])


@pytest.mark.parametrize("name", ["cnn3d", "densenet121_3d", "slices"])
def test_lora_adapts_3d_convolutions(name: str) -> None:
    from modalign.align.config import LoraOptions
    from modalign.align.lora import add_lora, merge_lora

    if name == "densenet121_3d":
        pytest.importorskip("monai")
    torch.manual_seed(0)
    encoder = get_modality("ct").build_encoder(name, **SMALL[name]).eval()
    inputs: dict[str, Any] = {"values": torch.randn(1, 1, 32, 32, 32)}
    if name == "slices":
        inputs = {"values": torch.randn(1, 3, 1, 24, 24), "mask": torch.ones(1, 3, dtype=torch.bool)}
    before = encoder(**inputs).pooled.detach()
    wrapped = add_lora(encoder, LoraOptions(r=2), "ct").eval()
    torch.testing.assert_close(wrapped(**inputs).pooled, before)
    wrapped(**inputs).pooled.sum().backward()
    moved = [n for n, p in wrapped.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert moved
    assert all("lora_" in n for n in moved)
    with torch.no_grad():
        for parameter_name, parameter in wrapped.named_parameters():
            if "lora_B" in parameter_name:
                parameter.add_(0.01)
    after = wrapped(**inputs).pooled.detach()
    assert not torch.allclose(after, before)
    torch.testing.assert_close(merge_lora(wrapped)(**inputs).pooled, after, atol=1e-5, rtol=1e-4)


def test_templates_and_descriptions() -> None:
    ct = get_modality("ct")
    assert len(set(ct.templates)) == len(ct.templates) >= 5
    assert all(template.format(label="a nodule").count("a nodule") == 1 for template in ct.templates)
    organs = ["bladder", "heart", "liver", "pancreas", "spleen"]
    organs += [f"{organ}-{side}" for organ in ("femur", "kidney", "lung") for side in ("left", "right")]
    for label in ("normal", "hyperplasia", "lung_nodule", "Pleural effusion", "no finding", *organs):
        assert len(ct.descriptions[label]) >= 3, label
    everything = [sentence for sentences in ct.descriptions.values() for sentence in sentences]
    assert len(everything) == len(set(everything)), "equal texts would be positives of two labels"
    assert all(isinstance(sentence, str) for sentence in everything)
    with pytest.raises(KeyError):
        ct.descriptions["no such finding"]
