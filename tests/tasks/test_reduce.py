"""Redundancy reduction: the greedy rule's exact properties, three distances, and manifests of volumes and of slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from modalign import build_model, load_recipe
from modalign.align.manifest import Manifest, read_manifest
from modalign.errors import ManifestError, ReadError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.ct.kept import keep_slices, parse_slices
from modalign.tasks.reduce import (
    DISTANCES,
    Reduction,
    difference_hash,
    greedy_keep,
    mutual_information,
    open_slices,
    reduce_manifest,
    rows_to_reduce,
)
from tests.cli.test_cli import invoke


def scan(seed: int, slices: int = 24, size: int = 40) -> Tensor:
    """(S, H, W) in HU: blobs that drift, so that neighbours are alike and ends are not."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    centres, drifts = rng.uniform(0.2, 0.8, (5, 2)), rng.normal(0, 0.5, (5, 2))
    made = np.full((slices, size, size), -1000.0)
    for (cx, cy), (dx, dy) in zip(centres, drifts):
        for k, part in enumerate(np.linspace(0, 1, slices)):
            made[k] += 400 * np.exp(-((x - cx - dx * part) ** 2 + (y - cy - dy * part) ** 2) / 0.02)
    return torch.from_numpy(made)


COMPARED = [
    ("hash", 6.0, lambda s: s),
    ("hash", 20.0, lambda s: s),
    ("mutual-information", 0.4, lambda s: s),
    ("embedding", 0.05, lambda s: s.flatten(1) + 1000),
]


@pytest.mark.parametrize(("name", "threshold", "of"), COMPARED)
@pytest.mark.parametrize("seed", range(3))
def test_the_greedy_rule_holds_exactly(name: str, threshold: float, of: Any, seed: int) -> None:
    compared = of(scan(seed))
    distance = DISTANCES[name].of(compared)
    kept = greedy_keep(len(compared), distance, threshold)
    assert kept == greedy_keep(len(compared), DISTANCES[name].of(compared.clone()), threshold), "deterministic"
    assert kept == sorted(kept)
    assert kept[0] == 0
    assert 1 < len(kept) < len(compared)
    for item in range(len(compared)):
        to_kept = distance(item, kept).tolist()
        if item not in kept:
            earlier = [far for k, far in zip(kept, to_kept) if k < item]
            assert min(earlier) <= threshold, "within the threshold of one that stays"
    for a in kept:
        assert all(far > threshold for far in distance(a, [b for b in kept if b != a]).tolist())
    backwards = greedy_keep(len(compared), DISTANCES[name].of(compared.flip(0)), threshold)
    assert [len(compared) - 1 - k for k in backwards] != kept, "the order matters"


@pytest.mark.parametrize("name", DISTANCES)
def test_limits(name: str) -> None:
    slices = scan(0, 8)
    compared = slices.flatten(1) if DISTANCES[name].needs_model else slices
    assert greedy_keep(8, DISTANCES[name].of(compared[:1].repeat(8, *[1] * (compared.ndim - 1))), 1e-9) == [0]
    assert greedy_keep(8, DISTANCES[name].of(compared), -1e-9) == list(range(8)), "a negative threshold keeps all"
    most = {"hash": 64, "embedding": 2, "mutual-information": 1}[name]
    assert greedy_keep(8, DISTANCES[name].of(compared), most) == [0]
    itself = DISTANCES[name].of(compared)(3, [3, 4]).tolist()
    assert itself[0] == pytest.approx(0, abs=1e-9)
    assert itself[1] == pytest.approx(DISTANCES[name].of(compared)(4, [3]).item()), "symmetric"
    assert greedy_keep(0, DISTANCES[name].of(compared), 1) == []


def test_hash() -> None:
    ramp = torch.arange(90.0).expand(1, 70, 90)
    assert difference_hash(ramp).shape == (1, 64)
    assert difference_hash(ramp).all()
    assert not difference_hash(-ramp).any()
    assert not difference_hash(torch.full((1, 33, 47), -1000.1)).any(), "nothing is darker in a flat slice"
    slices = scan(1)
    assert torch.equal(difference_hash(slices), difference_hash(slices * 3 - 500)), "grey is each slice's own"
    one, two = torch.zeros(1, 8, 9), torch.zeros(1, 8, 9)
    one[0, 2, 3] = two[0, 5, 6] = 1
    apart = DISTANCES["hash"].of(torch.cat([one, two]))(0, [1])
    assert apart.tolist() == [2], "one bit of each: the cell to its left"


def test_mutual_information() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 4, (20_000,), generator=rng) for _ in range(2))
    assert mutual_information(a, a, 4) == pytest.approx(1)
    assert mutual_information(a, 3 - a, 4) == pytest.approx(1), "whatever values are called"
    assert mutual_information(a, b, 4) == pytest.approx(0, abs=1e-3)
    half = torch.where(torch.arange(20_000) < 10_000, a, b)
    assert 0.1 < mutual_information(a, half, 4) < 0.6
    zeros = torch.zeros(9, dtype=torch.long)
    assert (mutual_information(zeros, zeros, 4), mutual_information(zeros, zeros + 1, 4)) == (1, 0)
    # By hand: H = ln 2 each, joint (1/4, 1/4, 0, 1/2) of a = (0, 0, 1, 1), b = (0, 1, 1, 1).
    a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    h1, h2, h12 = np.log(2), -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)), 1.5 * np.log(2)
    assert mutual_information(a, b, 2) == pytest.approx(2 * (h1 + h2 - h12) / (h1 + h2))


def test_slices_of_a_manifest() -> None:
    assert parse_slices("0-2, 7") == (0, 1, 2, 7)
    assert parse_slices([3, 5]) == (3, 5)
    for wrong in ("", "2, 1", "1, 1", "a", "3-1", "-1"):
        with pytest.raises(ValueError, match="slice"):
            parse_slices(wrong)
    ct = get_modality("ct")
    array = np.random.default_rng(0).normal(0, 300, (6, 7, 9))
    said = {"unit": "HU", "axes": "RAS", "spacing": "1, 1, 2"}
    whole, even, odd = (ct.load(array, **said, **more) for more in ({}, {"slices": "1, 4, 7"}, {"slices": "0, 1, 8"}))
    assert torch.equal(even.data, whole.data[..., [1, 4, 7]])
    assert even.meta["spacing"] == (1, 1, 6)
    assert np.array(even.meta["affine"])[2, 3] == np.array(whole.meta["affine"])[2, 3] + 2
    assert odd.meta["spacing"] is None
    assert torch.equal(odd.data, whole.data[..., [0, 1, 8]])
    assert keep_slices(whole, [4], "here").meta["spacing"] == (1, 1, 2)
    with pytest.raises(ReadError, match="has 9, 0 to 8"):
        ct.load(array, **said, slices="9")
    processing = ct.build_processing(mode="slices", spacing=2)
    with pytest.raises(ReadError, match="not evenly spaced"):
        processing(odd)
    assert processing(even)["values"].shape[0] == 9, "resampled from 6 mm to 2"


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    rows = []
    for n, split in enumerate(["train", "train", "train", "test"]):
        data = scan(n).permute(2, 1, 0).flip(0, 1).numpy()
        np.save(tmp_path / f"v{n}.npy", data)
        rows.append({"id": f"v{n}", "split": split, "group": f"p{n}", "text": f"scan {n}", "ct": f"v{n}.npy"})
    pd.DataFrame(rows).to_csv(tmp_path / "scans.csv", index=False)
    meta = "about: drifting blobs\ndefaults: {ct.unit: HU, ct.axes: RAS, ct.spacing: '1, 1, 2'}\n"
    (tmp_path / "scans.meta.yaml").write_text(meta)
    return tmp_path / "scans.csv"


def towers() -> dict[str, Any]:
    return {name: get_modality(name) for name in ("ct", "xray", "text")}


def test_volumes_keep_their_rows_and_name_their_slices(volumes: Path, tmp_path: Path) -> None:
    manifest, ticks = open_slices(volumes, "ct"), []
    found = reduce_manifest(manifest, tmp_path / "out" / "few.csv", "ct", advance=ticks.append)
    assert isinstance(found, Reduction)
    assert sum(ticks) == len(rows_to_reduce(manifest, "ct")[1]) == 3
    reduced = read_manifest(found.path, towers())
    assert [row.id for row in reduced.rows] == ["v0", "v1", "v2", "v3"]
    ct = get_modality("ct")
    for n, row in enumerate(reduced.rows):
        signal = ct.load(row.sources["ct"], **row.fields["ct"])
        if n == 3:
            assert signal.data.shape[3] == 24, "the test split stays"
            continue
        kept = greedy_keep(24, DISTANCES["hash"].of(scan(n)), 6)
        assert torch.allclose(ct.slices(signal).double(), scan(n)[kept], atol=1e-3)
        assert found.volumes.iloc[n].tolist() == [f"v{n}", 24, len(kept)]
    assert found.share == pytest.approx(found.volumes["kept"].sum() / 72)
    again = reduce_manifest(reduced, tmp_path / "out" / "again.csv", "ct")
    assert again.share == 1, "what is reduced stays"
    twice = reduce_manifest(reduced, tmp_path / "out" / "fewer.csv", "ct", threshold=20)
    for row in read_manifest(twice.path, towers()).rows[:3]:
        signal = ct.load(row.sources["ct"], **row.fields["ct"])
        assert float((ct.slices(signal)[0].double() - scan(int(row.id[1]))[0]).abs().max()) < 1e-3


def test_rows_that_are_slices_go(tmp_path: Path) -> None:
    rows = []
    for n in range(2):
        for k, one in enumerate(scan(n, 10)):
            np.save(tmp_path / f"{n}-{k}.npy", ((one - one.min()) / (one.max() - one.min())).numpy())
            rows.append({"id": f"{n}-{k}", "cluster": f"scan-{n}", "xray": f"{n}-{k}.npy", "label": "blob"})
    order = np.random.default_rng(0).permutation(len(rows))
    pd.DataFrame([rows[i] for i in order]).assign(**{"xray.range": "0,1"}).to_csv(tmp_path / "m.csv", index=False)
    found = reduce_manifest(open_slices(tmp_path / "m.csv", "xray"), tmp_path / "few.csv", "xray")
    left = [row.id for row in read_manifest(found.path, towers()).rows]
    for n in range(2):
        members = [rows[i]["id"] for i in order if rows[i]["cluster"] == f"scan-{n}"]
        places = [int(name.split("-")[1]) for name in members]
        kept = greedy_keep(10, DISTANCES["hash"].of(scan(n, 10)[places]), 6)
        assert [name for name in left if name.startswith(f"{n}-")] == [members[k] for k in kept]
    assert len(left) == found.volumes["kept"].sum() < 20
    table = pd.read_csv(tmp_path / "m.csv").drop(columns="cluster")
    table.to_csv(tmp_path / "bare.csv", index=False)
    with pytest.raises(ManifestError, match="nothing says of which volume"):
        reduce_manifest(open_slices(tmp_path / "bare.csv", "xray"), tmp_path / "x.csv", "xray")


def test_by_a_models_features(volumes: Path, tmp_path: Path, text_checkpoint: Path) -> None:
    said = [f"towers.text.options={{checkpoint: {text_checkpoint}}}", "towers.ct.encoder=slices", "towers.ct.options={}"]
    model = build_model(load_recipe("ct", [*said, "towers.ct.processing={shape: [32, 32]}"]))
    found = reduce_manifest(
        open_slices(volumes, "ct"), tmp_path / "few.csv", "ct", distance="embedding", threshold=1e-4, model=model
    )
    assert (found.volumes["kept"] >= 1).all()
    assert (found.volumes["kept"] <= 24).all()
    all_of_one = reduce_manifest(
        open_slices(volumes, "ct"), tmp_path / "one.csv", "ct", distance="embedding", threshold=2, model=model
    )
    assert (all_of_one.volumes["kept"] == 1).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"distance": "hsh"}, "did you mean 'hash'"),
        ({"distance": "mutual-information"}, "none is published"),
        ({"distance": "embedding", "threshold": 0.1}, "--model is missing"),
    ],
)
def test_refuses(options: dict[str, Any], says: str, volumes: Path, tmp_path: Path) -> None:
    manifest: Manifest = open_slices(volumes, "ct")
    with pytest.raises(RecipeError, match=says):
        reduce_manifest(manifest, tmp_path / "x.csv", "ct", **options)


def test_command(volumes: Path, tmp_path: Path) -> None:
    arguments = ["data", "reduce", volumes, "--out", tmp_path / "few.csv"]
    code, output = invoke(*arguments, "--modality", "ct", "--split", "all")
    assert code == 0, output
    assert "v3: " in output
    assert "slices of 4 volumes kept" in output
    code, output = invoke(*arguments, "--modality", "audio")
    assert (code, "those that have: ct, xray" in output) == (2, True), output
    code, output = invoke(*arguments, "--modality", "xray")
    assert (code, "has a xray" in output) == (2, True), output
