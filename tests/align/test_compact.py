"""Large tables: the same rows, in less memory."""

import pandas as pd
import pytest

from modalign.align import compact
from modalign.align.compact import Pool, records_of, shared_cells
from modalign.align.manifest import read_manifest
from modalign.modalities import get_modality
from tests.conftest import read_table


def test_a_pool_gives_back_the_first_of_equal_values():
    pool = Pool()
    first = {"a": "x"}
    assert pool.one(first) is pool.one({"a": "x"}) is first
    assert pool.one({"a": "y"}) is not first
    assert pool.one(("a", "x")) == ("a", "x")  # no mapping, though its items are those of one
    array = [1]
    assert pool.one(array) is array
    inner = pool.one({"rate": 1})
    assert pool.each({"tone": inner}) is pool.each({"tone": inner})
    assert pool.each({"tone": inner}) is not pool.each({"hum": inner})


def test_records_and_cells(monkeypatch):
    monkeypatch.setattr(compact, "CHUNK", 2)
    monkeypatch.setattr(compact, "MANY", 4)
    table = pd.DataFrame({"id": list("abcde"), "group": list("xxxyy"), "age": [1, 2, 3, 4, 5]})
    assert list(records_of(table)) == table.to_dict("records")
    shared = shared_cells(table)
    assert shared["group"].dtype == "category"
    assert list(shared.to_dict("list").items()) == list(table.to_dict("list").items())
    assert shared["id"].dtype != "category"
    assert shared_cells(table.head(3)) is not shared


@pytest.mark.parametrize("many", [10, 10**6])
def test_rows_are_the_same_however_many_there_are(manifest_file, monkeypatch, many):
    monkeypatch.setattr(compact, "MANY", many)
    kinds = {"text": get_modality("text"), "tone": get_modality("tone")}
    table = pd.concat([read_table(manifest_file)] * 2)
    table["id"] = [str(i) for i in range(len(table))]
    table.to_csv(manifest_file, index=False)
    manifest = read_manifest(manifest_file, kinds)
    assert manifest.rows[0].sources is manifest.rows[36].sources
    assert manifest.rows[0].fields is manifest.rows[36].fields
    assert [row.labels for row in manifest.rows] == [(label,) for label in table["label"]]
    assert list(manifest.table["group"]) == list(table["group"])
    kept = manifest.split("train")
    assert [row.id for row in kept.rows] == list(table.loc[table["split"] == "train", "id"])
