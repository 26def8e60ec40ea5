"""Batches by length: every row once, by seed and epoch, less padding, resumed; and how rows load changes nothing."""

import pytest
import torch

from modalign.align.buckets import BucketSampler, padding_share, row_lengths, sampler_for
from modalign.align.loading import workers_for
from modalign.align.processes import Shares
from modalign.align.sampler import EpochBatchSampler
from tests.align.test_trainer import StopAt, trainer_for, tuned


def lengths(n=97, seed=0):
    return torch.randint(5, 500, (n,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [96, 97, 98])
@pytest.mark.parametrize("buckets", [1, 4, 30])
def test_every_row_once_and_as_many_batches(n, buckets):
    sampler, plain = BucketSampler({"tone": lengths(n)}, buckets, 8, seed=3), EpochBatchSampler(n, 8, seed=3)
    batches = list(sampler)
    assert len(batches) == len(sampler) == len(plain) == len(list(plain))
    seen = sorted(i for batch in batches for _, i in batch)
    assert len(seen) == len(set(seen)) == n - (n % 8 == 1)
    assert sorted(map(len, batches)) == sorted(map(len, plain))
    assert batches == list(sampler)
    sampler.set_epoch(1)
    assert {epoch for batch in sampler for epoch, _ in batch} == {1}
    assert {tuple(sorted(i for _, i in b)) for b in sampler} != {tuple(sorted(i for _, i in b)) for b in batches}


def test_the_row_that_is_left_out_is_any():
    sampler = BucketSampler({"tone": lengths(9)}, 4, 4, seed=0)
    left = set()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        left |= set(range(9)) - {i for batch in sampler for _, i in batch}
    assert len(left) > 5


def test_padding_falls_with_buckets():
    own = lengths(512)
    shares = [padding_share(BucketSampler({"tone": own}, b, 16, 0), own) for b in (1, 4, 32)]
    plain = padding_share(EpochBatchSampler(512, 16, 0), own)
    assert shares[0] == pytest.approx(plain, abs=0.05)
    assert shares[0] > 2 * shares[1] > 2 * shares[2]
    assert shares[2] < 0.05
    assert padding_share(EpochBatchSampler(3, 3, 0), torch.tensor([0, 4, 4])) == 0  # a missing modality pads nothing


def test_two_towers_lengths_count_by_their_share():
    text = torch.tensor([10, 1, 10, 1] * 8)
    tone = torch.tensor([1000, 1000, 10, 10] * 8)
    sampler = BucketSampler({"text": text, "tone": tone}, 2, 8, 0)
    assert sampler.classes[0] == 1
    assert sampler.classes[3] == 0


def test_training_by_buckets_resumes_and_says_what_it_saves(text_checkpoint, manifest, tmp_path):
    recipe = tuned(text_checkpoint, buckets=3, epochs=2)
    whole = trainer_for(recipe, manifest, tmp_path / "whole")
    assert [n for n in whole.notes if n.startswith("tone: ") and "of a batch is padding; without buckets" in n]
    own = row_lengths(whole.train_rows, ["text", "tone"])
    assert own["tone"].tolist() == [whole.train_rows[0, i].inputs["tone"]["values"].shape[-1] for i in range(24)]
    whole.train()
    loader = whole.get_train_dataloader()
    loader.set_epoch(0)
    padded = [1 - b["inputs"]["tone"]["mask"].float().mean() for b in loader]
    whole.sampler.set_epoch(0)
    assert torch.tensor(padded).mean() < padding_share(EpochBatchSampler(24, 8, recipe.seed), own["tone"])
    assert torch.tensor(padded).mean().item() == pytest.approx(padding_share(whole.sampler, own["tone"]), abs=0.01)
    trainer_for(recipe, manifest, tmp_path / "broken", callbacks=[StopAt(4)]).train()
    resumed = trainer_for(recipe, manifest, tmp_path / "broken")
    resumed.train(resume_from_checkpoint=str(resumed.resume()))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_without_ragged_inputs_buckets_change_nothing(text_checkpoint, manifest, tmp_path):
    rows = trainer_for(tuned(text_checkpoint), manifest, tmp_path).train_rows
    sampler, notes = sampler_for(rows, [], 4, 8, 0)
    assert type(sampler) is EpochBatchSampler
    assert "they change nothing" in notes[0]
    assert sampler_for(rows, ["tone"], 0, 8, 0)[1] == []


@pytest.mark.parametrize(
    ("said", "rows", "cached", "cores", "device", "expected"),
    [
        (3, 10, True, 2, "cpu", 3),
        ("auto", 10, False, 16, "cuda", 0),
        ("auto", 10_000, True, 16, "cuda", 0),
        ("auto", 10_000, False, 4, "cuda", 3),
        ("auto", 10_000, False, 64, "cuda", 8),
        ("auto", 10_000, False, 2, "cpu", 0),
        ("auto", 10_000, False, 8, "cpu", 2),
    ],
)
def test_workers_from_the_machine(said, rows, cached, cores, device, expected):
    assert workers_for(said, rows, cached, cores, device) == expected


def test_training_does_not_depend_on_workers(text_checkpoint, manifest, tmp_path):
    weights = []
    for workers in (0, 2):
        trainer = trainer_for(tuned(text_checkpoint, workers=workers, epochs=2), manifest, tmp_path / str(workers))
        trainer.train()
        assert trainer.get_train_dataloader().num_workers == workers
        weights.append(trainer.model.state_dict())
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


def test_workers_share_the_room_for_signals(text_checkpoint, manifest, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from modalign.align import loading

    rows = trainer_for(tuned(text_checkpoint), manifest, tmp_path).train_rows
    before = rows.budget
    for dataset, left in ((rows, before // 4), (Shares(rows, 1, 2), before // 16)):
        monkeypatch.setattr(loading, "get_worker_info", lambda own=dataset: SimpleNamespace(dataset=own, num_workers=4))
        loading.share_memory(0)
        assert rows.budget == left
