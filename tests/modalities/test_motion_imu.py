"""The physics of simulated sensors, to the figures of METHODS.md section 3, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modalign.errors import ReadError
from modalign.modalities.motion.skeleton.clip import Clip
from modalign.modalities.motion.skeleton.imu import (
    GRAVITY,
    SensorNoise,
    attach,
    clip_to_imu,
    second_difference,
    simulate_imu,
    smooth,
)
from modalign.modalities.motion.skeleton.rotations import about, between, euler, exp_map, log_map, random_rotation

RATE = 20.0
FRAMES = 60
TIME = np.arange(FRAMES) / RATE
STILL = np.zeros((FRAMES, 3)), np.broadcast_to(np.eye(3), (FRAMES, 3, 3))


def wobble() -> tuple[Any, Any]:
    """A sensor that moves and turns about all axes."""
    places = np.stack([np.sin(3 * TIME), 0.3 * np.cos(5 * TIME), 0.1 * TIME**2], axis=1)
    angles = np.stack([np.sin(2 * TIME), np.cos(TIME), 0.5 * TIME], axis=1)
    return places, euler("xyz", angles)


def one_joint(places: Any, turns: Any, rate: float = RATE) -> Clip:
    return Clip(("pelvis",), (-1,), rate, places[:, None], turns[:, None])


def test_a_sensor_at_rest_reads_gravity_upwards_in_its_own_frame() -> None:
    assert np.allclose(simulate_imu(*STILL, RATE), [0, 0, 9.81, 0, 0, 0], atol=1e-12)
    for seed in range(5):
        turned = np.broadcast_to(random_rotation(np.random.default_rng(seed)), (FRAMES, 3, 3))
        readings = simulate_imu(STILL[0], turned, RATE)
        assert np.allclose(np.linalg.norm(readings[:, :3], axis=1), 9.81)
        assert np.allclose(readings[:, 3:], 0, atol=1e-9)


def test_upside_down_flips_the_sign_and_free_fall_reads_nothing() -> None:
    down = np.broadcast_to(about("x", np.pi), (FRAMES, 3, 3))
    assert np.allclose(simulate_imu(STILL[0], down, RATE)[:, :3], [0, 0, -9.81], atol=1e-12)
    falling = np.stack([0 * TIME, 0 * TIME, -GRAVITY / 2 * TIME**2], axis=1)
    assert np.allclose(simulate_imu(falling, STILL[1], RATE)[:, :3], 0, atol=1e-9)


def test_the_circle() -> None:
    phase = np.pi * TIME
    circle = 0.7 * np.stack([np.cos(phase), np.sin(phase), 0 * phase], axis=1)
    inner = second_difference(circle, RATE)[1:-1]
    assert np.allclose(inner, -9.849328 * circle[1:-1], atol=1e-6)
    assert -inner[5, 0] / circle[6, 0] / np.pi**2 == pytest.approx(0.997946, abs=1e-6)


@pytest.mark.parametrize("axis", range(3))
def test_a_constant_spin_gives_a_constant_gyroscope(axis: int) -> None:
    spin = np.zeros(3)
    spin[axis] = 2.5
    readings = simulate_imu(STILL[0], exp_map(TIME[:, None] * spin), RATE)
    assert np.allclose(readings[:, 3:], spin, atol=1e-9)


def test_the_heading_of_the_world_does_not_matter_and_its_tilt_does() -> None:
    places, turns = wobble()
    readings = simulate_imu(places, turns, RATE)
    yaw, tilt = about("z", 1.1), about("x", 1.1)
    assert np.allclose(simulate_imu(places @ yaw.T, yaw @ turns, RATE), readings, atol=1e-8)
    assert not np.allclose(simulate_imu(places @ tilt.T, tilt @ turns, RATE), readings, atol=0.1)


def test_a_mounting_turns_both_sensors_and_an_offset_is_a_lever_arm() -> None:
    places, turns = wobble()
    readings = simulate_imu(places, turns, RATE)
    mounting = random_rotation(np.random.default_rng(3))
    turned = simulate_imu(*attach(places, turns, np.zeros(3), mounting), RATE)
    for part in (slice(0, 3), slice(3, 6)):
        assert np.allclose(turned[:, part], readings[:, part] @ mounting, atol=1e-8)
    rate, radius, speed = 1000.0, 0.3, 4.0
    time = np.arange(400) / rate
    spin = about("z", speed * time)
    arm = simulate_imu(*attach(np.zeros((400, 3)), spin, np.array([radius, 0, 0]), np.eye(3)), rate)
    assert np.allclose(arm[1:-1], [-(speed**2) * radius, 0, GRAVITY, 0, 0, speed], atol=1e-3), "centripetal"


def test_rotations() -> None:
    rng = np.random.default_rng(0)
    matrices = np.stack([random_rotation(rng) for _ in range(4000)])
    assert np.allclose(matrices @ matrices.swapaxes(1, 2), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(matrices), 1)
    assert np.abs(matrices.mean(0)).max() < 0.03, "uniform"
    assert np.allclose(exp_map(log_map(matrices)), matrices, atol=1e-9)
    start, end = rng.normal(size=(2, 50, 3))
    end[0] = -start[0]
    turned = np.einsum("tij,tj->ti", between(start, end), start / np.linalg.norm(start, axis=1)[:, None])
    assert np.allclose(turned, end / np.linalg.norm(end, axis=1)[:, None], atol=1e-6)
    assert np.allclose(np.linalg.det(between(start, end)), 1)


def test_noise_has_the_size_that_it_says_and_comes_from_the_generator() -> None:
    noise = SensorNoise(acc=0.2, gyro=0.05, acc_bias=0.0, gyro_bias=0.3, acc_scale=0.0)
    still = np.zeros((4000, 6))
    done = noise.apply(still, np.random.default_rng(1))
    assert np.array_equal(done, noise.apply(still, np.random.default_rng(1)))
    assert done.std(0) == pytest.approx([0.2] * 3 + [0.05] * 3, rel=0.06)
    assert np.abs(done.mean(0)[:3]).max() < 0.02
    assert np.abs(done.mean(0)[3:]).max() > 0.05, "a bias that stays"
    weighed = SensorNoise(0, 0, 0, 0, 0.1).apply(still + 10, np.random.default_rng(1))
    assert np.allclose(weighed.std(0), 0)
    assert weighed[0, :3].std() > 0.1


def test_a_clip_becomes_a_signal_at_another_rate() -> None:
    rate = 120.0
    time = np.arange(600) / rate
    places = np.stack([0.1 * np.sin(2 * np.pi * 1.5 * time), 0 * time, 0 * time], axis=1)
    clip = one_joint(places, np.broadcast_to(np.eye(3), (600, 3, 3)), rate)
    signal = clip_to_imu(clip, rate=50)
    assert signal.channels[:4] == ("pelvis/acc_x", "pelvis/acc_y", "pelvis/acc_z", "pelvis/gyro_x")
    assert tuple(signal.data.shape) == (6, 250)
    wanted = -0.1 * (2 * np.pi * 1.5) ** 2 * np.sin(2 * np.pi * 1.5 * np.arange(250) / 50)
    assert np.allclose(signal.data[0, 10:-10], wanted[10:-10], atol=0.05)
    jitter = np.random.default_rng(0).normal(size=places.shape) * 5e-4
    shaken = one_joint(places + jitter, clip.rotations[:, 0], rate)
    errors = [
        np.abs(clip_to_imu(shaken, rate=50, cutoff=cutoff).data[0, 10:-10] - wanted[10:-10]).mean()
        for cutoff in (None, 10.0)
    ]
    assert errors[1] < errors[0] / 5
    moved = clip_to_imu(clip, rate=50, mounting=about("x", np.pi), offset=(0.1, 0, 0))
    assert np.allclose(moved.data[2], -9.81, atol=1e-3)
    noisy = [
        clip_to_imu(clip, rate=50, noise=SensorNoise(), generator=np.random.default_rng(s)).data for s in (1, 1, 2)
    ]
    assert np.array_equal(noisy[0], noisy[1])
    assert not np.array_equal(noisy[0], noisy[2])


def test_what_is_refused() -> None:
    clip = one_joint(*wobble())
    with pytest.raises(ReadError, match="'knee'"):
        clip_to_imu(clip, ["knee"])
    with pytest.raises(ReadError, match="generator"):
        clip_to_imu(clip, noise=SensorNoise())
    with pytest.raises(ReadError, match="half the rate"):
        smooth(clip.positions, RATE, 10.0)
    with pytest.raises(ReadError, match="too few"):
        smooth(clip.positions[:10], RATE, 5.0)
    with pytest.raises(ReadError, match="2 frames"):
        second_difference(clip.positions[:2], RATE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mounting": np.diag([1.0, 1.0, -1.0])}, "mounting must be a rotation"),
        ({"mounting": 2 * np.eye(3)}, "mounting must be a rotation"),
        ({"mounting": np.eye(2)}, r"mounting \(3, 3\)"),
        ({"offset": (0.1, 0.0)}, r"offset is \(3,\)"),
        ({"rate": 0}, "rate is above 0 Hz"),
        ({"rate": float("nan")}, "rate is above 0 Hz"),
    ],
)
def test_what_no_sensor_can_be(options: dict[str, Any], message: str) -> None:
    clip = Clip(("a",), (-1,), 50.0, np.zeros((30, 1, 3)), np.tile(np.eye(3), (30, 1, 1, 1)))
    with pytest.raises(ReadError, match=message):
        clip_to_imu(clip, **options)
