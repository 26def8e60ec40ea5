"""GradCache: the whole batch's gradient to 1e-5 with dropout on, in any cut; what it cannot do exactly is refused."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from modalign import RecipeError, build_model
from modalign.align import gradcache as module
from modalign.align.collate import Collator
from modalign.align.data import AlignmentDataset
from modalign.align.gradcache import RandomState, gradcache, split_inputs
from modalign.align.losses import infonce, siglip
from tests.align.test_trainer import StopAt, trainer_for, tuned
from tests.conftest import make_recipe

LORA = {"tune": "lora", "lora": {"r": 2, "dropout": 0.2}}


def three_towers(text_checkpoint, tune, bias=None):
    """Text and two of tone, all with dropout. The towers have different numbers of items."""
    towers = {
        "text": {"options": {"checkpoint": str(text_checkpoint)}, **tune, "projection": {"dropout": 0.2}},
        "tone": {"options": {"dropout": 0.3}},
        "hum": {"modality": "tone", "options": {"dropout": 0.3}, "projection": {"noise": 0.1, "dropout": 0.2}},
    }
    pairs = [["text", "tone"], ["text", "hum", 0.5]]
    model = build_model(make_recipe(text_checkpoint, towers=towers, pairs=pairs, temperature={"bias": bias}))
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # 0 at first, and A without a gradient
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    waves = torch.randn(11, 1, 32, generator=generator)
    inputs = {
        "text": {
            "input_ids": torch.randint(5, 20, (7, 6), generator=generator),
            "mask": torch.ones(7, 6, dtype=torch.bool),
        },
        "tone": {"values": waves, "mask": torch.ones(11, 32, dtype=torch.bool)},
        "hum": {"values": waves[:3], "mask": torch.ones(3, 32, dtype=torch.bool)},
    }
    return model.train(), inputs


def loss_of(output):
    text, tone, hum = (output.embeddings[n] for n in ("text", "tone", "hum"))
    index = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3])
    first = infonce(text[index], tone, output.scale, index[:, None])
    if output.bias is not None:
        first = siglip(text[index], tone, output.scale, index[:, None], output.bias)
    return first + infonce(text[:3], hum, output.scale)


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def whole_batch(model, inputs, size, loss_of=loss_of):
    """The reference: the same micro-batches, with their graphs all held at once."""
    parts = [model(piece) for piece in split_inputs(inputs, size)]
    joined = {n: torch.cat([p.embeddings[n] for p in parts if n in p.embeddings]) for n in inputs}
    loss = loss_of(parts[0]._replace(embeddings=joined))
    loss.backward()
    return loss.detach(), gradients(model)


def error(found, expected):
    assert found.keys() == expected.keys()
    assert all(g.abs().sum() > 0 for g in expected.values() if g.ndim > 1)
    difference = sum((found[n] - expected[n]).double().square().sum() for n in expected).sqrt()
    return float(difference / sum(g.double().square().sum() for g in expected.values()).sqrt())


@pytest.mark.parametrize("size", [2, 4, 11, 64])
@pytest.mark.parametrize("tune", [{"tune": "full"}, LORA, {"tune": "frozen"}], ids=["full", "lora", "frozen"])
def test_the_gradient_is_that_of_the_whole_batch(text_checkpoint, tune, size):
    model, inputs = three_towers(text_checkpoint, tune)
    torch.manual_seed(5)
    loss, expected = whole_batch(model, inputs, size)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.allclose(gradcache(model, inputs, loss_of, size), loss, rtol=1e-6)
    assert torch.equal(torch.rand(1), after)  # what is drawn next is as after the plain step
    found = gradients(model)
    assert "temperature.log_scale" in found
    assert error(found, expected) < 1e-5


def test_it_would_be_seen_if_random_states_were_not_put_back(text_checkpoint, monkeypatch):
    model, inputs = three_towers(text_checkpoint, {"tune": "full"})
    torch.manual_seed(5)
    _, expected = whole_batch(model, inputs, 4)

    @contextmanager
    def forgets(self):
        yield

    monkeypatch.setattr(RandomState, "put_back", forgets)
    torch.manual_seed(5)
    gradcache(model, inputs, loss_of, 4)
    assert error(gradients(model), expected) > 0.1


def test_temperature_bias_and_a_loss_with_weights_get_their_gradient(text_checkpoint):
    model, inputs = three_towers(text_checkpoint, {"tune": "frozen"}, bias=-3.0)
    mix = nn.Linear(16, 16)

    def weighted(output):
        return loss_of(output._replace(embeddings={n: mix(e) for n, e in output.embeddings.items()}))

    torch.manual_seed(5)
    _, expected = whole_batch(model, inputs, 4, weighted)
    own = mix.weight.grad.clone()
    mix.zero_grad()
    torch.manual_seed(5)
    gradcache(model, inputs, weighted, 4)
    torch.testing.assert_close(mix.weight.grad, own)
    found = gradients(model)
    assert "temperature.bias" in found
    assert (
        error({k: v for k, v in found.items() if "hum" not in k}, {k: v for k, v in expected.items() if "hum" not in k})
        < 1e-5
    )


def test_micro_batches_are_of_like_items(text_checkpoint, manifest):
    """And the pairs are those of the whole batch."""
    recipe = make_recipe(text_checkpoint)
    model = build_model(recipe).eval()
    dataset = AlignmentDataset(manifest, {n: model.tower(n) for n in model.towers}, train=True)
    items = [dataset[0, i] for i in range(11)]
    whole, cut = (Collator(dataset, recipe.pairs, {}, micro_batch=size)(items) for size in (None, 4))
    lengths = [len(part["values"][0, 0]) for part in cut["inputs"]["tone"]]
    assert [len(part["values"]) for part in cut["inputs"]["tone"]] == [4, 4, 3]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]
    pieces = [model(piece).embeddings for piece in split_inputs(cut["inputs"], 4)]
    expected, found = model(whole["inputs"]).embeddings, {}
    for tower in expected:
        found[tower] = torch.cat([piece[tower] for piece in pieces if tower in piece])
    for tower, key in (("text", "a_index"), ("tone", "b_index")):
        torch.testing.assert_close(found[tower][cut["pairs"][0][key]], expected[tower][whole["pairs"][0][key]])


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("frozen", [True, False])
def test_training_by_micro_batches_gives_the_same_weights(text_checkpoint, manifest, tmp_path, frozen, accumulation):
    """Cached features or a tower that trains; clipping and accumulation as ever."""
    states = []
    for size in (None, 3, 100):
        towers = {
            "text": {"options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen" if frozen else "full"},
            "tone": {"augment": [{"name": "gain"}]},
        }
        if not frozen:
            towers["text"]["lora"] = {"r": 2}
            towers["text"]["tune"] = "lora"
        training = {
            "epochs": 2,
            "batch_size": 8,
            "max_grad_norm": 0.1,
            "micro_batch": size,
            "accumulation": accumulation,
        }
        recipe = make_recipe(text_checkpoint, towers=towers, training=training)
        trainer = trainer_for(recipe, manifest, tmp_path / str(size))
        if not frozen:  # the reference draws another dropout, so there is none here
            for part in trainer.model.modules():
                if isinstance(part, nn.Dropout):
                    part.p = 0.0
        trainer.train()
        states.append((trainer.model.state_dict(), [h["loss"] for h in trainer.state.log_history if "loss" in h]))
    for state, losses in states[1:]:
        assert losses == pytest.approx(states[0][1], rel=1e-4)
        for name, tensor in states[0][0].items():
            torch.testing.assert_close(state[name], tensor, atol=1e-5, rtol=1e-4, msg=name)


def test_interrupted_and_resumed_gives_the_same_weights(text_checkpoint, manifest, tmp_path):
    recipe = tuned(text_checkpoint, micro_batch=3)
    whole = trainer_for(recipe, manifest, tmp_path / "whole")
    whole.train()
    trainer_for(recipe, manifest, tmp_path / "broken", callbacks=[StopAt(4)]).train()
    resumed = trainer_for(recipe, manifest, tmp_path / "broken")
    resumed.train(resume_from_checkpoint=str(resumed.resume()))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_mixed_precision(text_checkpoint, manifest, tmp_path):
    trainer = trainer_for(tuned(text_checkpoint, micro_batch=3, bf16=True, epochs=1), manifest, tmp_path)
    before = {n: p.clone() for n, p in trainer.model.named_parameters()}
    trainer.train()
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    moved = [n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])]
    assert {"towers.tone.encoder.mix.weight", "temperature.log_scale"} <= set(moved)


@pytest.mark.parametrize(
    ("place", "mend"),
    [
        ("encoder.norm", "GroupNorm.*tune: lora or frozen"),
        ("projection.layers", r"Set towers\.tone\.projection\.norm: none"),
    ],
)
def test_batch_norm_that_trains_is_refused(text_checkpoint, manifest, tmp_path, monkeypatch, place, mend):
    recipe = tuned(text_checkpoint, micro_batch=4)
    model = build_model(recipe)
    part, name = place.split(".")
    setattr(getattr(model.tower("tone"), part), name, nn.BatchNorm1d(12))
    model.eval()
    with pytest.raises(RecipeError, match=rf"towers\.tone: {place} is a BatchNorm.*{mend}"):
        module.refuse_batch_norm(model, "training.micro_batch", "a micro-batch")
    assert not model.training  # as it was
    monkeypatch.setattr("tests.align.test_trainer.build_model", lambda recipe: model)
    with pytest.raises(RecipeError, match=r"training\.micro_batch: towers\.tone"):
        trainer_for(recipe, manifest, tmp_path)


@pytest.mark.parametrize("tune", ["lora", "frozen"])
def test_batch_norm_with_frozen_statistics_is_not(text_checkpoint, tune):
    towers = {
        "text": {"options": {"checkpoint": str(text_checkpoint)}},
        "tone": {"tune": tune, "lora": {"targets": ["mix"]}},
    }
    model = build_model(make_recipe(text_checkpoint, towers=towers))
    norm = model.tower("tone").encoder.norm = nn.BatchNorm1d(12)
    module.refuse_batch_norm(model, "training.micro_batch", "a micro-batch")
    assert model.train().tower("tone").training  # the tower trains, and the BatchNorm in it does not
    assert not norm.training
