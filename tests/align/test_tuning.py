"""Ways to train little: LoRA and its kin, BitFit, adapters, rates by layer; at start, in training, saved, resumed."""

import pytest
import torch
from torch import nn

from modalign import AlignmentModel, RecipeError, build_model
from modalign.align.config import AdapterConfig
from modalign.align.recipe_files import load_recipe
from modalign.align.tuning import FeatureAdapter, depths, layer_list, layer_rates, only_biases
from modalign.modalities.registry import get_modality
from modalign.modalities.text.encoders import TextEncoder
from tests.align.test_model import TEXTS, tones
from tests.align.test_trainer import StopAt, trainer_for
from tests.conftest import make_recipe

LAYERS = "model.encoder.layer"
KINDS = {
    "lora": ({"tune": "lora", "lora": {"r": 4}}, ("lora_A", "lora_B")),
    "rslora": ({"tune": "lora", "lora": {"r": 4, "rslora": True}}, ("lora_A", "lora_B")),
    "dora": ({"tune": "lora", "lora": {"r": 4, "dora": True}}, ("lora_A", "lora_B", "lora_magnitude_vector")),
    "lora, last layer": ({"tune": "lora", "lora": {"r": 4, "layers": [-1, -1]}}, ("layer.1.",)),
    "bitfit": ({"tune": "bitfit"}, ("bias",)),
    "linear adapter": ({"tune": "frozen", "adapter": {"kind": "linear"}}, ("adapter.change",)),
    "mlp adapter": ({"tune": "frozen", "adapter": {"hidden": 5}}, ("adapter.change",)),
}


def recipe_of(text_checkpoint, kind, **more):
    text = {"options": {"checkpoint": str(text_checkpoint)}, "projection": {"kind": "linear"}, **KINDS[kind][0]}
    return make_recipe(text_checkpoint, towers={"text": text, "tone": {"projection": {"kind": "linear"}}}, **more)


def stirred(model):
    """What trains, moved, as training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_at_first_nothing_changes_and_only_what_is_named_trains(text_checkpoint, kind):
    plain = build_model(make_recipe(text_checkpoint)).eval()
    model = build_model(recipe_of(text_checkpoint, kind)).eval()
    model.tower("text").projection.load_state_dict(plain.tower("text").projection.state_dict())
    torch.testing.assert_close(model.embed("text", TEXTS), plain.embed("text", TEXTS))
    tower = model.tower("text")
    inputs = tower.processing.collate([tower.processing(tower.modality.load(t)) for t in TEXTS])
    stirred(model).tower("text")(inputs)[:, 0].sum().backward()
    touched = [n for n, p in tower.named_parameters() if p.grad is not None and "projection" not in n]
    assert touched
    assert all(any(part in n for part in KINDS[kind][1]) for n in touched)
    for part in KINDS[kind][1]:
        assert any(part in n for n in touched), part
    share = {name: (total, trained) for name, total, trained in model.trainable_table()}
    assert 0 < sum(share[n][1] for n in share if n.startswith("text.")) < sum(p.numel() for p in tower.parameters()) / 2
    assert ("text.adapter" in share) == ("adapter" in kind)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_merged_and_as_an_adapter_it_stays_the_same(text_checkpoint, tmp_path, kind):
    model = stirred(build_model(recipe_of(text_checkpoint, kind)).eval())
    before = model.embed("text", TEXTS)
    assert not torch.allclose(before, build_model(recipe_of(text_checkpoint, kind)).embed("text", TEXTS), atol=1e-3)
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(AlignmentModel.from_pretrained(tmp_path / "saved").embed("text", TEXTS), before)
    model.save_adapter(tmp_path / "adapter")
    assert torch.equal(AlignmentModel.load_adapter(tmp_path / "adapter").embed("text", TEXTS), before)
    encoder = model.tower("text").encoder
    if hasattr(encoder, "merge_adapter"):
        for change in (encoder.merge_adapter, encoder.unmerge_adapter):
            change()
            torch.testing.assert_close(model.embed("text", TEXTS), before, atol=1e-5, rtol=1e-4)
    model.merge()
    torch.testing.assert_close(model.embed("text", TEXTS), before, atol=1e-5, rtol=1e-4)
    assert not [n for n in model.state_dict() if "lora" in n]


@pytest.mark.parametrize("kind", KINDS)
def test_on_top_of_a_saved_model(text_checkpoint, tmp_path, kind):
    """It begins where that ended (DoRA's lengths are those of the weights it was given), and its adapter loads."""
    towers = make_recipe(text_checkpoint).model_dump()["towers"]
    towers["text"]["tune"] = "full"
    base = build_model(make_recipe(text_checkpoint, towers=towers))
    stirred(base).eval().save_pretrained(tmp_path / "base")
    model = build_model(recipe_of(text_checkpoint, kind, init=str(tmp_path / "base"))).eval()
    torch.testing.assert_close(model.embed("text", TEXTS), base.embed("text", TEXTS), atol=1e-6, rtol=1e-5)
    stirred(model).save_adapter(tmp_path / "adapter")
    again = AlignmentModel.load_adapter(tmp_path / "adapter")
    assert torch.equal(again.embed("text", TEXTS), model.embed("text", TEXTS))
    assert torch.equal(again.embed("tone", tones(64)), model.embed("tone", tones(64)))


@pytest.mark.parametrize("kind", ["dora", "bitfit", "mlp adapter"])
def test_resumed_gives_the_same_weights(text_checkpoint, manifest, tmp_path, kind):
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "log_every": 1, "ema": 0.9, "optim": "lion"}
    training |= {} if kind == "mlp adapter" else {"layer_decay": {"text": 0.5}}
    recipe = recipe_of(text_checkpoint, kind, training=training)
    whole = trainer_for(recipe, manifest, tmp_path / "whole")
    whole.train()
    trainer_for(recipe, manifest, tmp_path / "broken", callbacks=[StopAt(4)]).train()
    resumed = trainer_for(recipe, manifest, tmp_path / "broken")
    resumed.train(resume_from_checkpoint=str(resumed.resume()))
    assert resumed.state.global_step == whole.state.global_step == 6
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_rank_stabilised_scale_and_dora_lengths(text_checkpoint):
    scale = {}
    for kind in ("lora", "rslora", "dora"):
        encoder = build_model(recipe_of(text_checkpoint, kind)).tower("text").encoder
        layer = encoder.base_model.model.model.encoder.layer[0].attention.self.query
        scale[kind] = layer.scaling["default"]
    assert scale == {"lora": 16 / 4, "rslora": 16 / 2, "dora": 16 / 4}
    lengths = layer.lora_magnitude_vector["default"].weight
    torch.testing.assert_close(lengths, layer.base_layer.weight.norm(dim=1))


@pytest.mark.parametrize(
    ("tower", "lora", "message"),
    [
        ("text", {"layers": [1, 2]}, r"towers.text.lora.layers: \[1, 2\] is no range of the 2 layers \(0 to 1\)"),
        ("text", {"layers": [1, 0]}, "no range of the 2 layers"),
        ("text", {"layers": [0, 0], "targets": ["word_embeddings"]}, "none of the targets word_embeddings"),
        ("tone", {"layers": [0, 0]}, "the layers of ToneEncoder cannot be told; name modules in lora.targets"),
    ],
)
def test_wrong_layers_are_refused(text_checkpoint, tower, lora, message):
    towers = {"text": {"options": {"checkpoint": str(text_checkpoint)}}, "tone": {}}
    towers[tower] |= {"tune": "lora", "lora": lora}
    with pytest.raises(RecipeError, match=message):
        build_model(make_recipe(text_checkpoint, towers=towers))


def test_bitfit_trains_biases_and_is_refused_without_any(text_checkpoint):
    towers = make_recipe(text_checkpoint).model_dump()["towers"] | {"tone": {"tune": "bitfit"}}
    recipe = make_recipe(text_checkpoint, towers=towers)
    tower = build_model(recipe).tower("tone")
    assert [n for n, p in tower.encoder.named_parameters() if p.requires_grad] == ["mix.bias"]
    with pytest.raises(RecipeError, match=r"towers.tone.tune: bitfit trains biases, and this encoder has none"):
        only_biases(nn.Linear(2, 2, bias=False), "tone")


def test_an_adapter_alone_trains_on_a_saved_model(text_checkpoint, manifest, tmp_path):
    build_model(make_recipe(text_checkpoint)).save_pretrained(tmp_path / "base")
    projection = {"kind": "linear", "frozen": True}
    towers = {
        "text": {"options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen", "projection": projection},
        "tone": {"tune": "frozen", "projection": projection, "adapter": {}},
    }
    temperature = {"learnable": False}
    recipe = make_recipe(text_checkpoint, towers=towers, temperature=temperature, init=str(tmp_path / "base"))
    trainer = trainer_for(recipe, manifest, tmp_path / "run")
    before = {n: t.clone() for n, t in trainer.model.state_dict().items()}
    trainer.train()
    moved = {n for n, t in trainer.model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved
    assert all(n.startswith("towers.tone.adapter.") for n in moved)


def test_adapter_shapes():
    mlp, linear = FeatureAdapter(8, AdapterConfig()), FeatureAdapter(8, AdapterConfig(kind="linear"))
    assert [m.weight.shape for m in (mlp.change[0], mlp.change[2], linear.change)] == [(2, 8), (8, 2), (8, 8)]
    assert mlp(torch.ones(3, 8, dtype=torch.bfloat16)).dtype == torch.float32


def test_depths_follow_the_order_of_the_parameters():
    names = ["embed.w", "blocks.0.w", "blocks.10.w", "blocks.1.w", "norm.w"]
    assert list(depths(names, "blocks", 11).values()) == [0, 1, 11, 2, 12]


def test_layer_decay_sets_each_layers_rate(text_checkpoint, manifest, tmp_path):
    text = {"options": {"checkpoint": str(text_checkpoint)}, "tune": "full", "projection": {"kind": "linear"}}
    training = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01, "warmup": 0, "layer_decay": {"text": 0.5}}
    recipe = make_recipe(text_checkpoint, towers={"text": text, "tone": {}}, training=training)
    trainer = trainer_for(recipe, manifest, tmp_path)
    optimizer = trainer.create_optimizer()
    rate = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    named = dict(trainer.model.named_parameters())
    assert set(rate) == {p for p in named.values() if p.requires_grad}
    for name, parameter in named.items():
        part = name.removeprefix("towers.text.encoder.")
        expected = 0.01
        if "embeddings" in part:
            expected = 0.01 * 0.5**3
        elif part.startswith(LAYERS):
            expected = 0.01 * 0.5 ** (2 - int(part.split(".")[3]))
        assert rate[parameter] == pytest.approx(expected), name
        assert bool(decays[parameter]) == (parameter.ndim >= 2)


@pytest.mark.parametrize(
    ("decay", "message"),
    [
        (0.5, r"training.layer_decay: tone: the layers of this encoder cannot be told"),
        ({"txt": 0.5}, r"training.layer_decay: txt: no tower.*did you mean 'text'"),
        ({"text": 1.5}, r"training.layer_decay: text: must be above 0 and at most 1, not 1.5"),
    ],
)
def test_wrong_layer_decays_are_refused(text_checkpoint, decay, message):
    towers = {"text": {"options": {"checkpoint": str(text_checkpoint)}}, "tone": {}}
    model = build_model(make_recipe(text_checkpoint, towers=towers))
    with pytest.raises(RecipeError, match=message):
        layer_rates(dict(model.towers.items()), decay)


def test_set_reaches_all_of_it():
    said = ["training.layer_decay.text=0.7", "training.ema=0.99", "training.optim=lion", "towers.text.tune=lora"]
    said += ["towers.text.projection.center=false"]
    said += ["towers.text.lora={layers: [0, 2], dora: true, rslora: true}", "towers.motion.adapter={kind: linear}"]
    recipe = load_recipe("motion", said)
    assert recipe.training.layer_decay == {"text": 0.7}
    assert (recipe.training.ema, recipe.training.optim) == (0.99, "lion")
    assert recipe.towers["text"].lora.layers == (0, 2)
    assert recipe.towers["motion"].adapter.kind == "linear"


def test_the_list_of_layers_is_found_unless_the_encoder_says_otherwise(text_checkpoint):
    encoder = TextEncoder(str(text_checkpoint))
    assert layer_list(encoder) == LAYERS
    encoder.layer_list = ""
    assert layer_list(encoder) == ""
    assert layer_list(get_modality("ct").build_encoder("swin_unetr", feature_size=12)) == ""
