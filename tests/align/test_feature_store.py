"""Embeddings kept on the disk: found again, by content; never half-written; the same whoever stood beside them."""

import multiprocessing
import os
import pickle
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from modalign import build_model
from modalign.align import encode as encoding
from modalign.align.data import AlignmentDataset
from modalign.align.embed import embed_split
from modalign.align.encode import encode_frozen
from modalign.align.feature_store import FeatureStore, MappedTable, hashed, ids_of, signature
from modalign.align.model import Tower
from modalign.align.signal_cache import SignalCache
from tests.align.test_trainer import trainer_for
from tests.conftest import make_recipe


@pytest.fixture
def encoded(monkeypatch):
    """How many windows were encoded since."""
    counts = []
    own = Tower.encode

    def encode(self, inputs):
        counts.append(len(next(iter(inputs.values()))))
        return own(self, inputs)

    monkeypatch.setattr(Tower, "encode", encode)
    return counts


def frozen_recipe(text_checkpoint, **tone):
    towers = make_recipe(text_checkpoint).model_dump()["towers"]
    towers["tone"] |= {"tune": "frozen", **tone}
    return make_recipe(text_checkpoint, towers=towers)


def rows_of(model, manifest, folder):
    towers = {name: model.tower(name) for name in model.towers}
    return AlignmentDataset(manifest, towers, cache=None if folder is None else SignalCache(folder))


def table_of(model, manifest, folder, tower="tone"):
    (table,), notes = encode_frozen(model, [rows_of(model, manifest, folder)], tower)
    return table, notes


def all_of(table, model, manifest, tower="tone"):
    rows = rows_of(model, manifest, None)
    return table.take([key for i in range(len(rows)) for key in rows.keys_of(i, tower)])


@pytest.mark.parametrize("tower", ["text", "tone"])
def test_what_was_encoded_is_found_again_and_is_what_memory_would_hold(
    text_checkpoint, manifest, tmp_path, encoded, tower
):
    model = build_model(frozen_recipe(text_checkpoint)).eval()
    memory, notes = table_of(model, manifest, None, tower)
    assert notes == []
    del encoded[:]
    first, made = table_of(model, manifest, tmp_path, tower)
    n = sum(encoded)
    assert n == len(first) == len(memory)
    again, found = table_of(build_model(frozen_recipe(text_checkpoint)), manifest, tmp_path, tower)
    assert sum(encoded) == n
    values = [all_of(t, model, manifest, tower) for t in (memory, first, again)]
    torch.testing.assert_close(values[0], values[1], atol=1e-6, rtol=0)
    assert torch.equal(values[1], values[2])
    assert made == [f"0 embeddings from the cache, {n} made and kept in {tmp_path / 'features'}"]
    assert found[0].startswith(f"{n} embeddings from the cache, 0 made")
    assert not list(tmp_path.rglob("*.tmp"))
    assert {p.suffix for p in (tmp_path / "features").rglob("*") if p.is_file()} == {".safetensors"}


def test_the_same_items_give_the_same_bits_in_any_order_and_nearly_so_in_parts(text_checkpoint, manifest, tmp_path):
    model = build_model(frozen_recipe(text_checkpoint)).eval()
    for tower in ("text", "tone"):
        whole = all_of(table_of(model, manifest, tmp_path / "a", tower)[0], model, manifest, tower)
        backwards = manifest.take(range(len(manifest.rows))[::-1])
        other = table_of(model, backwards, tmp_path / "b", tower)[0]
        assert torch.equal(all_of(other, model, manifest, tower), whole)
        for part in ([0, 7, 11], range(20)):
            table_of(model, manifest.take(part), tmp_path / "c", tower)
        parts = all_of(table_of(model, manifest, tmp_path / "c", tower)[0], model, manifest, tower)
        assert (parts - whole).abs().max() <= 1e-6


def change_weights(model, manifest):
    with torch.no_grad():
        model.tower("tone").encoder.mix.bias[0] += 1e-4


def change_processing(model, manifest):
    tower = model.tower("tone")
    tower.processing = tower.processing.model_copy(update={"scale": 2.0})


def change_files(model, manifest):
    for row in manifest.rows:
        path = Path(row.sources["tone"])
        path.write_text(path.read_text().replace("1", "2"))
        os.utime(path, ns=(1, 1))


def change_what_is_said(model, manifest):
    manifest.rows[:] = [replace(row, fields={**row.fields, "tone": {"rate": 50.0}}) for row in manifest.rows]


@pytest.mark.parametrize("change", [change_weights, change_processing, change_files, change_what_is_said])
def test_nothing_is_found_when_a_part_of_the_key_changes(text_checkpoint, manifest, tmp_path, encoded, change):
    model = build_model(frozen_recipe(text_checkpoint)).eval()
    table_of(model, manifest, tmp_path)
    n = sum(encoded)
    change(model, manifest)
    table, _ = table_of(model, manifest, tmp_path)
    assert sum(encoded) == 2 * n
    fresh = all_of(table_of(model, manifest, None)[0], model, manifest)
    torch.testing.assert_close(all_of(table, model, manifest), fresh, atol=1e-6, rtol=0)


def test_other_options_are_another_encoder(text_checkpoint):
    plain, dropping = (build_model(frozen_recipe(text_checkpoint, options=o)) for o in ({}, {"dropout": 0.1}))
    assert signature(plain.tower("tone")) != signature(dropping.tower("tone"))
    text = plain.tower("text")
    before = signature(text)
    text.processing(text.modality.load("a low tone " * 30))  # the tokenizer remembers that it cut
    assert signature(text) == before
    assert signature(plain.tower("tone")) != before


def test_a_file_that_was_moved_is_read_but_not_encoded(text_checkpoint, manifest, tmp_path, encoded):
    model = build_model(frozen_recipe(text_checkpoint)).eval()
    first, _ = table_of(model, manifest, tmp_path / "cache")
    before, n = all_of(first, model, manifest), sum(encoded)
    for row in manifest.rows:
        old = Path(row.sources["tone"])
        row.sources["tone"] = shutil.copy(old, tmp_path / f"moved-{old.name}")
        old.unlink()
    table, _ = table_of(model, manifest, tmp_path / "cache")
    assert sum(encoded) == n
    assert torch.equal(all_of(table, model, manifest), before)


def test_a_run_that_is_broken_off_keeps_its_whole_shards(text_checkpoint, manifest, tmp_path, monkeypatch, encoded):
    model = build_model(frozen_recipe(text_checkpoint)).eval()
    monkeypatch.setattr(encoding, "BLOCK", 10)
    own, left = Tower.encode, [2]

    def breaks(self, inputs):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return own(self, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(Tower, "encode", breaks)
        with pytest.raises(KeyboardInterrupt):
            table_of(model, manifest, tmp_path)
    assert sum(encoded) == 20
    (folder,) = (tmp_path / "features").iterdir()
    (folder / ".torn-1.tmp").write_bytes(b"half")
    table, notes = table_of(model, manifest, tmp_path)
    assert sum(encoded) == len(table) == 36
    assert notes[0].startswith("20 embeddings from the cache, 16 made")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_shard_is_made_again(text_checkpoint, manifest, tmp_path, encoded, damage):
    model = build_model(frozen_recipe(text_checkpoint)).eval()
    before = all_of(table_of(model, manifest, tmp_path)[0], model, manifest)
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes({"flip": content, "cut": content[:-50], "empty": b""}[damage])
    table, _ = table_of(model, manifest, tmp_path)
    assert sum(encoded) == 72
    assert torch.equal(all_of(table, model, manifest), before)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


def _encode_at_once(barrier, recipe, manifest, folder, out):
    encoding.BLOCK = 5
    model = build_model(recipe).eval()
    barrier.wait(120)
    table, _ = table_of(model, manifest, folder)
    torch.save(all_of(table, model, manifest), out)


def test_two_processes_may_write_at_once(text_checkpoint, manifest, tmp_path):
    recipe = frozen_recipe(text_checkpoint)
    context = multiprocessing.get_context("spawn")  # a fork of a process that has run threads may never end
    barrier = context.Barrier(2)
    outs = [tmp_path / f"{k}.pt" for k in range(2)]
    running = [
        context.Process(target=_encode_at_once, args=(barrier, recipe, manifest, tmp_path / "cache", out), daemon=True)
        for out in outs
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(240)
        assert process.exitcode == 0
    model = build_model(recipe).eval()
    a, b = (torch.load(out, weights_only=True) for out in outs)
    assert (a - b).abs().max() <= 1e-6
    table, notes = table_of(model, manifest, tmp_path / "cache")
    assert notes[0].startswith("36 embeddings from the cache, 0 made")
    assert (all_of(table, model, manifest) - a).abs().max() <= 1e-6


def test_a_disk_that_refuses_stops_no_run(text_checkpoint, manifest, tmp_path):
    (tmp_path / "features").write_text("a file where the folder should be")
    model = build_model(frozen_recipe(text_checkpoint)).eval()
    table, notes = table_of(model, manifest, tmp_path)
    assert notes[0].endswith("1 files could not be written there")
    torch.testing.assert_close(
        all_of(table, model, manifest), all_of(table_of(model, manifest, None)[0], model, manifest), atol=1e-6, rtol=0
    )


def test_features_stay_on_the_disk_and_out_of_pickles(tmp_path):
    n, width = 40_000, 128
    store = FeatureStore(tmp_path, width)
    for start in range(0, n, n // 4):
        keys = [hashed((f"text {k}",)) for k in range(start, start + n // 4)]
        raw = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).reshape(-1, 16)
        features = torch.arange(start, start + n // 4).float().unsqueeze(1).expand(-1, width).contiguous()
        arrays = {"features": features, "ids": raw, "contents": raw.clone(), "samples": raw.clone()}
        store.write({**arrays, "cut": torch.zeros(n // 4, dtype=torch.uint8)}, 1.0)
    ids = ids_of([hashed((f"text {k}",)) for k in range(n)])
    tracemalloc.start()
    store = FeatureStore(tmp_path, width)
    table = MappedTable(store, ids, store.find(ids))
    taken = table.take([("text 39999",), ("text 5",)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken[:, 0].tolist() == [39999, 5]
    assert peak < n * width * 4 / 2  # not even half of the features
    assert store.seconds(store.find(ids)) == pytest.approx(4.0)
    sent = pickle.dumps(table)
    assert len(sent) < 100 * n
    assert torch.equal(pickle.loads(sent).take([("text 7",)]), table.take([("text 7",)]))
    assert sum(len(c) for c in table.chunks(999)) == n
    with pytest.raises(KeyError, match="text -1"):
        table.take([("text -1",)])
    with pytest.raises(TypeError, match="takes no features"):
        table.add([("a",)], torch.zeros(1, width))
    assert np.array_equal(store.find(ids_of([hashed("none")])), [-1])


def test_training_uses_it_and_says_what_it_saved(text_checkpoint, manifest, tmp_path, encoded):
    recipe = frozen_recipe(text_checkpoint)
    plain = trainer_for(recipe, manifest, tmp_path / "plain")
    first = trainer_for(recipe, manifest, tmp_path / "first", cache=SignalCache(tmp_path / "cache"))
    done = len(encoded)
    second = trainer_for(recipe, manifest, tmp_path / "second", cache=SignalCache(tmp_path / "cache"))
    embedded = embed_split(second.model, second.val_rows, "tone")  # as evaluators do
    assert len(encoded) == done
    assert any(n.startswith("tone: 30 embeddings from the cache, 0 made") for n in second.notes)
    assert embedded.contents == embed_split(plain.model, plain.val_rows, "tone").contents
    for trainer in (plain, first, second):
        trainer.train()
    for name, tensor in plain.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], tensor, atol=1e-4, rtol=1e-3, msg=name)
        assert torch.equal(first.model.state_dict()[name], second.model.state_dict()[name]), name


def test_cut_texts_are_told_from_the_cache_too(text_checkpoint, manifest, tmp_path):
    for row in manifest.rows[:3]:
        row.sources["text"] = ("a low tone " * 20 + row.id,)
    notes = []
    for k in range(2):
        cache = SignalCache(tmp_path / "cache")
        notes.append(trainer_for(make_recipe(text_checkpoint), manifest, tmp_path / str(k), cache=cache).notes)
    assert any("texts cut at 24 tokens" in n for n in notes[0])
    assert any("3 of" in n and "longer than the encoder takes" in n for n in notes[1])
