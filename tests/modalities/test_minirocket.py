"""MiniRocket: tsai's features to the bit, biases from training windows alone, saving, batches, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modalign.errors import ModelError, RecipeError
from modalign.modalities import get_modality
from modalign.modalities.layers.minirocket import KERNELS, MiniRocket, dilations_for
from modalign.modalities.testing import Sample, check_modality
from tests.modalities.ecg_files import ecg, write_wfdb
from tests.modalities.test_motion_conformance import sample


def windows(count: int = 20, channels: int = 3, samples: int = 60, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, channels, samples, generator=torch.Generator().manual_seed(seed)).cumsum(-1)


def build(channels: int = 3, samples: int = 60, features: int = 84 * 12, seed: int = 0) -> MiniRocket:
    torch.manual_seed(seed)
    return MiniRocket(channels, samples=samples, features=features).eval()


def fitted(values: torch.Tensor, seed: int = 2, **options: Any) -> MiniRocket:
    encoder = build(values.shape[1], values.shape[2], **options)
    encoder.fit(({"values": v} for v in values), torch.Generator().manual_seed(seed))
    return encoder


def encode(encoder: MiniRocket, values: torch.Tensor) -> torch.Tensor:
    return encoder(values, torch.ones(len(values), values.shape[2], dtype=torch.bool)).pooled


@pytest.mark.parametrize(
    ("channels", "samples", "features"), [(1, 9, 84), (1, 40, 840), (3, 60, 1008), (12, 250, 9996)]
)
def test_features_are_tsais(channels: int, samples: int, features: int) -> None:
    from tsai.models.MINIROCKET_Pytorch import MiniRocketFeatures

    values = windows(8, channels, samples)
    encoder = fitted(values, features=features)
    theirs = MiniRocketFeatures(channels, samples, features).double()
    assert list(theirs.dilations) == encoder.dilations
    assert list(theirs.num_features_per_dilation) == encoder.counts
    biases = encoder.biases.double().split([KERNELS * n for n in encoder.counts])
    for i, own in enumerate(biases):
        setattr(theirs, f"biases_{i}", own.view(KERNELS, -1))
        if channels > 1:
            setattr(theirs, f"channel_combinations_{i}", encoder.mix[i].T.double()[None, :, :, None])
    theirs.prefit = torch.tensor([True])
    found = encode(encoder, values)
    torch.testing.assert_close(found, theirs(values.double()), rtol=0, atol=1e-6)
    assert found.shape == (8, encoder.width)
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.std(0).mean() > 0.01


def test_biases_are_quantiles_of_responses_of_the_windows_it_was_given() -> None:
    only = windows(1)
    encoder = fitted(only)
    shares = (np.arange(1, encoder.width + 1) * (np.sqrt(5) + 1) / 2) % 1
    at, expected = 0, []
    for dilation, count, mix in zip(encoder.dilations, encoder.counts, encoder.mix.numpy()):
        padded = np.pad(only[0].double().numpy(), ((0, 0), (4 * dilation, 4 * dilation)))
        for kernel in range(KERNELS):
            one = padded[mix[kernel]].sum(0)
            taps = encoder.kernels[kernel].double().numpy()
            response = sum(taps[j] * one[j * dilation : j * dilation + only.shape[2]] for j in range(9))
            expected.append(np.quantile(response, shares[at : at + count]))
            at += count
    np.testing.assert_allclose(encoder.biases.numpy(), np.concatenate(expected), rtol=1e-5, atol=1e-5)


def test_fitting_is_a_function_of_windows_and_seed() -> None:
    values = windows(50)
    assert torch.equal(fitted(values).biases, fitted(values).biases)
    assert not torch.equal(fitted(values).biases, fitted(values, seed=3).biases)
    assert not torch.equal(fitted(values).biases, fitted(values + 1e-2 * windows(50, seed=5)).biases)
    assert not torch.equal(fitted(values).biases, build().biases)


def test_more_windows_than_slots_are_sampled() -> None:
    encoder = build(1, 9, 84)
    encoder.fit(({"values": torch.full((1, 9), float(n))} for n in range(3000)), torch.Generator().manual_seed(0))
    assert encoder.biases.abs().max() > 1000  # windows from all over the stream


def test_an_item_has_the_same_bits_whatever_the_batch() -> None:
    values = torch.cat([windows(), torch.full((1, 3, 60), 0.1), torch.zeros(1, 3, 60)])
    encoder = fitted(windows())
    together = encode(encoder, values)
    for i in range(len(values)):
        assert torch.equal(encode(encoder, values[i : i + 1])[0], together[i])
    # A constant has the response 0 exactly, whatever its size: with the ends' zeros unseen, a bias decides alone.
    inner = [i for i in range(KERNELS) if i % 2]
    first = encoder.biases[: KERNELS * encoder.counts[0]].view(KERNELS, -1)[inner].flatten()
    at = (KERNELS // 2) * encoder.counts[0]
    assert torch.equal(together[20, at : 2 * at], (first < 0).float())


def test_options_and_weights_build_the_same_again() -> None:
    encoder = fitted(windows())
    twin = build(seed=9, **json.loads(json.dumps(encoder.options())))
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(encode(twin, windows()), encode(encoder, windows()))
    assert not list(encoder.parameters())
    assert set(encoder.state_dict()) == {"mix", "biases"}


def test_half_precision_and_one_feature_a_kernel() -> None:
    encoder = fitted(windows(), features=1)
    assert encoder.width == KERNELS
    plain = encode(encoder, windows())
    assert (encode(encoder.half(), windows()) - plain).abs().mean() < 0.02


def test_dilations_reach_over_the_window() -> None:
    dilations, counts = dilations_for(1000, 119)
    assert dilations[0] == 1
    assert 100 < dilations[-1] <= 999 // 8
    assert sum(counts) == 119


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 8}, "samples is 9 or more, not 8"),
        ({"samples": 60, "features": 0}, "features is above 0"),
        ({"samples": 60, "channels": 0}, "channels is above 0"),
    ],
)
def test_bad_options(options: dict[str, int], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        get_modality("motion").build_encoder("minirocket", **options)


def test_bad_inputs() -> None:
    encoder = build()
    with pytest.raises(ModelError, match="takes windows of 60 samples, not 61"):
        encode(encoder, windows(samples=61))
    with pytest.raises(ModelError, match=r"takes \(B, 3, T\)"):
        encode(encoder, windows(channels=2))
    with pytest.raises(ModelError, match="no padded batch"):
        encoder(windows(2), torch.arange(60).expand(2, 60) < 50)
    with pytest.raises(ModelError, match="no training window"):
        encoder.fit([], torch.Generator())


def test_it_conforms(tmp_path: Path) -> None:
    samples = [Sample(write_wfdb(tmp_path, f"s{n}", ecg(n))) for n in (10, 12)]
    small = {"minirocket": {"features": 840}}
    check_modality("ecg", samples, tmp_path, small, {"seconds": 10.0})
    (tmp_path / "motion").mkdir()
    moved = [sample("csv", seconds, tmp_path / "motion") for seconds in (2.0, 3.0)]
    check_modality("motion", moved, tmp_path / "motion", small, {"window": 2.0})
