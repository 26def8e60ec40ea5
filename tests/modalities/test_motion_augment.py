"""Augmentations of motion: what each keeps, what it breaks, and that only the generator decides."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from modalign.errors import RecipeError
from modalign.modalities import get_modality
from modalign.modalities.base import Signal, augment
from modalign.modalities.motion.augment import (
    ChannelMask,
    FullRotation,
    Jitter,
    LocationMask,
    Scaling,
    SmallRotation,
    TimeShift,
    YawRotation,
    axis_rotation,
    groups,
    uniform_rotation,
)
from modalign.modalities.motion.fields import STANDARD

motion = get_modality("motion")
TWO = tuple(f"{place}/{name}" for place in ("ankle", "wrist") for name in STANDARD)
ROTATIONS = [YawRotation, FullRotation, SmallRotation]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walking(channels: tuple[str, ...] = STANDARD, length: int = 120) -> Signal:
    data = torch.randn(len(channels), length, generator=generator(99))
    data[2] += 9.81
    return Signal(data, 50.0, channels, {"location": "wrist"})


def solve(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """The matrix (3, 3) that takes one (3, T) to the other."""
    solution: torch.Tensor = torch.linalg.lstsq(before.double().T, after.double().T).solution.T
    return solution


@pytest.mark.parametrize("cls", ROTATIONS)
@pytest.mark.parametrize("seed", range(5))
def test_rotations_keep_norms_and_turn_both_sensors_alike(cls: Any, seed: int) -> None:
    given = walking()
    done = cls().apply(given, generator(seed))
    assert not torch.equal(done.data, given.data)
    for rows in (slice(0, 3), slice(3, 6)):
        torch.testing.assert_close(done.data[rows].norm(dim=0), given.data[rows].norm(dim=0), rtol=1e-5, atol=1e-5)
    acc, gyro = (solve(given.data[r], done.data[r]) for r in (slice(0, 3), slice(3, 6)))
    torch.testing.assert_close(acc, gyro, atol=1e-5, rtol=0)
    torch.testing.assert_close(acc @ acc.T, torch.eye(3, dtype=torch.float64), atol=1e-5, rtol=0)
    assert torch.det(acc) == pytest.approx(1.0, abs=1e-5)
    assert (done.rate, done.channels, done.meta) == (given.rate, given.channels, given.meta)


@pytest.mark.parametrize("seed", range(5))
def test_yaw_keeps_gravity_and_full_does_not(seed: int) -> None:
    given = walking()
    gravity = given.data[:3].mean(1)
    torch.testing.assert_close(YawRotation().apply(given, generator(seed)).data[:3].mean(1), gravity, atol=1e-4, rtol=0)
    turned = FullRotation().apply(given, generator(seed)).data[:3].mean(1)
    assert (turned - gravity).norm() > 0.5
    assert "gravity" in FullRotation.breaks
    assert not YawRotation.breaks | SmallRotation.breaks


def test_small_rotation_stays_small() -> None:
    angles = []
    for seed in range(50):
        given = walking()
        matrix = solve(given.data[:3], SmallRotation(max_degrees=10).apply(given, generator(seed)).data[:3])
        angles.append(math.degrees(math.acos(min(1.0, (float(matrix.trace()) - 1) / 2))))
    assert max(angles) <= 10.01
    assert max(angles) > 5


def test_uniform_rotations_are_uniform() -> None:
    draw = generator()
    matrices = torch.stack([uniform_rotation(draw) for _ in range(4000)])
    assert matrices.mean(0).abs().max() < 0.05
    torch.testing.assert_close((matrices**2).mean(0), torch.full((3, 3), 1 / 3, dtype=torch.float64), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(4000, dtype=torch.float64))


def test_axis_rotation_turns_the_right_way() -> None:
    turned = (
        axis_rotation(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(math.pi / 2)) @ torch.tensor([1.0, 0, 0]).double()
    )
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("shared", [False, True])
def test_devices_turn_apart_or_together(shared: bool) -> None:
    given = walking(TWO)
    done = FullRotation(shared=shared).apply(given, generator())
    ankle, wrist = solve(given.data[:3], done.data[:3]), solve(given.data[6:9], done.data[6:9])
    torch.testing.assert_close(wrist, solve(given.data[9:], done.data[9:]), atol=1e-5, rtol=0)
    assert torch.allclose(ankle, wrist, atol=1e-4) is shared


def test_rotation_leaves_what_it_cannot_turn() -> None:
    lacking = walking(("acc_x", "acc_y", "acc_z", "gyro_x"))
    assert torch.equal(FullRotation().apply(lacking, generator()).data, lacking.data)
    gyro = Signal(torch.randn(3, 20), 50.0, STANDARD[3:])
    assert torch.equal(YawRotation().apply(gyro, generator()).data, gyro.data)
    assert not torch.equal(FullRotation().apply(gyro, generator()).data, gyro.data)
    falling = Signal(torch.zeros(6, 20), 50.0, STANDARD)
    assert YawRotation().apply(falling, generator()).data.isfinite().all()
    masked = walking()
    masked.data[:3] = float("nan")
    assert torch.equal(YawRotation().apply(masked, generator()).data[3:], masked.data[3:])


def test_a_turned_device_turns_whatever_the_order_of_its_channels() -> None:
    given = walking()
    order = [5, 2, 0, 4, 1, 3]
    shuffled = Signal(given.data[order], 50.0, tuple(STANDARD[i] for i in order))
    done = FullRotation().apply(given, generator(3)).data
    assert torch.equal(FullRotation().apply(shuffled, generator(3)).data, done[order])


def test_scaling_has_one_factor_for_each_sensor() -> None:
    given = walking(TWO)
    factors = Scaling(amplitude=0.3).apply(given, generator()).data / given.data
    per_sensor = factors.reshape(4, -1)
    torch.testing.assert_close(per_sensor, per_sensor[:, :1].expand_as(per_sensor), rtol=1e-5, atol=0)
    assert len(set(per_sensor[:, 0].tolist())) == 4
    assert ((per_sensor > 0.699) & (per_sensor < 1.301)).all()
    assert Scaling.breaks == {"amplitude"}


def test_jitter_has_its_own_size_for_each_sensor() -> None:
    given = walking(length=20_000)
    noise = Jitter(acc=0.5, gyro=0.1).apply(given, generator()).data - given.data
    torch.testing.assert_close(noise.std(1), torch.tensor([0.5] * 3 + [0.1] * 3), rtol=0.03, atol=0)


def test_time_shift_holds_the_edge_and_does_not_roll() -> None:
    given = Signal(torch.arange(100.0).expand(6, 100).clone(), 50.0, STANDARD)
    shifts = set()
    for seed in range(60):
        row = TimeShift(max_seconds=0.1).apply(given, generator(seed)).data[0]
        shift = 50 - int(row[50])
        shifts.add(shift)
        assert row.tolist() == [min(max(i - shift, 0), 99) for i in range(100)]
    assert shifts == set(range(-5, 6))
    assert TimeShift(max_seconds=9).apply(Signal(torch.ones(6, 1), 50.0, STANDARD), generator()).data.shape == (6, 1)
    assert TimeShift.breaks == {"timing"}


@pytest.mark.parametrize(
    ("augmentation", "units"),
    [
        (ChannelMask(probability=0.5), "group"),
        (ChannelMask(by="channel", probability=0.5), "channel"),
        (LocationMask(probability=0.5), "location"),
    ],
)
def test_masks_drop_whole_units_and_never_all(augmentation: Any, units: Any) -> None:
    given = walking(TWO)
    counts = []
    for seed in range(60):
        done = augmentation.apply(given, generator(seed)).data
        gone = done.isnan().all(1)
        assert torch.equal(done.isnan().any(1), gone)
        assert torch.equal(done[~gone], given.data[~gone])
        assert all(len(set(gone[rows].tolist())) == 1 for rows in groups(TWO, units))
        counts.append(int(gone.sum()))
    assert max(counts) < len(TWO)
    assert len(set(counts)) > 1


@pytest.mark.parametrize("augmentation", [ChannelMask(probability=1), LocationMask(probability=1)])
@pytest.mark.parametrize("channels", [STANDARD, TWO, ("acc_x",)])
def test_even_a_certain_mask_leaves_one(augmentation: Any, channels: tuple[str, ...]) -> None:
    kept = set()
    for seed in range(20):
        done = augmentation.apply(walking_or_one(channels), generator(seed)).data
        there = (~done.isnan().all(1)).nonzero().flatten().tolist()
        assert there
        kept.add(tuple(there))
    assert channels != TWO or len(kept) > 1


def walking_or_one(channels: tuple[str, ...]) -> Signal:
    return walking(channels) if len(channels) > 3 else Signal(torch.ones(1, 20), 50.0, channels)


def test_masks_after_masks_leave_one() -> None:
    both = [ChannelMask(probability=0.7), LocationMask(probability=0.7), ChannelMask(by="channel", probability=0.7)]
    for seed in range(200):
        assert not augment(walking(TWO), both, generator(seed)).data.isnan().all()


@pytest.mark.parametrize("name", sorted(motion.augmentations))
def test_only_the_generator_decides(name: str) -> None:
    augmentation = motion.build_augmentations([{"name": name}])[0]
    given = walking(TWO)
    torch.manual_seed(1)
    first = augmentation.apply(given, generator(5)).data
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    again = augmentation.apply(given, generator(5)).data
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was used"
    assert torch.equal(first.nan_to_num(), again.nan_to_num())
    others = [augmentation.apply(given, generator(seed)).data.nan_to_num() for seed in range(20)]
    assert any(not torch.equal(first.nan_to_num(), other) for other in others)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"name": "rotation"}, "no augmentation 'rotation'.*_rotation"),
        ({"name": "scaling", "amplitude": 2}, "amplitude"),
        ({"name": "jitter", "accel": 1}, "accel is not a key"),
        ({"name": "small_rotation", "max_degrees": -1}, "max_degrees"),
        ({"name": "channel_mask", "probability": 1.5}, "probability"),
    ],
)
def test_options_are_checked(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        motion.build_augmentations([spec])
