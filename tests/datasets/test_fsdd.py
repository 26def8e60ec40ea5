"""The spoken digits: the official rule, by speaker, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from modalign.align.manifest import read_manifest
from modalign.datasets.fsdd import prepare_fsdd
from modalign.errors import ManifestError, ReadError, RecipeError
from modalign.modalities import get_modality

TOWERS = {"audio": get_modality("audio"), "text": get_modality("text")}
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def tree(root: Path, takes: int = 50) -> Path:
    (root / "recordings").mkdir(parents=True)
    for speaker in SPEAKERS:
        for take in range(takes):
            (root / "recordings" / f"3_{speaker}_{take}.wav").write_bytes(b"-")
    return root


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str)


def test_the_official_rule(tmp_path: Path) -> None:
    path = prepare_fsdd(tree(tmp_path / "r"), tmp_path / "m.csv")
    rows = table(path)
    takes = {split: sorted({int(t) for t in part["take"]}) for split, part in rows.groupby("split")}
    assert takes == {"test": [0, 1, 2, 3, 4], "val": [5, 6, 7, 8], "train": list(range(9, 50))}
    assert set(rows["label"]) == {"three"}
    manifest = read_manifest(path, TOWERS)
    assert manifest.official_split, "the speakers cross it"
    (tmp_path / "m.meta.yaml").write_text((tmp_path / "m.meta.yaml").read_text().replace("official_split: true", ""))
    with pytest.raises(ManifestError, match="is in both"):
        read_manifest(path, TOWERS)


def test_a_release_as_it_is_unpacked(tmp_path: Path) -> None:
    tree(tmp_path / "r" / "free-spoken-digit-dataset-1.0.9", 6)
    assert set(table(prepare_fsdd(tmp_path / "r", tmp_path / "m.csv"))["split"]) == {"test", "val"}


def test_by_speaker(tmp_path: Path) -> None:
    root = tree(tmp_path / "r", 2)
    for speaker, test, val in (
        ("", {"theo", "yweweler"}, {"nicolas"}),
        ("george", {"george"}, {"yweweler"}),
        ("lucas, george", {"lucas", "george"}, {"yweweler"}),
    ):
        rows = table(prepare_fsdd(root, tmp_path / "m.csv", rule="speaker", speaker=speaker))
        groups = {split: set(part["group"]) for split, part in rows.groupby("split")}
        assert groups["test"] == test
        assert groups["val"] == val
        assert groups["train"] == set(SPEAKERS) - test - val
        assert not read_manifest(tmp_path / "m.csv", TOWERS).official_split


def test_the_real_subset(real_data: Path, tmp_path: Path) -> None:
    path = prepare_fsdd(real_data / "audio_fsdd600", tmp_path / "m.csv")
    rows = table(path)
    assert rows["split"].value_counts().to_dict() == {"test": 300, "train": 240, "val": 60}
    manifest = read_manifest(path, TOWERS)
    assert len(manifest.descriptions) == 10
    assert all(len(sentences) >= 6 for sentences in manifest.descriptions.values())
    assert TOWERS["audio"].load(manifest.rows[0].sources["audio"]).rate == 8000
    alone = table(prepare_fsdd(real_data / "audio_fsdd600" / "recordings", tmp_path / "n.csv"))
    assert alone["audio"][0] == "0_george_0.wav"


def test_what_is_refused(tmp_path: Path) -> None:
    root, out = tree(tmp_path / "r", 1), tmp_path / "m.csv"
    with pytest.raises(RecipeError, match="no rule 'speakers': did you mean 'speaker'"):
        prepare_fsdd(root, out, rule="speakers")
    with pytest.raises(RecipeError, match="goes with rule=speaker"):
        prepare_fsdd(root, out, speaker="theo")
    with pytest.raises(RecipeError, match="did you mean 'theo'"):
        prepare_fsdd(root, out, rule="speaker", speaker="theodor")
    with pytest.raises(RecipeError, match="leave none for train and val"):
        prepare_fsdd(root, out, rule="speaker", speaker=",".join(SPEAKERS[:5]))
    with pytest.raises(ReadError, match=r"no recordings/\*\.wav"):
        prepare_fsdd(tmp_path / "absent", out)
    (root / "recordings" / "noise.wav").write_bytes(b"-")
    with pytest.raises(ReadError, match="not named digit_speaker_take"):
        prepare_fsdd(root, out)
    assert not out.exists()


def test_it_is_registered() -> None:
    from modalign.datasets import registry

    assert set(registry._datasets["fsdd"].options) == {"rule", "speaker"}
