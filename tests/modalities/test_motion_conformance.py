"""Motion keeps the contract of a modality, with every encoder; its templates and descriptions are usable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modalign.modalities import get_modality, list_modalities
from modalign.modalities.motion.fields import STANDARD
from modalign.modalities.testing import Sample, check_modality

SMALL: dict[str, dict[str, Any]] = {
    "fcn": {"layers": [8, 16, 8]},
    "resnet": {"nf": 8},
    "xresnet": {"layers": [1, 1, 1, 1], "widen": 0.125},
    "inception": {"nf": 8, "depth": 3},
    "patchtst": {"samples": 100, "d_model": 16, "d_ff": 32, "depth": 2},
    "stgcn": {"gyro": True, "widths": [8, 16], "strides": [1, 2]},
}
FIELDS = {"unit": "m/s2", "gyro_unit": "rad/s", "rate": "100", "location": "left wrist"}


def recording(seconds: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(round(seconds * 100), 6)) + np.array([0, 0, 9.81, 0, 0, 0])
    return pd.DataFrame(values, columns=list(STANDARD))


def sample(kind: str, seconds: float, folder: Path) -> Sample:
    table = recording(seconds)
    path = folder / f"{seconds}.{kind}"
    if kind == "npy":
        np.save(path, table.to_numpy())
        return Sample(path, {**FIELDS, "columns": ",".join(STANDARD)})
    if kind == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return Sample(path, FIELDS)


@pytest.mark.parametrize("name", SMALL)
def test_every_encoder_conforms(name: str, tmp_path: Path) -> None:
    samples = [sample("csv", seconds, tmp_path) for seconds in (2.0, 3.0)]
    check_modality("motion", samples, tmp_path, {name: SMALL[name]}, {"window": 2.0})


def test_the_graph_encoder_conforms_with_windows_of_any_length(tmp_path: Path) -> None:
    samples = [sample("csv", seconds, tmp_path) for seconds in (2.05, 3.0)]
    check_modality("motion", samples, tmp_path, {"stgcn": SMALL["stgcn"]}, {"window": None})


@pytest.mark.parametrize("kind", ["csv.gz", "parquet", "npy"])
def test_every_format_conforms(kind: str, tmp_path: Path) -> None:
    samples = [sample(kind, seconds, tmp_path) for seconds in (2.0, 3.0)]
    check_modality("motion", samples, tmp_path, {"fcn": SMALL["fcn"]})


def test_every_encoder_is_tested() -> None:
    assert "motion" in list_modalities()
    assert {*SMALL, "minirocket"} == set(get_modality("motion").encoders)  # its tests: test_minirocket.py


def test_templates_and_descriptions() -> None:
    motion = get_modality("motion")
    assert len(set(motion.templates)) == len(motion.templates) >= 5
    assert all(template.format(label="walking").count("walking") == 1 for template in motion.templates)
    for label in (
        "walking",
        "walking upstairs",
        "walking downstairs",
        "jogging",
        "sitting",
        "standing",
        "lying",
        "cycling",
    ):
        sentences = motion.descriptions[label]
        assert len(sentences) >= 3
        assert motion.descriptions[label.title()] == sentences
    everything = [sentence for sentences in motion.descriptions.values() for sentence in sentences]
    assert len(everything) == len(set(everything)), "equal texts would be positives of two labels"
    assert all(isinstance(sentence, str) for sentence in everything)
    with pytest.raises(KeyError):
        motion.descriptions["no such activity"]
