"""ESC-50 and ESC-10: the official folds, both layouts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from modalign.align.manifest import read_manifest
from modalign.datasets.esc50 import prepare_esc50
from modalign.errors import ReadError, RecipeError
from modalign.modalities import get_modality

TOWERS = {"audio": get_modality("audio"), "text": get_modality("text")}
CATEGORIES = {"dog": 0, "rain": 10, "vacuum_cleaner": 36, "sea_waves": 11}


def official(root: Path) -> Path:
    """The published layout: three folders deep, four classes, two clips of one source a fold."""
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    rows = []
    for fold in range(1, 6):
        for name, target in CATEGORIES.items():
            for take in "AB":
                filename = f"{fold}-{1000 * fold + target}-{take}-{target}.wav"
                (root / "audio" / filename).write_bytes(b"-")
                esc10 = name != "vacuum_cleaner"
                rows.append((filename, fold, target, name, esc10, 1000 * fold + target, take))
    columns = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "meta" / "esc50.csv", index=False)
    return root


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str)


def test_the_official_layout(tmp_path: Path) -> None:
    root = official(tmp_path / "ESC-50-master")
    rows = table(prepare_esc50(root, tmp_path / "out" / "m.csv"))
    assert len(rows) == 40
    assert rows["split"].value_counts().to_dict() == {"train": 24, "val": 8, "test": 8}
    assert set(rows[rows["split"] == "test"]["fold"]) == {"5"}
    assert set(rows[rows["split"] == "val"]["fold"]) == {"4"}
    assert sorted(set(rows["label"])) == ["dog", "rain", "sea waves", "vacuum cleaner"]
    manifest = read_manifest(tmp_path / "out" / "m.csv", TOWERS)
    assert manifest.rows[0].sources["audio"].is_file()
    assert len(manifest.descriptions["dog"]) >= 6
    assert len(manifest.descriptions["vacuum cleaner"]) >= 2
    assert not manifest.official_split, "no source recording crosses a fold"


def test_the_part_and_the_folder_above(tmp_path: Path) -> None:
    official(tmp_path / "ESC-50-master")
    rows = table(prepare_esc50(tmp_path, tmp_path / "m.csv", part="esc10"))
    assert sorted(set(rows["label"])) == ["dog", "rain", "sea waves"]
    assert rows["audio"].str.startswith("ESC-50-master/audio/").all()
    assert read_manifest(tmp_path / "m.csv", TOWERS).rows


@pytest.mark.parametrize(("fold", "val"), [("1", "5"), (2, "1"), ("5", "4")])
def test_folds(fold: str | int, val: str, tmp_path: Path) -> None:
    rows = table(prepare_esc50(official(tmp_path / "e"), tmp_path / "m.csv", fold=fold))
    assert set(rows[rows["split"] == "test"]["fold"]) == {str(fold)}
    assert set(rows[rows["split"] == "val"]["fold"]) == {val}


def test_esc10_as_it_was_published(real_data: Path, tmp_path: Path) -> None:
    path = prepare_esc50(real_data / "audio_esc10", tmp_path / "m.csv")
    rows = table(path)
    assert len(rows) == 398
    assert rows["split"].value_counts().to_dict() == {"train": 238, "val": 80, "test": 80}
    assert sorted(set(rows["label"])) == sorted(
        ["dog", "rain", "sea waves", "crying baby", "clock tick", "sneezing", "helicopter", "chainsaw", "rooster",
         "crackling fire"]
    )  # fmt: skip
    manifest = read_manifest(path, TOWERS)
    assert set(manifest.descriptions) == set(rows["label"])
    sidecar = yaml.safe_load((tmp_path / "m.meta.yaml").read_text())
    assert not Path(sidecar["root"]).is_absolute()
    row = manifest.rows[0]
    assert TOWERS["audio"].load(row.sources["audio"], **row.fields["audio"]).rate == 44_100


def test_what_is_refused(tmp_path: Path) -> None:
    root = official(tmp_path / "e")
    out = tmp_path / "m.csv"
    for options, says in (({"part": "esc5"}, "no part"), ({"fold": 6}, "fold is 1 to 5"), ({"fold": "x"}, "1 to 5")):
        with pytest.raises(RecipeError, match=says):
            prepare_esc50(root, out, **options)  # type: ignore[arg-type]
    with pytest.raises(ReadError, match=r"neither meta/esc50\.csv"):
        prepare_esc50(tmp_path / "absent", out)
    next((root / "audio").iterdir()).unlink()
    with pytest.raises(ReadError, match="1 of 40 files are not there"):
        prepare_esc50(root, out)
    meta = root / "meta" / "esc50.csv"
    meta.write_text(meta.read_text().replace("category", "class"))
    with pytest.raises(ReadError, match="no column 'category'"):
        prepare_esc50(root, out)
    ten = tmp_path / "ten"
    ten.mkdir()
    (ten / "manifest.csv").write_text("path,label,fold\n001_-_Dog_bark/1-30226-A.ogg,dog bark,2\n")
    with pytest.raises(ReadError, match="is no clip of ESC"):
        prepare_esc50(ten, out)
    with pytest.raises(ReadError, match="holds ESC-10 alone"):
        prepare_esc50(ten, out, part="esc50")
    assert not out.exists()


def test_it_is_registered() -> None:
    from modalign.datasets import registry

    dataset = registry._datasets["esc50"]
    assert set(dataset.options) == {"part", "fold"}
    assert dataset.url.startswith("https://")
