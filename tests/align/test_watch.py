"""Diagnostics while training: figures are the pure functions', gradients those before clipping; what is wrong warns."""

import math
import warnings

import pytest
import torch
from torch.nn import functional as F

from modalign import build_model
from modalign.align.config import Pair
from modalign.align.diagnostics import gap_figures, similarities
from modalign.align.embed import embed_split
from modalign.align.watch import RAILED, SAMPLE, TrainingWarning, Watch, told_apart
from tests.align.test_trainer import trainer_for
from tests.conftest import make_recipe

PAIR = Pair(a="text", b="tone")


def unit(n, d=8, seed=0):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture
def watch(text_checkpoint):
    return Watch(build_model(make_recipe(text_checkpoint)), [PAIR])


def test_similarities_leave_positives_out():
    x, y = unit(5), unit(5, seed=1)
    cosines = x @ y.T
    rest = cosines.masked_fill(torch.eye(5, dtype=torch.bool), -2)
    expected = torch.cat([rest.amax(1), rest.amax(0)]).mean().item()
    found = similarities(x, y)
    assert found == pytest.approx({"positive": cosines.diag().mean().item(), "hardest negative": expected}, abs=1e-6)
    items = [["a", "b", "a", "c", "d"], ["p", "q", "r", "r", "s"]]
    rest[0, 2] = rest[2, 0] = rest[2, 3] = rest[3, 2] = -2
    expected = torch.cat([rest.amax(1), rest.amax(0)]).mean().item()
    assert similarities(x, y, items)["hardest negative"] == pytest.approx(expected, abs=1e-6)
    assert math.isnan(similarities(x, y, [["a"] * 5])["hardest negative"])
    order = torch.randperm(1500, generator=torch.Generator().manual_seed(2))
    x, y = unit(1500), unit(1500, seed=1)  # more than a chunk
    assert similarities(x[order], y[order]) == pytest.approx(similarities(x, y), abs=1e-6)


def test_figures_of_a_pair_are_the_pure_functions(watch):
    x, y = unit(40), unit(40, seed=1)
    items = ([str(k) for k in range(40)], [str(k // 2) for k in range(40)])
    found = watch.pair(PAIR, x, y, items)
    pure = gap_figures(x, y)
    assert found["gap/text-tone/centroid_distance"] == pure["centroid distance"]
    assert found["gap/text-tone/linear_separability"] == pure["linear separability"]
    assert found["gap/text-tone/effective_rank_text"] == pure["effective rank of the first"]
    assert found["gap/text-tone/uniformity_tone"] == pure["uniformity of the second"]
    assert len([k for k in found if k.startswith("gap/")]) == len(pure)
    close = similarities(x, y, items)
    assert found["similarity/text-tone/positive"] == close["positive"]
    assert found["similarity/text-tone/hardest_negative"] == close["hardest negative"]
    large = unit(3 * SAMPLE)
    names = [str(k) for k in range(len(large))]
    rows = torch.linspace(0, len(large) - 1, SAMPLE).round().long()
    figures = watch.pair(PAIR, large, large.flip(0), (names, names))
    assert figures["gap/text-tone/alignment"] == gap_figures(large[rows], large.flip(0)[rows])["alignment"]


def test_training_logs_them_by_name(text_checkpoint, manifest, tmp_path):
    pytest.importorskip("tensorboard")
    training = {"epochs": 1, "batch_size": 8, "tensorboard": True, "log_every": 1, "max_grad_norm": 0.01}
    trainer = trainer_for(make_recipe(text_checkpoint, training=training), manifest, tmp_path)
    trainer.train()
    steps = [line for line in trainer.state.log_history if "loss" in line]
    for line in steps:
        assert line["rows/text-tone"] == 8
        parts = [line[f"gradient/{name}"] for name in ("text", "tone")]
        assert all(part > 0 for part in parts)
        assert 0.01 < sum(part**2 for part in parts) ** 0.5 <= line["grad_norm"] * (1 + 1e-5)  # before clipping
    assert steps[0]["temperature"] == pytest.approx(0.07, rel=0.1)
    (evaluated,) = (line for line in trainer.state.log_history if "eval_loss" in line)
    x, y = (embed_split(trainer.model, trainer.val_rows, name).embeddings for name in ("text", "tone"))
    assert evaluated["eval_gap/text-tone/centroid_distance"] == gap_figures(x, y)["centroid distance"]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = next(tmp_path.rglob("events.out.tfevents.*"))
    tags = set(EventAccumulator(str(events.parent)).Reload().Tags()["scalars"])
    assert {"train/gradient/tone", "train/temperature", "eval/gap/text-tone/alignment"} <= tags
    assert "eval/similarity/text-tone/hardest_negative" in tags


def test_gradient_norms_are_those_of_the_step(text_checkpoint, manifest, tmp_path):
    """They share the trainer's own norm as their squares do, whether or not it is clipped."""
    logged = []
    for clip in (0, 0.01):
        training = {"epochs": 1, "batch_size": 8, "log_every": 1, "learning_rate": 1e-9, "max_grad_norm": clip}
        trainer = trainer_for(make_recipe(text_checkpoint, training=training), manifest, tmp_path / str(clip))
        trainer.train()
        logged.append([line for line in trainer.state.log_history if "loss" in line])
    for plain, clipped in zip(*logged, strict=True):
        for name in ("text", "tone"):
            assert clipped[f"gradient/{name}"] == pytest.approx(plain[f"gradient/{name}"], rel=1e-3)


@pytest.mark.parametrize(("distance", "warns"), [(1e-3, True), (1.0, False)])
def test_a_collapsed_tower_warns_once(watch, distance, warns):
    x = F.normalize(
        torch.ones(12, 8) + distance * torch.randn(12, 8, generator=torch.Generator().manual_seed(4)), dim=1
    )
    items = ([str(k) for k in range(12)], [str(k) for k in range(12)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            watch.pair(PAIR, unit(12), x, items)
    said = [str(w.message) for w in caught if issubclass(w.category, TrainingWarning)]
    assert len(said) == warns
    assert not warns or "the tower 'tone' has collapsed: 12 different items have a mean cosine of 1.0000" in said[0]


def test_equal_captions_are_no_collapse(watch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.pair(PAIR, unit(3).repeat_interleave(4, 0), unit(12), (list("aaaabbbbcccc"), list("abcdefghijkl")))


def test_training_that_collapses_or_rails_says_so(text_checkpoint, manifest, tmp_path):
    towers = make_recipe(text_checkpoint).model_dump()["towers"]
    training = {"epochs": 2, "batch_size": 8, "log_every": 1, "learning_rate": 1e-9}
    recipe = make_recipe(text_checkpoint, towers=towers, training=training, temperature={"init": 0.01})
    trainer = trainer_for(recipe, manifest, tmp_path)
    with torch.no_grad():
        trainer.model.tower("tone").encoder.mix.weight.mul_(1e-4)  # every recording looks the same
    with pytest.warns(TrainingWarning) as caught:
        trainer.train()
    said = [str(w.message) for w in caught if issubclass(w.category, TrainingWarning)]
    assert len(said) == 2
    assert any("the tower 'tone' has collapsed" in s for s in said)
    assert any("the temperature stays at its bound, 0.01" in s for s in said)


@pytest.mark.parametrize(("value", "cause"), [(math.log(100), "told apart so easily"), (0.0, "not told apart at all")])
def test_a_railed_temperature_says_the_likely_cause(watch, value, cause):
    with torch.no_grad():
        watch.model.temperature.log_scale.fill_(value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(RAILED - 1):
            assert watch.complete({"loss": 1.0})["temperature"] == pytest.approx(math.exp(-value), rel=1e-5)
    with pytest.warns(TrainingWarning, match=cause):
        watch.complete({"loss": 1.0})
    assert watch.complete({"eval_loss": 1.0}) == {"eval_loss": 1.0}


def test_pairs_without_rows_warn(watch):
    rows = {"a": "text", "b": "tone", "size": 3}
    for batches, message in (
        ([[rows], []], r"no rows in 1 of an epoch's 2 batches"),
        ([[], []], "had rows in no batch"),
    ):
        watch.said.clear()
        for batch in batches:
            watch.saw(batch)
        with pytest.warns(TrainingWarning, match=message):
            watch.on_epoch_end(None, None, None)
    watch.saw([rows])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.said.clear()
        watch.on_epoch_end(None, None, None)


def test_what_is_not_finite_warns_and_stops_nothing(watch):
    with pytest.warns(TrainingWarning, match="embeddings of 'text' are not finite"):
        assert watch.pair(PAIR, torch.full((4, 8), math.nan), unit(4), (list("abcd"), list("abcd"))) == {}


def test_small_differences_that_say_enough_are_no_collapse(watch):
    small = F.normalize(torch.ones(12, 8) + 1e-3 * torch.nn.functional.pad(torch.eye(4).repeat(3, 1), (0, 4)), dim=1)
    items = [list("abcdabcdabcd"), [str(k) for k in range(12)]]
    assert told_apart(small, small, items) == 1.0
    assert told_apart(torch.ones(12, 1), torch.ones(12, 1), items) == 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.pair(PAIR, small, small, items)
