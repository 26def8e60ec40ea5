"""AlignmentModel: subsets of towers, saving without any other checkpoint, LoRA, adapters, and damaged folders."""

import json
from pathlib import Path

import pytest
import torch

from modalign import AlignmentModel, ModelError, ReadError, RecipeError, Signal, build_model
from modalign.align.data import AlignmentDataset
from modalign.align.embed import embed_split
from modalign.align.storage import write_checksums
from tests.conftest import make_recipe

TEXTS = ["a low tone", "the high note is a loud steady sound", "one person walks"]


@pytest.fixture
def model(recipe):
    return build_model(recipe).eval()


def tones(*lengths):
    generator = torch.Generator().manual_seed(1)
    return [Signal(torch.randn(1, n, generator=generator), 100.0, ("tone",)) for n in lengths]


def test_forward_takes_any_subset_of_towers(model):
    text = model.tower("text").processing
    inputs = {"text": text.collate([text(model.tower("text").modality.load(t)) for t in TEXTS])}
    output = model(inputs)
    assert set(output.embeddings) == {"text"}
    assert output.embeddings["text"].shape == (3, 16)
    torch.testing.assert_close(output.embeddings["text"].norm(dim=1), torch.ones(3))
    assert output.scale.item() == pytest.approx(1 / 0.07, rel=1e-5)
    assert model({}).embeddings == {}


def test_same_seed_same_weights(recipe):
    a, b = build_model(recipe), build_model(recipe)
    torch.manual_seed(123)
    c = build_model(recipe)
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name
        assert torch.equal(tensor, c.state_dict()[name]), name


def test_saved_model_needs_no_other_checkpoint(model, tmp_path, without_checkpoints):
    before = model.embed("text", TEXTS), model.embed("tone", tones(64, 80))
    model.record = {"labels": ["low"]}
    model.save_pretrained(tmp_path / "saved")
    again = AlignmentModel.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.embed("text", TEXTS), before[0])
    assert torch.equal(again.embed("tone", tones(64, 80)), before[1])
    assert again.record == {"labels": ["low"]}
    assert not again.training
    again.save_pretrained(tmp_path / "again")
    third = AlignmentModel.from_pretrained(tmp_path / "again")
    assert torch.equal(third.embed("text", TEXTS), before[0])


def test_saved_folder_holds_no_pickle_and_no_path_of_this_machine(model, tmp_path, text_checkpoint):
    model.save_pretrained(tmp_path / "saved")
    files = [p for p in (tmp_path / "saved").rglob("*") if p.is_file()]
    assert {"config.json", "model.safetensors", "checksums.json", "README.md"} <= {p.name for p in files}
    assert not [p for p in files if p.suffix in {".bin", ".pt", ".pth", ".pkl"}]
    for path in files:
        assert str(text_checkpoint).encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: missing"),
        (lambda f: flip(f / "model.safetensors", -5), "content is not what was saved"),
        (lambda f: flip(f / "config.json", 9), "content is not what was saved"),
        (lambda f: flip(f / "text" / "tokenizer.json", 40), "content is not what was saved"),
        (lambda f: (f / "checksums.json").unlink(), "not a folder that modalign saved"),
        (lambda f: (f / "checksums.json").write_text("{"), "damaged"),
        (lambda f: (f / "extra.bin").write_bytes(b"x"), "was not saved with this model"),
    ],
)
def test_damaged_folders_are_refused(model, tmp_path, damage, message):
    model.save_pretrained(tmp_path / "saved")
    damage(tmp_path / "saved")
    with pytest.raises(ModelError, match=message):
        AlignmentModel.from_pretrained(tmp_path / "saved")


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_name_that_is_no_folder_is_refused():
    with pytest.raises(ModelError, match="no such folder"):
        AlignmentModel.from_pretrained("nobody/no-such-model")
    with pytest.raises(ModelError, match="no-such"):
        AlignmentModel.from_pretrained("./no-such/deeper/folder")


def test_unknown_names_are_refused(model, text_checkpoint):
    with pytest.raises(ModelError, match="did you mean 'tone'"):
        model.tower("tonne")
    with pytest.raises(RecipeError, match=r"has no encoder 'mux'.*did you mean 'mix'"):
        build_model(
            make_recipe(text_checkpoint, towers={"text": text_tower(text_checkpoint), "tone": {"encoder": "mux"}})
        )
    with pytest.raises(RecipeError, match="unexpected keyword argument 'wide'"):
        build_model(
            make_recipe(text_checkpoint, towers={"text": text_tower(text_checkpoint), "tone": {"options": {"wide": 3}}})
        )


def text_tower(checkpoint, **more):
    return {"options": {"checkpoint": str(checkpoint)}, **more}


def test_frozen_and_lora_towers_stay_in_eval_where_they_must(text_checkpoint):
    model = build_model(make_recipe(text_checkpoint)).train()
    assert not model.tower("text").encoder.training
    assert not any(m.training for m in model.tower("text").encoder.modules())
    assert model.tower("text").projection.training
    assert model.tower("tone").encoder.training


def lora_recipe(text_checkpoint, **lora):
    lora = {"r": 4, "alpha": 8, **lora}
    text = text_tower(text_checkpoint, tune="lora", lora=lora, projection={"kind": "linear"})
    return make_recipe(text_checkpoint, towers={"text": text, "tone": {"tune": "lora", "lora": {"r": 2}}})


def test_lora_changes_nothing_at_first_and_trains_only_its_matrices(text_checkpoint):
    plain = build_model(make_recipe(text_checkpoint)).eval()
    lora = build_model(lora_recipe(text_checkpoint)).eval()
    lora.tower("text").projection.load_state_dict(plain.tower("text").projection.state_dict())
    torch.testing.assert_close(lora.embed("text", TEXTS), plain.embed("text", TEXTS))
    trainable = [n for n, p in lora.tower("text").encoder.named_parameters() if p.requires_grad]
    assert trainable
    assert all("lora_A" in n or "lora_B" in n for n in trainable)
    assert {n.split(".")[-4] for n in trainable} == {"query", "value"}
    count = sum(p.numel() for n, p in lora.tower("text").encoder.named_parameters() if p.requires_grad)
    assert count == 2 * 2 * 4 * (32 + 32)  # layers, targets, r (in + out)


def test_lora_saved_model_and_merge(text_checkpoint, tmp_path):
    model = build_model(lora_recipe(text_checkpoint)).eval()
    randomise_lora(model)
    before = model.embed("text", TEXTS)
    model.save_pretrained(tmp_path / "lora")
    assert torch.equal(AlignmentModel.from_pretrained(tmp_path / "lora").embed("text", TEXTS), before)
    model.merge()
    torch.testing.assert_close(model.embed("text", TEXTS), before, atol=1e-5, rtol=1e-4)
    assert not [n for n in model.state_dict() if "lora" in n]
    model.save_pretrained(tmp_path / "merged")
    merged = AlignmentModel.from_pretrained(tmp_path / "merged")
    assert torch.equal(merged.embed("text", TEXTS), model.embed("text", TEXTS))


def randomise_lora(model):
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)


def test_wrong_lora_targets_are_refused(text_checkpoint):
    with pytest.raises(RecipeError, match=r"towers.text.lora.targets.*Modules of this encoder"):
        build_model(lora_recipe(text_checkpoint, targets=["no_such_layer"]))


@pytest.mark.parametrize("on", ["config", "folder"])
def test_adapter_roundtrip(text_checkpoint, tmp_path, on):
    recipe = lora_recipe(text_checkpoint)
    model = build_model(recipe).eval()
    if on == "folder":
        model.save_pretrained(tmp_path / "base")
        model = AlignmentModel.from_pretrained(tmp_path / "base")
    randomise_lora(model)
    model.tower("text").projection.mean.fill_(0.25)  # a buffer that training changed
    tower = model.tower("tone")
    tower.processing = tower.processing.model_copy(update={"scale": 2.5})
    model.save_adapter(tmp_path / "adapter")
    saved = set(model.changed_tensors())
    assert "towers.text.projection.mean" in saved
    assert not [n for n in saved if "base_layer" in n or "embeddings" in n]
    again = AlignmentModel.load_adapter(tmp_path / "adapter")
    assert torch.equal(again.embed("text", TEXTS), model.embed("text", TEXTS))
    assert torch.equal(again.embed("tone", tones(64)), model.embed("tone", tones(64)))
    full = sum(t.numel() for t in model.state_dict().values())
    assert sum(t.numel() for t in model.changed_tensors().values()) < full / 3


def test_adapter_on_another_base_is_refused(text_checkpoint, tmp_path):
    recipe = lora_recipe(text_checkpoint)
    model = build_model(recipe)
    model.save_pretrained(tmp_path / "base")
    model.save_adapter(tmp_path / "adapter")
    other = build_model(recipe)
    with torch.no_grad():
        next(p for p in other.parameters() if not p.requires_grad).add_(1e-3)
    other.save_pretrained(tmp_path / "other")
    assert AlignmentModel.load_adapter(tmp_path / "adapter", tmp_path / "base")
    with pytest.raises(ModelError, match="not those that the adapter was trained on"):
        AlignmentModel.load_adapter(tmp_path / "adapter", tmp_path / "other")
    about = json.loads((tmp_path / "adapter" / "adapter.json").read_text())
    del about["base_sha256"]
    (tmp_path / "adapter" / "adapter.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="content is not what was saved"):
        AlignmentModel.load_adapter(tmp_path / "adapter")
    write_checksums(tmp_path / "adapter")
    with pytest.raises(ModelError, match="base_sha256 is missing"):
        AlignmentModel.load_adapter(tmp_path / "adapter")


def test_embedding_does_not_depend_on_the_batch(model):
    together = model.embed("text", TEXTS)
    for i, text in enumerate(TEXTS):
        torch.testing.assert_close(model.embed("text", [text])[0], together[i], atol=1e-5, rtol=1e-4)
    assert model.embed("text", []).shape == (0, 16)


def test_batch_norm_of_a_lora_tower_keeps_its_statistics(text_checkpoint):
    towers = {
        "text": {"options": {"checkpoint": str(text_checkpoint)}},
        "tone": {"tune": "lora"},
    }
    tower = build_model(make_recipe(text_checkpoint, towers=towers)).tower("tone")
    tower.encoder.norm = torch.nn.BatchNorm1d(3)
    tower.train()
    assert tower.encoder.training
    assert not tower.encoder.norm.training


def test_a_file_that_cannot_be_read_leaves_the_mode_as_it_was(recipe, manifest, tmp_path):
    model = build_model(recipe).train()
    modes = [part.training for part in model.modules()]
    (tmp_path / "bad.txt").write_text("no numbers")
    with pytest.raises(ReadError):
        model.embed("tone", [tmp_path / "bad.txt"])
    Path(manifest.rows[4].sources["tone"]).write_text("no numbers")
    rows = AlignmentDataset(manifest, {name: model.tower(name) for name in model.towers})
    with pytest.raises(ReadError):
        embed_split(model, rows, "tone")
    assert [part.training for part in model.modules()] == modes
