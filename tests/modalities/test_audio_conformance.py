"""Audio keeps the contract of a modality, with every encoder and format; its templates and descriptions are usable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from modalign.modalities import get_modality, list_modalities
from modalign.modalities.testing import Sample, check_modality
from tests.imports import loaded_by
from tests.modalities.test_audio_encoders import SMALL

CLASSES = (
    "dog", "rain", "sea waves", "crying baby", "clock tick", "sneezing", "helicopter", "chainsaw", "rooster",
    "crackling fire", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
)  # fmt: skip


def write(folder: Path, seconds: float, suffix: str = "wav", rate: int = 16_000) -> Path:
    rng = np.random.default_rng(round(seconds * 100))
    t = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * t * (1 + 0.1 * t)) + 0.05 * rng.normal(size=len(t))
    path = folder / f"{seconds}.{suffix}"
    soundfile.write(path, wave.astype(np.float32), rate)
    return path


@pytest.mark.parametrize("name", SMALL)
def test_every_encoder_conforms(name: str, tmp_path: Path) -> None:
    samples = [Sample(write(tmp_path, seconds)) for seconds in (0.3, 1.01)]
    check_modality("audio", samples, tmp_path, {name: SMALL[name]})


def test_the_cnn_conforms_with_clips_of_their_own_length(tmp_path: Path) -> None:
    samples = [Sample(write(tmp_path, seconds)) for seconds in (0.3, 1.01, 2.47)]
    for norm in ("batch", "layer"):
        options = {**SMALL["cnn"], "norm": norm}
        check_modality("audio", samples, tmp_path / norm, {"cnn": options}, {"shorter": "keep"})


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in ("batch", "layer"):
        (tmp_path / name).mkdir()


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_every_format_conforms(suffix: str, tmp_path: Path) -> None:
    samples = [Sample(write(tmp_path, seconds, suffix)) for seconds in (1.0, 2.0)]
    check_modality("audio", samples, tmp_path, {"cnn": SMALL["cnn"]})


def test_every_encoder_is_tested() -> None:
    assert "audio" in list_modalities()
    assert {name.split("-")[0] for name in SMALL} == set(get_modality("audio").encoders)


def test_templates_and_descriptions() -> None:
    audio = get_modality("audio")
    assert len(set(audio.templates)) == len(audio.templates) >= 5
    assert audio.templates[0] == "This is a sound of {label}."
    assert all(template.format(label="rain").count("rain") == 1 for template in audio.templates)
    assert len(audio.descriptions) == 60
    for label, sentences in audio.descriptions.items():
        assert len(sentences) >= (6 if label in CLASSES else 2), label
        assert audio.descriptions[label.title().replace(" ", "_")] == sentences
    everything = [sentence for sentences in audio.descriptions.values() for sentence in sentences]
    assert all(isinstance(sentence, str) for sentence in everything)
    assert len(everything) == len(set(everything)), "equal texts would be positives of two labels"
    with pytest.raises(KeyError):
        audio.descriptions["no such sound"]


def test_importing_audio_imports_nothing_heavy() -> None:
    loaded = loaded_by("import modalign.modalities.audio")
    assert "modalign.modalities.audio" in loaded
    assert not {"torchaudio", "transformers", "soundfile", "scipy", "peft"} & loaded


def test_summary_features_are_finite_for_silence_and_for_a_single_sample() -> None:
    audio = get_modality("audio")
    for samples in (1, 50, 8000):
        features: Any = audio.summary_features(audio.load(np.zeros(samples, np.float32), rate=8000))
        assert features.shape == (120,)
        assert np.isfinite(features).all()
