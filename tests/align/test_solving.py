"""Encoders that are fitted and projections that are solved: on training rows alone, saved, resumed, not in the twin."""

import pytest
import torch
from torch import nn

from modalign import AlignmentModel, Encoder, RecipeError, build_model, train
from modalign.align.manifest import read_manifest
from modalign.align.sampler import generator_for
from modalign.align.trainer import AlignmentTrainer
from modalign.modalities import get_modality
from tests.conftest import make_recipe
from tests.tone import Tone, ToneEncoder


class Levels(ToneEncoder):
    """Constants from the training windows: a level that is taken off, and a number that is drawn."""

    seen: list[list[float]] = []  # noqa: RUF012 - what tests read

    def __init__(self, width: int = 12, dropout: float = 0.0) -> None:
        super().__init__(width, dropout)
        self.register_buffer("level", torch.zeros(2))

    def fit(self, inputs, generator) -> None:
        peaks = [item["values"].abs().max().item() for item in inputs]
        Levels.seen.append(peaks)
        self.level.copy_(torch.tensor([sum(peaks) / len(peaks), torch.rand((), generator=generator).item()]))

    def forward(self, values, mask):
        return super().forward(values - self.level.sum(), mask)


@pytest.fixture(autouse=True)
def levels(monkeypatch):
    monkeypatch.setitem(Tone.encoders, "levels", Levels)
    Levels.seen.clear()


def solved(text_checkpoint, **changes):
    """Everything but the temperature is solved."""
    towers = {
        "text": {
            "options": {"checkpoint": str(text_checkpoint)},
            "tune": "frozen",
            "projection": {"kind": "linear", "solve": "whiten"},
        },
        "tone": {
            "encoder": "levels",
            "tune": "frozen",
            "projection": {"kind": "linear", "standardize": True, "solve": "ridge"},
        },
    }
    return make_recipe(text_checkpoint, **{"towers": towers, **changes})


def trainer_for(recipe, manifest, out, **options):
    val = manifest.split("val") if manifest.has("val") else None
    return AlignmentTrainer(build_model(recipe), recipe, manifest.split("train"), val, out, **options)


def test_the_whole_run_classifies_and_is_saved_to_the_bit(text_checkpoint, manifest, tmp_path):
    model = train(solved(text_checkpoint), manifest, tmp_path / "run")
    loaded = AlignmentModel.from_pretrained(tmp_path / "run" / "model")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    tower = model.tower("tone")
    assert tower.encoder.level[0] == pytest.approx(1.0, abs=0.2)  # the mean peak
    assert tower.projection.layers.weight.any()
    # The temperature alone was trained.
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["temperature.log_scale"]
    assert model.temperature.log_scale != build_model(solved(text_checkpoint)).temperature.log_scale
    rows = manifest.split("test").rows
    items = model.embed("tone", [row.sources["tone"] for row in rows])
    labels = ["low", "middle", "high"]
    texts = model.embed("text", [f"a {label} tone is heard" for label in labels])
    right = [labels[i] == row.labels[0] for i, row in zip((items @ texts.T).argmax(1).tolist(), rows)]
    assert sum(right) >= 5  # of 6
    # The twin's encoder takes nothing from the training rows, its projection is solved the same way.
    twin = AlignmentModel.from_pretrained(tmp_path / "run" / "untrained")
    assert not twin.tower("tone").encoder.level.any()
    assert len(Levels.seen) == 1
    assert twin.tower("tone").projection.layers.bias[-1] == 1


def test_only_training_rows_are_seen(text_checkpoint, manifest, manifest_file, tmp_path):
    recipe = solved(text_checkpoint)
    before = trainer_for(recipe, manifest, tmp_path / "a").model.state_dict()
    assert len(Levels.seen[-1]) == 24
    for row in manifest.rows:
        if row.split != "train":
            path = manifest_file.parent / f"{row.id}.txt"
            path.write_text("\n".join(str(9 * float(x)) for x in path.read_text().split()))
    other = read_manifest(manifest_file, {"text": get_modality("text"), "tone": get_modality("tone")})
    after = trainer_for(recipe, other, tmp_path / "b").model.state_dict()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name


def test_a_resumed_run_has_the_same_constants(text_checkpoint, manifest, tmp_path):
    recipe = solved(text_checkpoint, training={"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "log_every": 1})
    whole = trainer_for(recipe, manifest, tmp_path / "whole")
    whole.train()
    torch.manual_seed(5)
    resumed = trainer_for(recipe, manifest, tmp_path / "whole")
    for name, tensor in whole.model.state_dict().items():
        if name != "temperature.log_scale":
            assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    level = resumed.model.tower("tone").encoder.level[1]
    assert level == torch.rand((), generator=generator_for(recipe.seed, 0, "", "tone.fit"))


def test_an_adapter_holds_what_was_fitted_and_solved(text_checkpoint, manifest, tmp_path):
    trainer = trainer_for(solved(text_checkpoint), manifest, tmp_path / "run")
    trainer.model.save_adapter(tmp_path / "adapter")
    loaded = AlignmentModel.load_adapter(tmp_path / "adapter")
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_towers_that_training_goes_on_from_keep_theirs(text_checkpoint, manifest, tmp_path):
    recipe = solved(text_checkpoint)
    train(recipe, manifest, tmp_path / "run", untrained=False)
    again = recipe.model_copy(update={"init": str(tmp_path / "run" / "model")})
    fewer = manifest.take([i for i, row in enumerate(manifest.rows) if row.split != "train" or i % 2])
    model = train(again, fewer, tmp_path / "more", untrained=False)
    first = AlignmentModel.from_pretrained(tmp_path / "run" / "model").state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, first[name]) or name == "temperature.log_scale", name
    assert len(Levels.seen) == 1


def test_targets_leave_the_last_dimension_free(text_checkpoint, manifest, tmp_path):
    model = trainer_for(solved(text_checkpoint), manifest, tmp_path).model.eval()
    texts = model.embed("text", ["a low tone is heard", "a quiet person walks"])
    assert not texts[:, -1].any()
    items = model.embed("tone", [row.sources["tone"] for row in manifest.rows])
    assert (items[:, -1] > 0.3).all()


def test_shrinkage_whitens_less(text_checkpoint, manifest, tmp_path):
    towers, ratios = solved(text_checkpoint).model_dump()["towers"], []
    for shrinkage in (0.001, 0.5):
        towers["text"]["projection"]["shrinkage"] = shrinkage
        model = trainer_for(solved(text_checkpoint, towers=towers), manifest, tmp_path / str(shrinkage)).model
        sizes = model.tower("text").projection.layers.weight.norm(dim=1)
        ratios.append(float(sizes.max() / sizes[sizes > 0].min()))
    assert ratios[0] > 1.5 > ratios[1]  # the rarest direction is drawn out, or left as it is


class Nothing(Encoder):
    """No weights."""

    width, trains = 4, False

    def options(self):
        return {}


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_an_encoder_without_weights_is_frozen(text_checkpoint, monkeypatch, tune):
    monkeypatch.setitem(Tone.encoders, "nothing", Nothing)
    towers = {**make_recipe(text_checkpoint).model_dump()["towers"], "tone": {"encoder": "nothing", "tune": tune}}
    with pytest.raises(RecipeError, match="nothing to train; set tune: frozen"):
        build_model(make_recipe(text_checkpoint, towers=towers))


@pytest.mark.parametrize(
    ("tower", "change", "message"),
    [
        ("tone", {"tune": "full"}, "towers.tone.projection: standardize and solve need tune: frozen"),
        ("tone", {"projection": {"kind": "mlp", "solve": "ridge"}}, "needs kind: linear"),
        ("tone", {"projection": {"kind": "linear", "solve": "ridge", "noise": 1.0}}, "without noise"),
        ("text", {"projection": {"kind": "linear"}}, "regresses on 'text'.*solve: whiten"),
        ("text", {"tune": "lora", "projection": {"kind": "identity"}}, "regresses on 'text'"),
    ],
)
def test_bad_recipes(text_checkpoint, tower, change, message):
    towers = solved(text_checkpoint).model_dump()["towers"]
    with pytest.raises(RecipeError, match=message):
        solved(text_checkpoint, towers={**towers, tower: {**towers[tower], **change}})


def test_identity_targets_have_no_free_dimension(text_checkpoint, manifest, tmp_path):
    towers = solved(text_checkpoint).model_dump()["towers"]
    towers["text"]["projection"] = {"kind": "identity"}
    model = trainer_for(solved(text_checkpoint, towers=towers, dim=32), manifest, tmp_path).model
    assert isinstance(model.tower("text").projection.layers, nn.Identity)
    assert model.tower("tone").projection.layers.bias[-1] != 1


def test_nothing_to_train_is_refused(text_checkpoint, manifest, tmp_path):
    with pytest.raises(RecipeError, match=r"nothing to train; set temperature\.learnable"):
        trainer_for(solved(text_checkpoint, temperature={"learnable": False}), manifest, tmp_path)
