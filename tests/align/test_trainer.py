"""The trainer: exact resume, stated accumulation, what decays, what stays frozen, and whole checkpoints."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from modalign import ManifestError, ModelError, RecipeError, build_model
from modalign.align import checkpoint
from modalign.align.collate import Collator
from modalign.align.config import LossConfig
from modalign.align.data import AlignmentDataset
from modalign.align.embed import evaluate_pairs
from modalign.align.losses import infonce
from modalign.align.objective import Objective
from modalign.align.trainer import AlignmentTrainer
from tests.conftest import make_recipe


def trainer_for(recipe, manifest, out: Path, **options) -> AlignmentTrainer:
    val = manifest.split("val") if manifest.has("val") else None
    return AlignmentTrainer(build_model(recipe), recipe, manifest.split("train"), val, out, **options)


def tuned(text_checkpoint, **training):
    """A text tower that trains, with dropout, and an augmented one: all that could differ after a resume."""
    towers = {
        "text": {"options": {"checkpoint": str(text_checkpoint)}, "tune": "full"},
        "tone": {"options": {"dropout": 0.3}, "augment": [{"name": "gain"}]},
    }
    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "log_every": 1, **training}
    return make_recipe(text_checkpoint, towers=towers, training=settings)


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_save = True
            control.should_training_stop = True


@pytest.mark.parametrize("stop", [3, 5], ids=["end of an epoch", "middle of an epoch"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_interrupted_and_resumed_gives_the_same_weights(text_checkpoint, manifest, tmp_path, stop, accumulation):
    recipe = tuned(text_checkpoint, accumulation=accumulation, epochs=3 * accumulation)
    whole = trainer_for(recipe, manifest, tmp_path / "whole")
    whole.train()
    broken = trainer_for(recipe, manifest, tmp_path / "broken", callbacks=[StopAt(stop)])
    broken.train()
    torch.manual_seed(999)
    resumed = trainer_for(recipe, manifest, tmp_path / "broken")
    found = resumed.resume()
    assert found.name == f"checkpoint-{stop}"
    resumed.train(resume_from_checkpoint=str(found))
    assert resumed.state.global_step == whole.state.global_step > stop
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_accumulation_averages_batches_and_adds_no_negatives(text_checkpoint, manifest, tmp_path):
    towers = make_recipe(text_checkpoint).towers
    recipe = make_recipe(
        text_checkpoint,
        towers={"text": towers["text"], "tone": towers["tone"]},
        training={
            "epochs": 1,
            "batch_size": 6,
            "accumulation": 4,
            "max_grad_norm": 0,
            "learning_rate": 1e-12,
            "warmup": 0,
        },
    )
    seen = {}

    class Grab(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            seen.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    trainer = trainer_for(recipe, manifest, tmp_path, callbacks=[Grab()])
    batches = list(trainer.get_train_dataloader())
    assert len(batches) == 4
    trainer.train()
    model = trainer_for(recipe, manifest, tmp_path / "again").model.train()
    losses = []
    for batch in batches:
        output = model(batch["inputs"])
        pair = batch["pairs"][0]
        x, y = output.embeddings["text"][pair["a_index"]], output.embeddings["tone"][pair["b_index"]]
        losses.append(infonce(x, y, output.scale, pair["groups"]))
    torch.stack(losses).mean().backward()
    assert seen
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(seen[name], parameter.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_the_loss_is_not_scaled_by_the_trainer(text_checkpoint, manifest, tmp_path):
    trainer = trainer_for(make_recipe(text_checkpoint), manifest, tmp_path)
    assert trainer.model_accepts_loss_kwargs is False
    assert trainer.compute_loss_func is None
    batch = next(iter(trainer.get_train_dataloader()))
    plain = trainer.compute_loss(trainer.model, batch)
    keyed = trainer.compute_loss(trainer.model, {**batch, "labels": torch.ones(8)}, num_items_in_batch=torch.tensor(64))
    assert torch.equal(plain, keyed)


def test_what_decays(text_checkpoint, manifest, tmp_path):
    trainer = trainer_for(tuned(text_checkpoint), manifest, tmp_path)
    decays = set(trainer.get_decay_parameter_names(trainer.model))
    named = dict(trainer.model.named_parameters())
    assert "towers.tone.encoder.mix.weight" in decays
    for name in named:
        if name.endswith("bias") or "LayerNorm" in name or name == "temperature.log_scale":
            assert name not in decays, name


def test_a_last_batch_of_one_row_is_dropped(text_checkpoint, manifest, tmp_path):
    rows = manifest.split("train")
    recipe = make_recipe(text_checkpoint, training={"epochs": 1, "batch_size": 8, "log_every": 1})
    for n, batches in ((17, [8, 8]), (18, [8, 8, 2]), (16, [8, 8])):
        trainer = AlignmentTrainer(build_model(recipe), recipe, rows.take(range(n)), None, tmp_path / str(n))
        loader = trainer.get_train_dataloader()
        assert [len(b["pairs"][0]["a_index"]) for b in loader] == batches
        assert len(loader) == len(batches)
        trainer.train()
        assert trainer.state.global_step == len(batches)


def test_frozen_tower_never_changes(text_checkpoint, manifest, tmp_path):
    trainer = trainer_for(make_recipe(text_checkpoint), manifest, tmp_path)
    before = {n: p.clone() for n, p in trainer.model.tower("text").encoder.state_dict().items()}
    trained = trainer.model.tower("text").projection.layers.weight.clone()
    trainer.train()
    for name, tensor in trainer.model.tower("text").encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not torch.equal(trainer.model.tower("text").projection.layers.weight, trained)


def test_cached_features_train_as_encoding_anew_does(text_checkpoint, manifest, tmp_path):
    recipe = make_recipe(text_checkpoint)
    cached = trainer_for(recipe, manifest, tmp_path / "cached")
    assert set(cached.tables["train"]) == {"text"}
    plain = trainer_for(recipe, manifest, tmp_path / "plain")
    plain.tables = {"train": {}, "val": {}}
    plain.train_rows.cached.clear()
    plain.val_rows.cached.clear()
    cached.train()
    plain.train()
    for name, tensor in cached.model.state_dict().items():
        torch.testing.assert_close(tensor, plain.model.state_dict()[name], atol=1e-4, rtol=1e-3, msg=name)


def test_evaluation_embeds_the_whole_split_and_chooses_the_checkpoint(text_checkpoint, manifest, tmp_path):
    calls = []

    def judge(model, dataset):
        calls.append(len(dataset))
        return {"accuracy": [0.2, 0.9, 0.5][len(calls) - 1]}

    recipe = make_recipe(
        text_checkpoint, training={"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "log_every": 1}
    )
    trainer = trainer_for(recipe, manifest, tmp_path, evaluators=[judge])
    trainer.train()
    assert calls == [len(manifest.split("val").rows)] * 3
    logged = [line for line in trainer.state.log_history if "eval_R@1" in line]
    assert len(logged) == 3
    for key in ("eval_text_to_tone_R@1", "eval_tone_to_text_R@10", "eval_loss", "eval_accuracy"):
        assert key in logged[0]
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-6")
    from safetensors.torch import load_file

    best = load_file(tmp_path / "checkpoint-6" / "model.safetensors")
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, best[name]), name


def test_the_test_split_is_not_touched(text_checkpoint, manifest_file, manifest, tmp_path):
    for row in manifest.split("test").rows:
        Path(row.sources["tone"]).write_text("not numbers")
    trainer_for(make_recipe(text_checkpoint), manifest, tmp_path).train()


def test_checkpoints_are_whole_or_not_there(text_checkpoint, manifest, tmp_path, monkeypatch):
    trainer = trainer_for(tuned(text_checkpoint), manifest, tmp_path)

    def fails(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(trainer, "_save_rng_state", fails)
    with pytest.raises(OSError, match="No space"):
        trainer.train()
    assert checkpoint.checkpoints(tmp_path) == []
    monkeypatch.undo()
    trainer_for(tuned(text_checkpoint), manifest, tmp_path).train()
    found = checkpoint.checkpoints(tmp_path)
    assert 1 <= len(found) <= 3
    assert all((f / "checksums.json").is_file() for f in found)


def test_a_damaged_newest_checkpoint_is_passed_over(text_checkpoint, manifest, tmp_path):
    trainer_for(tuned(text_checkpoint), manifest, tmp_path).train()
    older, newest = checkpoint.checkpoints(tmp_path)[-2:]
    (newest / "optimizer.pt").write_bytes(b"torn")
    assert checkpoint.last_checkpoint(tmp_path) == older
    for path in checkpoint.checkpoints(tmp_path):
        (path / "optimizer.pt").write_bytes(b"torn")
    with pytest.raises(ModelError, match="content is not what was saved"):
        checkpoint.last_checkpoint(tmp_path)


def test_a_pair_without_rows_is_refused(text_checkpoint, manifest, tmp_path):
    rows = manifest.split("train")
    for row in rows.rows:
        row.sources.pop("tone")
    with pytest.raises(ManifestError, match="0 rows have both text and tone"):
        AlignmentTrainer(build_model(make_recipe(text_checkpoint)), make_recipe(text_checkpoint), rows, None, tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_workers(text_checkpoint, manifest, tmp_path, workers):
    recipe = tuned(text_checkpoint, workers=workers)
    reference = trainer_for(tuned(text_checkpoint), manifest, tmp_path / "a").get_train_dataloader()
    other = trainer_for(recipe, manifest, tmp_path / "b").get_train_dataloader()
    for epoch in (0, 1):
        for loader in (reference, other):
            loader.set_epoch(epoch)
        for a, b in zip(reference, other, strict=True):
            assert torch.equal(a["inputs"]["tone"]["values"], b["inputs"]["tone"]["values"])
            assert torch.equal(a["inputs"]["text"]["input_ids"], b["inputs"]["text"]["input_ids"])


def test_epochs_differ_in_order_captions_and_augmentation(text_checkpoint, manifest, tmp_path):
    trainer = trainer_for(tuned(text_checkpoint), manifest, tmp_path)
    rows = trainer.train_rows
    assert not torch.equal(rows[0, 0].inputs["tone"]["values"], rows[1, 0].inputs["tone"]["values"])
    assert torch.equal(rows[1, 0].inputs["tone"]["values"], rows[1, 0].inputs["tone"]["values"])
    labelled = next(i for i, row in enumerate(manifest.split("train").rows) if "text" not in row.sources)
    captions = {rows[epoch, labelled].contents["text"] for epoch in range(12)}
    assert captions == {
        f"a {rows.manifest.rows[labelled].labels[0]} tone",
        f"the sound is {rows.manifest.rows[labelled].labels[0]}",
    }
    rows.templates["text"] = ("a {label} tone", "the sound is {label}")
    assert len({rows[epoch, labelled].contents["text"] for epoch in range(12)}) == 2


def test_missing_modalities_are_paired_by_row(text_checkpoint, manifest, tmp_path):
    rows = manifest.split("train")
    for k in (1, 4, 5):
        rows.rows[k].sources.pop("tone")
    model = build_model(make_recipe(text_checkpoint))
    dataset = AlignmentDataset(rows, {n: model.tower(n) for n in model.towers}, train=True)
    batch = Collator(dataset, make_recipe(text_checkpoint).pairs, {})([dataset[0, i] for i in range(8)])
    assert len(batch["inputs"]["tone"]["values"]) == 5
    pair = batch["pairs"][0]
    assert len(pair["a_index"]) == len(pair["b_index"]) == 5
    texts = batch["inputs"]["text"]["input_ids"]
    assert len(texts) == len({tuple(t.tolist()) for t in texts})  # equal captions once
    kept = [i for i in range(8) if i not in (1, 4, 5)]
    for position, i in enumerate(kept):
        values = batch["inputs"]["tone"]["values"][pair["b_index"][position]]
        own = dataset[0, i].inputs["tone"]["values"]
        assert torch.equal(values[:, : own.shape[1]], own)
        ids = dataset[0, i].inputs["text"]["input_ids"]
        assert torch.equal(texts[pair["a_index"][position]][: len(ids)], ids)


def test_labels_make_positives_where_asked(text_checkpoint, manifest):
    recipe = make_recipe(text_checkpoint, loss={"positives": "label"})
    rows = [replace(r, labels=("x", "y") if i < 2 else ("x",) if i < 4 else ()) for i, r in enumerate(manifest.rows)]
    manifest.rows[:] = rows
    model = build_model(recipe)
    dataset = AlignmentDataset(manifest, {name: model.tower(name) for name in model.towers}, train=True)
    items = [dataset[0, i] for i in range(6)]
    (alone,) = Collator(dataset, recipe.pairs, {})(items)["pairs"]
    (pair,) = Collator(dataset, recipe.pairs, {}, by_label=True)(items)["pairs"]
    labels = pair["groups"][:, 2].tolist()
    assert labels[0] == labels[1] != labels[2] == labels[3]
    assert len(set(labels)) == 4  # rows without labels are positives of themselves alone
    assert alone["groups"] is None or torch.equal(pair["groups"][:, :2], alone["groups"])


def test_log_history_is_on_disk(text_checkpoint, manifest, tmp_path):
    trainer_for(make_recipe(text_checkpoint), manifest, tmp_path).train()
    state = json.loads((checkpoint.checkpoints(tmp_path)[-1] / "trainer_state.json").read_text())
    assert any("loss" in line for line in state["log_history"])
    assert ".staging" not in json.dumps(state)


def test_texts_that_are_cut_are_counted(text_checkpoint, manifest, tmp_path):
    for row in manifest.rows[:3]:
        row.sources["text"] = ("a low tone " * 20 + row.id,)
    trainer = trainer_for(make_recipe(text_checkpoint), manifest, tmp_path)
    assert [n for n in trainer.notes if "texts cut at 24 tokens" in n]
    tuned_trainer = trainer_for(tuned(text_checkpoint), manifest, tmp_path)
    assert [n for n in tuned_trainer.notes if "texts cut at 24 tokens" in n]


def test_tensorboard_gets_the_figures(text_checkpoint, manifest, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    recipe = make_recipe(text_checkpoint, training={"epochs": 1, "batch_size": 8, "tensorboard": True, "log_every": 1})
    trainer_for(recipe, manifest, tmp_path).train()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = next(tmp_path.rglob("events.out.tfevents.*"))
    accumulator = EventAccumulator(str(events.parent)).Reload()
    assert {"train/loss", "eval/R@1"} <= set(accumulator.Tags()["scalars"])


def test_the_order_of_a_pairs_towers_changes_no_figure(text_checkpoint, manifest):
    model = build_model(make_recipe(text_checkpoint)).eval()
    dataset = AlignmentDataset(manifest, {n: model.tower(n) for n in model.towers})
    figures = []
    for order in (["text", "tone"], ["tone", "text"]):
        pairs = make_recipe(text_checkpoint, pairs=[order]).pairs
        figures.append(evaluate_pairs(model, dataset, pairs, Objective(LossConfig(), pairs), {}))
    assert figures[0] == pytest.approx(figures[1])
    assert figures[0]["text_to_tone_R@10"] > 0.3  # a caption that many recordings share finds any of them


def test_a_label_without_caption_takes_the_recordings_templates(text_checkpoint, manifest):
    model = build_model(make_recipe(text_checkpoint))
    towers = {n: model.tower(n) for n in model.towers}
    i = next(i for i, row in enumerate(manifest.rows) if "text" not in row.sources and row.labels == ("low",))
    assert AlignmentDataset(manifest, towers).options_of(i, "text") == (("a low tone",), ("the sound is low",))
    for tower, said in (("tone", "hear {label}"), ("text", "read {label}")):
        dataset = AlignmentDataset(manifest, towers, templates={tower: [said]})
        assert dataset.options_of(i, "text") == ((said.replace("{label}", "low"),),)


def test_captions_are_what_prompts_will_be(text_checkpoint, manifest, monkeypatch):
    """A label that the manifest does not describe: training reads the sentences that evaluation asks with."""
    model = build_model(make_recipe(text_checkpoint))
    towers = {n: model.tower(n) for n in model.towers}
    i = next(i for i, row in enumerate(manifest.rows) if "text" not in row.sources and row.labels == ("low",))
    monkeypatch.setattr(type(towers["tone"].modality), "descriptions", {"low": ("a deep hum",)})
    assert AlignmentDataset(manifest, towers).options_of(i, "text") == (("a deep hum",),)
    templated = AlignmentDataset(manifest, towers, templates={"tone": ["hear {label}"]})
    assert templated.options_of(i, "text") == (("hear low",),)
    manifest.descriptions["low"] = ["a bass note"]
    assert AlignmentDataset(manifest, towers).options_of(i, "text") == (("a bass note",),)


def test_two_modalities_may_read_one_file(text_checkpoint, manifest):
    model = build_model(make_recipe(text_checkpoint))
    dataset = AlignmentDataset(manifest, {"tone": model.tower("tone"), "other": model.tower("tone")})
    row = manifest.rows[0]
    row.sources["other"], row.fields["other"] = row.sources["tone"], row.fields["tone"]
    assert dataset.options_of(0, "tone") == dataset.options_of(0, "other")  # one modality: read once
    dataset.modalities["other"] = type("Other", (type(model.tower("tone").modality),), {"name": "other"})()
    assert dataset.options_of(0, "tone") != dataset.options_of(0, "other")


def test_a_val_split_that_cannot_choose_is_refused_before_training(text_checkpoint, manifest, tmp_path):
    recipe, val = make_recipe(text_checkpoint), manifest.split("val").take([0])
    with pytest.raises(ManifestError, match="split 'val' has no two rows of any pair"):
        AlignmentTrainer(build_model(recipe), recipe, manifest.split("train"), val, tmp_path)


def test_a_pairs_weight_multiplies_its_loss(text_checkpoint, manifest, tmp_path):
    losses = []
    for weight in (1, 3):
        recipe = make_recipe(text_checkpoint, pairs=[["text", "tone", weight]])
        trainer = trainer_for(recipe, manifest, tmp_path / str(weight))
        trainer.model.eval()
        losses.append(trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader()))).item())
        figures = evaluate_pairs(trainer.model, trainer.val_rows, recipe.pairs, trainer.objective, {})
        losses.append(figures["loss"])
    assert losses[2:] == pytest.approx([3 * losses[0], 3 * losses[1]])


def test_augmentation_differs_between_rows(text_checkpoint, manifest, tmp_path):
    rows = manifest.split("train")
    rows.rows[1].sources["tone"] = rows.rows[0].sources["tone"]
    dataset = trainer_for(tuned(text_checkpoint), manifest, tmp_path).train_rows
    dataset.manifest = rows
    assert not torch.equal(dataset[0, 0].inputs["tone"]["values"], dataset[0, 1].inputs["tone"]["values"])


def test_a_best_figure_that_does_not_exist_is_refused_before_training(text_checkpoint, manifest, tmp_path):
    recipe = make_recipe(text_checkpoint, training={"epochs": 1, "batch_size": 8, "best": "R@2"})
    with pytest.raises(RecipeError, match=r"no val figure 'R@2'.*R@1"):
        trainer_for(recipe, manifest, tmp_path)
