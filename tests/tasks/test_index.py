"""Indexes on disk: exact and approximate search, incremental builds, and files that are not what was written."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from modalign import AlignmentModel, ModelError, RecipeError, build_model
from modalign.tasks.index import KINDS, Index, build_index, store
from modalign.tasks.index.kinds import kind_for
from tests.conftest import make_recipe

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def model(text_checkpoint):
    return build_model(make_recipe(text_checkpoint)).eval()


@pytest.fixture
def built(model, manifest, tmp_path):
    build_index(model, manifest, "tone", tmp_path / "index", name="tiny")
    return tmp_path / "index"


def test_search_finds_the_nearest_with_its_columns(model, manifest, built):
    index = Index.load(built, model)
    assert len(index) == 36
    row = manifest.rows[5]
    query = model.embed("tone", [row.sources["tone"]])
    found = index.search(query, 3)[0]
    assert found["score"].is_monotonic_decreasing
    assert found.loc[0, "score"] == pytest.approx(1, abs=1e-5)
    assert row.id in set(found.loc[found["score"] > 1 - 1e-5, "id"])
    only = index.search(query, 50, {"label": row.labels[0]})[0]
    assert set(only["label"]) == {row.labels[0]}
    assert len(only) == 12
    with pytest.raises(RecipeError, match="no column 'lable'"):
        index.search(query, 1, {"lable": "x"})


def test_only_what_is_new_is_encoded(model, manifest, built):
    again = build_index(model, manifest, "tone", built)
    assert (again.items, again.encoded, again.kept) == (36, 0, 36)
    fewer = build_index(model, manifest.take(range(30)), "tone", built)
    assert (fewer.items, fewer.encoded, fewer.dropped) == (30, 0, 6)
    assert len(Index.load(built)) == 30
    source = manifest.rows[3].sources["tone"]
    np.savetxt(source, np.loadtxt(source) * 0.5)
    changed = build_index(model, manifest, "tone", built)
    assert changed.encoded == 7  # the six that were dropped, and the one that changed
    expected = model.embed("tone", [source])
    assert Index.load(built).search(expected, 1)[0].loc[0, "score"] == pytest.approx(1, abs=1e-5)
    assert len(list(built.glob("vectors-*"))) == 1, "what index.json no longer names is let go of"


def test_a_build_that_was_stopped_goes_on(model, manifest, tmp_path, monkeypatch):
    folder = tmp_path / "index"
    monkeypatch.setattr("modalign.tasks.index.build.BATCH", 10)

    done = []

    def stop(rows):
        done.append(rows)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(model, manifest, "tone", folder, advance=stop)
    assert not (folder / "index.json").exists()
    rest = build_index(model, manifest, "tone", folder)
    assert rest.encoded == 36 - 20
    assert not (folder / "pending").exists()
    whole = build_index(model, manifest, "tone", tmp_path / "whole")
    assert whole.items == rest.items
    a, b = (np.load(next(f.glob("embeddings-*"))) for f in (folder, tmp_path / "whole"))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_files_are_checked_before_they_are_parsed(model, built, monkeypatch):
    vectors = next(built.glob("vectors-*"))
    content = bytearray(vectors.read_bytes())
    content[len(content) // 2] ^= 1
    vectors.write_bytes(content)
    monkeypatch.setattr(store, "faiss", lambda: pytest.fail("parsed before its hash was checked"))
    with pytest.raises(ModelError, match="not what was written"):
        Index.load(built, model)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"version": 99, "files": {}}), json.dumps({"files": {}})])
def test_a_damaged_index_is_refused(model, built, content):
    (built / "index.json").write_text(content)
    with pytest.raises(ModelError, match="build the index again"):
        Index.load(built)


def test_missing_files_and_other_folders(built, tmp_path):
    next(built.glob("items-*")).unlink()
    with pytest.raises(ModelError, match="items is missing"):
        Index.load(built)
    with pytest.raises(ModelError, match="no index is here"):
        Index.load(tmp_path)


def test_another_model_s_index_is_refused(text_checkpoint, manifest, built, model, tmp_path):
    other = build_model(make_recipe(text_checkpoint, seed=9)).eval()
    with pytest.raises(ModelError, match=r"of another model \(tiny\)"):
        Index.load(built, other)
    with pytest.raises(ModelError, match="another model or tower"):
        build_index(other, manifest, "tone", built)
    model.save_pretrained(tmp_path / "copy")
    Index.load(built, AlignmentModel.from_pretrained(tmp_path / "copy"))


@pytest.mark.parametrize("kind", KINDS)
def test_approximate_kinds_find_what_the_exact_one_does(kind, tmp_path):
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(50, 32, generator=generator), dim=1)
    data = F.normalize(centres[torch.arange(4000) % 50] + 0.25 * torch.randn(4000, 32, generator=generator), dim=1)
    queries = F.normalize(data[:100] + 0.05 * torch.randn(100, 32, generator=generator), dim=1)
    items = pd.DataFrame({"id": [str(i) for i in range(4000)], "content": ""})
    about = {"model": "", "model_name": "", "tower": "x", "kind": kind, "dim": 32}
    store.write_index(tmp_path, about, KINDS[kind](data.numpy()), data.numpy(), items)
    found = Index.load(tmp_path).search(queries, 10)
    exact = (queries @ data.T).topk(10).indices
    recall = np.mean([len({int(i) for i in f["id"]} & set(e.tolist())) / 10 for f, e in zip(found, exact)])
    assert recall >= (1.0 if kind == "flat" else 0.9)


def test_kinds(model, manifest, tmp_path):
    assert kind_for(10) == "flat"
    with pytest.raises(RecipeError, match="flatt"):
        build_index(model, manifest, "tone", tmp_path / "x", kind="flatt")
    with pytest.raises(RecipeError, match="1,000 items or more"):
        build_index(model, manifest, "tone", tmp_path / "x", kind="ivfpq")
