"""Motion encoders: shapes, saving, refusals, half precision, LoRA; and what importing them costs."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from modalign.errors import MissingExtraError, ModelError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.base import Encoder
from modalign.modalities.layers import tsai
from modalign.modalities.motion import encoders as module
from tests.imports import loaded_by

motion = get_modality("motion")
SMALL: dict[str, dict[str, Any]] = {
    "fcn": {"layers": [8, 16, 8]},
    "resnet": {"nf": 8},
    "xresnet": {"layers": [1, 1, 1, 1], "widen": 0.125},
    "inception": {"nf": 8, "depth": 3},
    "patchtst": {"samples": 100, "d_model": 16, "d_ff": 32, "depth": 2},
}
WIDTHS = {"fcn": (8, 100), "resnet": (16, 100), "xresnet": (64, 4), "inception": (32, 100), "patchtst": (96, 12)}


def build(name: str, **options: Any) -> Encoder:
    torch.manual_seed(0)
    return motion.build_encoder(name, **{**SMALL[name], **options}).eval()


def batch(channels: int = 6, length: int = 100, size: int = 3) -> dict[str, torch.Tensor]:
    values = torch.randn(size, channels, length, generator=torch.Generator().manual_seed(1))
    return {"values": values, "mask": torch.ones(size, length, dtype=torch.bool)}


@pytest.mark.parametrize("name", SMALL)
def test_shapes_and_pooling(name: str) -> None:
    encoder = build(name, channels=4)
    output = encoder(**batch(4))
    width = 64 if name == "patchtst" else WIDTHS[name][0]
    assert encoder.width == width
    assert output.tokens.shape == (3, WIDTHS[name][1], width)
    assert output.mask.all()
    torch.testing.assert_close(output.pooled, output.tokens.mean(1))
    assert encoder.padding == "fixed"
    assert motion.build_processing(**encoder.processing_defaults()).parameters()["padding"] == "fixed"


@pytest.mark.parametrize("name", SMALL)
def test_an_item_has_one_embedding_whatever_the_batch(name: str) -> None:
    encoder, given = build(name), batch()
    together = encoder(**given).pooled
    for i in range(3):
        alone = encoder(given["values"][i : i + 1], given["mask"][i : i + 1]).pooled[0]
        torch.testing.assert_close(alone, together[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_gravity_and_the_axis_are_seen(name: str) -> None:
    encoder, given = build(name), batch()
    plain = encoder(**given).pooled
    moved = given["values"].clone()
    moved[:, 2] += 9.81  # an instance norm (PatchTST's revin) would take this out
    assert (encoder(moved, given["mask"]).pooled - plain).abs().max() > 1e-3
    swapped = given["values"][:, [3, 4, 5, 0, 1, 2]]
    assert (encoder(swapped, given["mask"]).pooled - plain).abs().max() > 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_options_build_the_same_again(name: str) -> None:
    import json

    encoder = build(name)
    twin = motion.build_encoder(name, **json.loads(json.dumps(encoder.options()))).eval()
    twin.load_state_dict(encoder.state_dict())
    assert twin.options() == encoder.options()
    assert torch.equal(twin(**batch()).pooled, encoder(**batch()).pooled)


@pytest.mark.parametrize("name", SMALL)
def test_weights_go_through_safetensors(name: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    encoder = build(name)
    save_file(encoder.state_dict(), tmp_path / "w.safetensors")  # refuses a tensor that has two names
    assert load_file(tmp_path / "w.safetensors").keys() == encoder.state_dict().keys()


@pytest.mark.parametrize("name", SMALL)
def test_half_precision_and_autocast(name: str) -> None:
    encoder, given = build(name), batch()
    exact = encoder(**given).pooled
    with torch.autocast("cpu", dtype=torch.bfloat16):
        auto = encoder(**given).pooled
    half = build(name).bfloat16()(**given)
    assert half.pooled.dtype == torch.bfloat16
    for other in (auto, half.pooled):
        assert torch.cosine_similarity(other.float(), exact).min() > 0.99
    # Nothing is made on a fixed device.
    on_meta = build(name).to("meta")(**{key: value.to("meta") for key, value in given.items()})
    assert on_meta.pooled.device.type == on_meta.mask.device.type == "meta"


@pytest.mark.parametrize("name", SMALL)
def test_lora_goes_in(name: str) -> None:
    import peft

    encoder = build(name)
    before = encoder(**batch()).pooled
    adapted = peft.get_peft_model(encoder, peft.LoraConfig(r=2, target_modules=encoder.lora_targets()))
    torch.testing.assert_close(adapted(**batch()).pooled, before)
    adapted(**batch()).pooled.square().sum().backward()
    grown = [key for key, p in adapted.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert grown
    assert all("lora_" in key for key in grown)


def test_dropout_is_off_in_eval() -> None:
    for name in SMALL:
        encoder = build(name, dropout=0.5)
        assert torch.equal(encoder(**batch()).pooled, encoder(**batch()).pooled)
        encoder.train()
        assert not torch.equal(encoder(**batch()).pooled, encoder(**batch()).pooled), name


def test_patches_are_those_of_tsai() -> None:
    from tsai.models.PatchTST import PatchTST

    for samples, patch_len, stride in ((100, 16, 8), (103, 10, 7), (64, 64, 5)):
        model = (
            PatchTST(2, None, samples, revin=False, patch_len=patch_len, stride=stride, d_model=16, n_heads=4)
            .eval()
            .model
        )
        values = torch.randn(3, 2, samples)
        model.head = torch.nn.Identity()
        theirs = model(values)
        ours = module.PatchTokens(model.backbone, patch_len, stride)(values)
        assert torch.equal(ours, theirs.flatten(1, 2))


@pytest.mark.parametrize("name", SMALL)
def test_wrong_inputs_are_refused(name: str) -> None:
    encoder = build(name)
    with pytest.raises(ModelError, match="set its option channels"):
        encoder(**batch(4))
    padded = batch()
    padded["mask"][1, 90:] = False
    with pytest.raises(ModelError, match="takes no padded batch"):
        encoder(**padded)


def test_patchtst_takes_one_length() -> None:
    with pytest.raises(ModelError, match="windows of 100 samples, not 90; set its option samples"):
        build("patchtst")(**batch(length=90))
    assert build("fcn")(**batch(length=90)).tokens.shape == (3, 90, 8)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("fcnn", {}, "did you mean 'fcn'"),
        ("fcn", {"nf": 8}, "encoder 'fcn'.*nf.*options: .*layers"),
        ("fcn", {"layers": [8, 8]}, "layers has 3 numbers"),
        ("fcn", {"layers": [8, 8, 0]}, "layers is above 0"),
        ("fcn", {"kss": [8, 5, 3]}, "kernel sizes are odd"),
        ("resnet", {"channels": 0}, "channels is above 0"),
        ("resnet", {"nf": "wide"}, "nf is above 0"),
        ("xresnet", {"layers": [2, 2]}, "four numbers or more"),
        ("xresnet", {"ks": 4}, "kernel sizes are odd"),
        ("inception", {"ks": 4}, "ks is 8 or more"),
        ("inception", {"dropout": 1.5}, "dropout is from 0 to under 1"),
        ("patchtst", {"patch_len": 200}, r"patch_len \(200\) is at most samples"),
        ("patchtst", {"d_model": 30}, r"d_model \(30\) is a multiple of heads"),
    ],
)
def test_options_are_checked(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        motion.build_encoder(name, **options)


def test_without_tsai_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsai, "import_module", lambda name: (_ for _ in ()).throw(ModuleNotFoundError(name)))
    with pytest.raises(MissingExtraError, match=r"pip install 'modalign\[motion\]'"):
        motion.build_encoder("fcn")


def test_building_keeps_the_warning_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    def noisy(name: str) -> Any:
        warnings.simplefilter("ignore")  # as fastai does when it is imported
        return import_module(name)

    monkeypatch.setattr(tsai, "import_module", noisy)
    before = list(warnings.filters)
    build("fcn")
    assert list(warnings.filters) == before


def test_importing_motion_imports_no_tsai() -> None:
    loaded = loaded_by("import modalign.modalities.motion")
    assert "modalign.modalities.motion" in loaded
    assert not {"tsai", "fastai", "scipy", "peft"} & loaded
