"""Lion's published step, and the running mean: its value, its checkpoints, and that it is what is kept."""

import pytest
import torch

from modalign import ModelError
from modalign.align.checkpoint import checkpoints
from modalign.align.lion import Lion
from modalign.align.updates import RunningMean
from tests.align.test_trainer import trainer_for
from tests.conftest import make_recipe


@pytest.mark.parametrize(("gradient", "weight", "momentum"), [(-1.0, 0.89, 0.485), (-10.0, 1.09, 0.395)])
def test_lion_takes_the_published_step(gradient, weight, momentum):
    parameter = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = Lion([parameter], lr=0.1, weight_decay=0.1)
    optimizer.state[parameter]["momentum"] = torch.full((1,), 0.5, dtype=torch.float64)
    parameter.grad = torch.full((1,), gradient, dtype=torch.float64)
    optimizer.step()
    assert parameter.item() == pytest.approx(weight, abs=1e-12)
    assert optimizer.state[parameter]["momentum"].item() == pytest.approx(momentum, abs=1e-12)


def test_lion_leaves_what_has_no_gradient_and_takes_a_closure():
    still, moving = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = Lion([still, moving], lr=0.1)

    def closure():
        loss = moving.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    assert still.tolist() == [1, 1]
    assert moving.tolist() == pytest.approx([0.9, 0.9])


def test_lion_trains(text_checkpoint, manifest, tmp_path):
    training = {"epochs": 4, "batch_size": 8, "learning_rate": 0.003, "log_every": 1, "optim": "lion"}
    trainer = trainer_for(make_recipe(text_checkpoint, training=training), manifest, tmp_path)
    trainer.train()
    assert isinstance(getattr(trainer.optimizer, "optimizer", trainer.optimizer), Lion)
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[-1] < losses[0] - 0.1


def settings(**more):
    return {"epochs": 2, "batch_size": 8, "learning_rate": 0.02, "log_every": 1, **more}


def test_the_mean_is_that_of_the_weights_after_each_update(text_checkpoint, manifest, tmp_path):
    seen = []

    class Watch(RunningMean):
        """Also keeps the weights themselves."""

        def on_optimizer_step(self, args, state, control, **kwargs):
            super().on_optimizer_step(args, state, control, **kwargs)
            seen.append({n: w.detach().clone() for n, w in self.weights.items()})

    trainer = trainer_for(make_recipe(text_checkpoint, training=settings()), manifest, tmp_path)
    watch = trainer.ema = Watch(trainer.model, 0.3)
    start = {n: w.detach().clone() for n, w in watch.weights.items()}
    trainer.add_callback(watch)
    trainer.train()
    assert len(seen) == 6
    for name, value in start.items():
        for n, weights in enumerate(seen, 1):
            decay = min(0.3, (1 + n) / (10 + n))
            value = decay * value + (1 - decay) * weights[name]
            if trainer.state.best_global_step == n:
                best = value
        torch.testing.assert_close(watch.means[name], best, msg=name)
        assert torch.equal(dict(trainer.model.named_parameters())[name], watch.means[name])


@pytest.mark.parametrize("split", ["with val", "without val"])
def test_the_mean_is_what_is_evaluated_and_kept_and_the_weights_train_on(text_checkpoint, manifest, tmp_path, split):
    from safetensors.torch import load_file

    rows = manifest if split == "with val" else manifest.split("train")
    plain = trainer_for(make_recipe(text_checkpoint, training=settings()), rows, tmp_path / "plain")
    judged = iter([0.9, 0.2, 0.5])  # the first checkpoint is the best, and not the last
    judge = [lambda model, dataset: {"accuracy": next(judged)}]
    recipe = make_recipe(text_checkpoint, training=settings(ema=0.9))
    mean = trainer_for(recipe, rows, tmp_path / "mean", evaluators=judge)
    plain.train()
    mean.train()
    name = "towers.tone.encoder.mix.weight"
    for a, b in zip(checkpoints(tmp_path / "plain"), checkpoints(tmp_path / "mean"), strict=True):
        weights, same = (load_file(folder / "model.safetensors")[name] for folder in (a, b))
        assert torch.equal(weights, same)  # the mean changes nothing of how weights train
        assert not torch.equal(load_file(b / "ema.safetensors")[name], same)
    kept = checkpoints(tmp_path / "mean")[-1]
    if split == "with val":
        assert mean.state.best_global_step == 3
        kept = tmp_path / "mean" / "checkpoint-3"
        evaluated = [line for line in mean.state.log_history if line.get("step") == mean.state.best_global_step]
        logged = next(line["eval_loss"] for line in evaluated if "eval_loss" in line)
        mean.ema = None
        assert mean.evaluate()["eval_loss"] == pytest.approx(logged, abs=1e-6)
    assert torch.equal(mean.model.state_dict()[name], load_file(kept / "ema.safetensors")[name])


def test_going_on_without_the_mean_is_refused(text_checkpoint, manifest, tmp_path):
    trainer_for(make_recipe(text_checkpoint, training=settings()), manifest, tmp_path).train()
    trainer = trainer_for(make_recipe(text_checkpoint, training=settings(ema=0.9)), manifest, tmp_path)
    with pytest.raises(ModelError, match=r"has no ema.safetensors; it was written without training.ema"):
        trainer.train(resume_from_checkpoint=str(trainer.resume()))
    other = RunningMean(torch.nn.Linear(2, 2), 0.9)
    other.on_train_begin(None, None, None)
    other.save(tmp_path)
    with pytest.raises(ModelError, match="other weights"):
        trainer.ema.load(tmp_path)
