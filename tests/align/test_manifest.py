"""Manifests: what is read, and what is refused with the file, the row, the column and the mend."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from modalign import ManifestError, get_modality, read_manifest
from modalign.align.manifest import parse_table, read_descriptions
from tests.conftest import read_table

TOWERS = {"text": get_modality("text"), "tone": get_modality("tone")}


def spoil(path, change):
    table = read_table(path)
    changed = change(table)
    (table if changed is None else changed).to_csv(path, index=False)
    return path


def test_reads_rows_as_they_stand(manifest):
    assert len(manifest.rows) == 36
    assert {s: len(manifest.split(s).rows) for s in ("train", "val", "test", "all")} == {
        "train": 24,
        "val": 6,
        "test": 6,
        "all": 36,
    }
    row = manifest.rows[0]
    assert (row.id, row.group, row.labels, row.split) == ("low-0", "p0", ("low",), "train")
    assert "text" not in row.sources  # an empty cell is a missing modality
    assert manifest.rows[3].sources["text"] == ("a low tone is heard",)
    assert manifest.labels == ["high", "low", "middle"]


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet"])
def test_formats_agree(manifest_file, suffix):
    table = read_table(manifest_file)
    other = manifest_file.with_suffix(f".{suffix}")
    if suffix == "tsv":
        table.to_csv(other, sep="\t", index=False)
    elif suffix == "jsonl":
        other.write_text("\n".join(json.dumps(r) for r in table.to_dict("records")))
    else:
        table.to_parquet(other)
    assert read_manifest(other, TOWERS).rows == read_manifest(manifest_file, TOWERS).rows


def test_several_captions_and_numbers_in_json_lines(manifest_file):
    path = manifest_file.with_name("more.jsonl")
    rows = [
        {"id": 7, "text": ["one", "two"], "tone": "low-0.txt", "tone.rate": 50, "labels": ["low", "loud"]},
        {"id": "8", "text": None, "tone": "low-1.txt", "labels": "low; loud ;low"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    read = read_manifest(path, TOWERS).rows
    assert read[0].sources["text"] == ("one", "two")
    assert read[0].fields["tone"] == {"rate": 50.0}
    assert read[0].id == "7"
    assert read[0].labels == read[1].labels == ("low", "loud")


def test_sidecar(manifest_file):
    sidecar = manifest_file.with_name("manifest.meta.yaml")
    sidecar.write_text(yaml.safe_dump({"defaults": {"tone.rate": 25}, "descriptions": {"low": ["deep"]}}))
    read = read_manifest(manifest_file, TOWERS, {"high": ["shrill"]})
    assert read.rows[0].fields["tone"] == {"rate": 25.0}
    assert read.descriptions == {"low": ["deep"], "high": ["shrill"]}


def test_arrays_in_memory():
    table = pd.DataFrame({"id": ["a", "b"], "tone": [np.zeros(8), np.ones(8)], "text": ["x", "y"]})
    assert len(parse_table(table, TOWERS).rows) == 2


BAD = {
    "no such file": (None, "no such file"),
    "no id column": (lambda t: t.rename(columns={"id": "ids"}), "has no column 'id'.*did you mean 'ids'"),
    "an empty id": (lambda t: t.__setitem__("id", ["", *t.id[1:]]), "row 2: id is empty"),
    "a doubled id": (lambda t: t.__setitem__("id", [t.id[1], *t.id[1:]]), "row 3: id 'middle-0' stands in row 2 too"),
    "an unknown split": (lambda t: t.__setitem__("split", "dev"), "row 2: split 'dev' is not one of train, val, test"),
    "a missing file": (lambda t: t.__setitem__("tone", "gone.txt"), "row 2: tone: no such file: .*gone.txt"),
    "a path that leaves": (lambda t: t.__setitem__("tone", "../x.txt"), "row 2: .*leaves the manifest's folder"),
    "an absolute path": (lambda t: t.__setitem__("tone", "/etc/hostname"), "leaves the manifest's folder"),
    "an unknown field": (lambda t: t.__setitem__("tone.rat", "5"), "column 'tone.rat'.*did you mean 'rate'"),
    "a wrong value": (lambda t: t.__setitem__("tone.rate", "fast"), r"row 2: tone.rate: .*number.*'fast'"),
    "no modality": (lambda t: t.drop(columns=["tone", "text"]), "has no column for any of text, tone"),
    "a group across splits": (
        lambda t: t.__setitem__("group", "one"),
        "group 'one' is in both train and val.*official_split",
    ),
    "an empty row": (lambda t: t.assign(tone="", text="", label=""), "row 2: every one of text, tone is empty"),
    "no rows": (lambda t: t.head(0), "has no rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(manifest_file, case):
    change, message = BAD[case]
    path = manifest_file.with_name("absent.csv") if change is None else spoil(manifest_file, change)
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path, TOWERS)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ("rot: x", "rot is not a key.*known keys: root"),
        ("root: nowhere", "root 'nowhere' is not a folder"),
        ("- a\n- b", "not a YAML mapping"),
        ("a: [", "not a YAML mapping"),
        ("defaults: {rate: 5}", "'rate' is not <tower>.<key>"),
        ("defaults: {tone.rte: 5}", "rte is not a field of tone"),
    ],
)
def test_bad_sidecars(manifest_file, sidecar, message):
    manifest_file.with_name("manifest.meta.yaml").write_text(sidecar)
    with pytest.raises(ManifestError, match=message):
        read_manifest(manifest_file, TOWERS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"\xff\xfe\x00", "cannot be read as .csv"),
        ("x.parquet", b"not parquet", "cannot be read as .parquet"),
        ("x.jsonl", b'{"id": 1}\n{', "cannot be read as .jsonl"),
        ("x.xlsx", b"x", "is .csv, .tsv, .jsonl or .parquet, not .xlsx"),
        ("x.csv", b"", "cannot be read as .csv"),
        ("x.csv", b"id,tone,tone\n1,a,b\n", "the column 'tone' stands twice"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / name, TOWERS)


def test_an_official_split_may_share_groups(manifest_file):
    spoil(manifest_file, lambda t: t.__setitem__("group", "one"))
    manifest_file.with_name("manifest.meta.yaml").write_text("official_split: true")
    assert read_manifest(manifest_file, TOWERS).official_split


def test_a_split_without_rows_names_those_there_are(manifest_file):
    spoil(manifest_file, lambda t: t.__setitem__("split", "train"))
    with pytest.raises(ManifestError, match="no row has split 'test'; the splits here are: train"):
        read_manifest(manifest_file, TOWERS).split("test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "must map each label"),
        ("a: b", "'a' must have a list"),
        ("a: []", "at least one"),
        ("a: ['']", "none empty"),
    ],
)
def test_bad_descriptions(tmp_path, text, message):
    (tmp_path / "d.yaml").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_descriptions(tmp_path / "d.yaml")


def test_a_cluster_across_splits_is_refused(manifest_file):
    path = spoil(manifest_file, lambda t: t.assign(group="", cluster="one"))
    with pytest.raises(ManifestError, match="cluster 'one' is in both train and val"):
        read_manifest(path, TOWERS)


def test_rows_of_files_without_a_header_count_from_one(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"id": "a", "text": "x", "split": "dev"}\n')
    with pytest.raises(ManifestError, match="row 1: split 'dev'"):
        read_manifest(tmp_path / "m.jsonl", TOWERS)


@pytest.mark.parametrize("empty", [None, [], float("nan"), pd.NA])
def test_empty_cells_of_any_kind_are_missing(tmp_path, empty):
    table = pd.DataFrame({"id": ["a", "b"], "label": ["low", "high"], "text": [["x", "y"], empty]})
    assert "text" not in parse_table(table, TOWERS).rows[1].sources
    if empty is not pd.NA and not isinstance(empty, float):
        table.to_parquet(tmp_path / "m.parquet")
        assert "text" not in read_manifest(tmp_path / "m.parquet", TOWERS).rows[1].sources


def test_an_empty_caption_among_several_is_refused():
    table = pd.DataFrame({"id": ["a"], "text": [["x", None]]})
    with pytest.raises(ManifestError, match="a text or a list of texts"):
        parse_table(table, TOWERS)


def test_only_some_labels(manifest_file):
    manifest = read_manifest(manifest_file, {"text": get_modality("text"), "tone": get_modality("tone")})
    some = manifest.only(["low", "high"])
    assert some.vocabulary == some.labels == ["high", "low"]
    assert len(some.rows) == 24
    with pytest.raises(ManifestError, match="no row has the label 'lo'"):
        manifest.only(["lo"])
