"""The graph of the body, the encoder over it, where devices are placed on it, and the augmentations by joint."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from modalign.datasets import motionsense, pamap2, uci_har, wisdm
from modalign.errors import ModelError, ReadError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.base import Signal
from modalign.modalities.motion.augment import FullRotation, KeepLocations
from modalign.modalities.motion.fields import STANDARD
from modalign.modalities.motion.placement import BODY, PUBLIC, joints_of, place_on_joints
from modalign.modalities.motion.skeleton.joints import JOINTS, PARENTS
from modalign.modalities.motion.stgcn import STGCN, adjacency, joint_channels

motion = get_modality("motion")
SMALL: dict[str, Any] = {"widths": [8, 16], "strides": [1, 2]}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(**options: Any) -> STGCN:
    torch.manual_seed(0)
    return STGCN(**{**SMALL, **options}).eval()


def batch(length: int = 40, size: int = 3, rows: int = 66) -> dict[str, torch.Tensor]:
    return {
        "values": torch.randn(size, rows, length, generator=generator()),
        "mask": torch.ones(size, length, dtype=torch.bool),
    }


def test_the_graph() -> None:
    graph = adjacency()
    assert graph.shape == (3, 22, 22)
    assert int((graph > 0).sum()) == 64, "22 self, 21 inwards, 21 outwards"
    assert [int((part > 0).sum()) for part in graph] == [22, 21, 21]
    whole = graph.sum(0)
    torch.testing.assert_close(whole.sum(0), torch.ones(22))
    for joint, weight in ((0, 0.25), (11, 0.2), (4, 0.5), (8, 0.5), (13, 0.5), (17, 0.5), (21, 0.5)):
        column = whole[:, joint]
        torch.testing.assert_close(column[column > 0], torch.full((round(1 / weight),), weight))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            assert graph[1, parent, joint] > 0, "a parent is nearer the centre, and gives to its child in part 1"
            assert graph[2, joint, parent] > 0


def test_a_joint_takes_the_mean_over_itself_and_its_neighbours() -> None:
    block = build(widths=[1], strides=[1]).blocks[0]
    torch.nn.init.constant_(block.spatial.weight, 1 / 3)
    torch.nn.init.zeros_(block.spatial.bias)
    values = torch.randn(2, 3, 5, 22, generator=generator())
    mixed = block.mix(values)[:, 0]
    for joint in range(22):
        near = [joint, *(k for k in range(22) if PARENTS[k] == joint), *[p for p in [PARENTS[joint]] if p >= 0]]
        torch.testing.assert_close(mixed[..., joint], values[..., near].mean((1, 3)))


def test_the_defaults_are_those_of_unimts() -> None:
    encoder = STGCN()
    assert (encoder.width, len(encoder.blocks)) == (512, 10)
    assert [block.temporal.out_channels for block in encoder.blocks] == [64] * 4 + [128] * 3 + [256] * 2 + [512]
    assert [block.temporal.stride[0] for block in encoder.blocks] == [1, 1, 1, 1, 2, 1, 1, 2, 1, 1]
    assert {tuple(block.temporal.kernel_size) for block in encoder.blocks} == {(9, 1)}
    assert all(torch.equal(block.importance, torch.ones(3, 22, 22)) for block in encoder.blocks)
    assert encoder.blocks[0].shortcut is None
    assert encoder.norm.num_features == 66
    process = motion.build_processing(**encoder.processing_defaults())
    assert (process.rate, process.samples, process.short) == (20, 200, "wrap")
    assert len(joint_channels(True)) == 132
    output = encoder.eval()(**batch(200, 1))
    assert output.tokens.shape == (1, 50, 512)


@pytest.mark.parametrize("gyro", [False, True])
def test_every_joint_and_row_is_seen(gyro: bool) -> None:
    encoder, given = build(gyro=gyro), batch(rows=132 if gyro else 66)
    plain = encoder(**given).pooled
    for row in range(0, given["values"].shape[1], 7):
        moved = given["values"].clone()
        moved[:, row] += 3
        assert (encoder(moved, given["mask"]).pooled - plain).abs().max() > 1e-4
    swapped = given["values"].unflatten(1, (22, -1))[:, [0, 5, *range(2, 5), 1, *range(6, 22)]].flatten(1, 2)
    assert (encoder(swapped, given["mask"]).pooled - plain).abs().max() > 1e-4, "joints are not interchangeable"


@pytest.mark.parametrize("length", [40, 33, 21])
def test_padding_changes_nothing(length: int) -> None:
    encoder, given = build(widths=[8, 8, 16], strides=[1, 2, 2]), batch()
    given["mask"][1, length:] = False
    given["values"][1, :, length:] = 0
    together = encoder(**given)
    alone = encoder(given["values"][1:2, :, :length], given["mask"][1:2, :length])
    torch.testing.assert_close(together.pooled[1], alone.pooled[0], rtol=1e-4, atol=1e-5)
    count = alone.tokens.shape[1]
    assert together.mask[1].tolist() == [True] * count + [False] * (together.tokens.shape[1] - count)


def test_options_build_the_same_again_and_are_checked() -> None:
    encoder = build(gyro=True, importance=False, kernel=5, dropout=0.1)
    twin = motion.build_encoder("stgcn", **json.loads(json.dumps(encoder.options()))).eval()
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(twin(**batch(rows=132)).pooled, encoder(**batch(rows=132)).pooled)
    assert not [name for name in encoder.state_dict() if "importance" in name]
    for options, says in (
        ({"kernel": 4}, "kernel is odd"),
        ({"strides": [1]}, "not 2 and 1"),
        ({"widths": [8, 0]}, "widths is above 0"),
        ({"dropout": 1}, "dropout is from 0"),
    ):
        with pytest.raises(RecipeError, match=says):
            build(**options)
    encoder = build()
    with pytest.raises(ModelError, match=r"takes \(B, 66, T\)"):
        encoder(**batch(rows=6))


def test_half_precision_autocast_and_other_devices() -> None:
    encoder, given = build(), batch()
    exact = encoder(**given).pooled
    with torch.autocast("cpu", dtype=torch.bfloat16):
        auto = encoder(**given).pooled
    half = build().bfloat16()(**given).pooled
    assert half.dtype == torch.bfloat16
    for other in (auto, half):
        assert torch.cosine_similarity(other.float(), exact).min() > 0.99
    on_meta = build().to("meta")(**{key: value.to("meta") for key, value in given.items()})
    assert on_meta.pooled.device.type == on_meta.mask.device.type == "meta"


@pytest.mark.parametrize(
    ("placement", "place", "joints"),
    [
        ("body", "wrist", ["right_wrist"]),
        ("body", "Left Wrist", ["left_wrist"]),
        ("body", "left_trouser-pocket", ["left_hip"]),
        ("body", "right waist", ["pelvis"]),
        ("body", "left_knee", ["left_knee"]),
        ("pamap2", "hand", ["right_wrist"]),
        ("pamap2", "ankle", ["right_ankle"]),
        ("motionsense", "", ["right_hip", "left_hip"]),
        ("shoaib", "belt", ["pelvis"]),
        ({"phone": ("chest",)}, "phone", ["chest"]),
    ],
)
def test_places(placement: Any, place: str, joints: list[str]) -> None:
    assert list(joints_of(place, placement)) == joints


def test_the_public_tables_are_those_of_unimts() -> None:
    numbers = {name: [[JOINTS.index(j) for j in joints] for joints in table.values()] for name, table in PUBLIC.items()}
    assert numbers["pamap2"] == [[21], [11], [7]]
    assert numbers["mhealth"] == [[11], [3], [21]]
    assert numbers["dsads"] == [[11], [21], [17], [6], [2]]
    assert numbers["opportunity"] == [[10], [19], [20], [15], [16]]
    assert numbers["shoaib"] == [[1], [5], [21], [20], [0]]
    assert [numbers[n][0] for n in ("uci_har", "usc_had", "wisdm", "motionsense")] == [[9], [5], [21], [5, 1]]
    assert {joint for joints in BODY.values() for joint in joints} <= set(JOINTS)


def test_a_device_stands_on_its_joint_and_all_others_are_zero() -> None:
    signal = Signal(torch.randn(6, 240, generator=generator()) + 5, 20.0, STANDARD, {"location": "chest"})
    process = motion.build_processing(**build(gyro=True).processing_defaults())
    for fitted in (process, process.fit([signal])):
        values = fitted(signal)["values"].unflatten(0, (22, 6))
        assert values[11].abs().min(1).values.max() > 0
        others = torch.cat([values[:11], values[12:]])
        assert torch.equal(others, torch.zeros_like(others))
    two = Signal(torch.randn(2, 240), 20.0, ("left_wrist/acc_x", "head/acc_z"))
    placed = process(two)["values"]
    assert set(placed.abs().sum(1).nonzero().flatten().tolist()) == {17 * 6, 13 * 6 + 2}
    assert place_on_joints(signal, {"chest": ("left_hip", "right_hip")}).data.shape[0] == 12


def test_what_placement_refuses() -> None:
    process = motion.build_processing(placement="body", channels=joint_channels(False))
    nowhere = Signal(torch.randn(3, 40), 50.0, STANDARD[:3])
    with pytest.raises(ReadError, match=r"a device without a place is on no joint.*set motion.location"):
        process(nowhere)
    with pytest.raises(ReadError, match=r"'wrst' is on no joint.*did you mean 'wrist'"):
        process(Signal(nowhere.data, 50.0, STANDARD[:3], {"location": "wrst"}))
    both = Signal(torch.randn(2, 40), 50.0, ("hand/acc_x", "wrist/acc_x"))
    with pytest.raises(ReadError, match="two devices are on the joint right_wrist"):
        process(both)
    with pytest.raises(RecipeError, match="no placement 'pamap': did you mean 'pamap2'"):
        motion.build_processing(placement="pamap")
    with pytest.raises(RecipeError, match="no joint 'knee'"):
        motion.build_processing(placement={"phone": ["knee"]})


def test_every_joint_is_turned_by_its_own_rotation() -> None:
    signal = Signal(torch.randn(132, 50, generator=generator()), 20.0, joint_channels(True))
    turned = FullRotation().apply(signal, generator(1)).data.unflatten(0, (22, 2, 3)).double()
    given = signal.data.unflatten(0, (22, 2, 3)).double()
    torch.testing.assert_close(turned.norm(dim=2), given.norm(dim=2), rtol=1e-5, atol=1e-5)
    matrices = torch.linalg.lstsq(given.transpose(2, 3), turned.transpose(2, 3)).solution.transpose(2, 3)
    torch.testing.assert_close(matrices[:, 0], matrices[:, 1], rtol=0, atol=1e-4)
    eye = torch.eye(3, dtype=torch.float64).expand(22, 3, 3)
    torch.testing.assert_close(matrices[:, 0] @ matrices[:, 0].mT, eye, rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.linalg.det(matrices[:, 0]), torch.ones(22, dtype=torch.float64), rtol=0, atol=1e-4)
    assert torch.pdist(matrices[:, 0].flatten(1)).min() > 0.1, "each its own"


def test_few_joints_are_kept() -> None:
    signal = Signal(torch.randn(66, 30, generator=generator()), 20.0, joint_channels(False))
    kept = []
    for seed in range(300):
        data = KeepLocations().apply(signal, generator(seed)).data.unflatten(0, (22, 3))
        here = ~torch.isnan(data).any(2).any(1)
        assert torch.equal(here, ~torch.isnan(data).all(2).all(1)), "whole devices"
        kept.append(here)
    counts = torch.stack(kept).sum(1)
    assert set(counts.tolist()) == {1, 2, 3, 4, 5}
    assert torch.bincount(counts)[1:].min() > 35, "uniform"
    assert torch.stack(kept).sum(0).min() > 15, "any joint"
    few = Signal(signal.data[:6], 20.0, signal.channels[:6])
    assert not torch.isnan(KeepLocations(least=5).apply(few, generator()).data).any()
    with pytest.raises(RecipeError, match="at most most"):
        motion.build_augmentations([{"name": "keep_locations", "least": 4, "most": 2}])


@pytest.mark.parametrize(
    ("name", "location"),
    [("motionsense", motionsense.FIELDS["motion.location"]), *(("pamap2", place) for place in pamap2.WORN.values()),
     ("wisdm", wisdm.LOCATIONS["watch"]), ("uci_har", uci_har.FIELDS["motion.location"])],
)  # fmt: skip
def test_places_as_prepared_manifests_call_them(name: str, location: str) -> None:
    assert joints_of(location, name)
    assert joints_of(location, "body")
