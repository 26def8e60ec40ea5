"""Cross-validation by group: folds, a whole run, resuming, and refusals."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from modalign import ManifestError, ModelError
from modalign.align.manifest import Row
from modalign.tasks import crossval
from modalign.tasks.crossval import cross_validate, group_folds, with_fold
from modalign.tasks.evaluation import recompute
from tests.cli.test_cli import invoke
from tests.conftest import make_recipe

SHORT = {"epochs": 2, "batch_size": 12, "learning_rate": 0.02, "log_every": 5}


def rows_of(groups, labels):
    return [Row(str(i), "", g, "", tuple(own), {}, {}) for i, (g, own) in enumerate(zip(groups, labels))]


def test_folds_keep_groups_whole_and_mix_labels():
    generator = np.random.default_rng(0)
    groups = [f"p{i}" for i in generator.integers(20, size=400)]
    rows = rows_of(groups, generator.choice(["a", "b"], size=(400, 1), p=[0.8, 0.2]))
    folds = group_folds(rows, 5)
    assert set(folds) == {1, 2, 3, 4, 5}
    of = {}
    assert all(of.setdefault(g, n) == n for g, n in zip(groups, folds))
    shares = [np.mean([r.labels == ("b",) for r, n in zip(rows, folds) if n == k]) for k in range(1, 6)]
    assert max(shares) - min(shares) < 0.2
    assert folds == group_folds(rows, 5)
    several = rows_of(groups, [["a", "b"]] * 400)
    assert set(group_folds(several, 20)) == set(range(1, 21))


@pytest.mark.parametrize(("folds", "message"), [(2, "give 3 or more"), (5, "there are only 4 groups; give 4 at most")])
def test_too_few(folds, message):
    with pytest.raises(ManifestError, match=message):
        group_folds(rows_of("aabbccdd", ["x", "y"] * 4), folds)


def test_a_fold_is_test_the_one_before_it_val(manifest):
    numbers = [int(row.group[1:]) % 3 + 1 for row in manifest.rows]
    fold = with_fold(manifest, numbers, 1, 3)
    assert [row.split for row in fold.rows] == [{1: "test", 2: "train", 3: "val"}[n] for n in numbers]
    assert manifest.rows[0].split == "train"  # as it was


def test_every_row_is_tested_once_by_a_model_that_never_saw_its_group(text_checkpoint, manifest, tmp_path, monkeypatch):
    recipe = make_recipe(text_checkpoint, training=SHORT)
    manifest.table["half"] = ["one"] * 18 + ["two"] * 18
    tested, run_fold = [], crossval._run_fold

    def stopped(recipe, fold, *rest):
        if len(tested) == 2:
            raise KeyboardInterrupt
        trained = {r.group for r in fold.rows if r.split != "test"}
        tested.append({r.group for r in fold.rows if r.split == "test"})
        assert not trained & tested[-1]
        run_fold(recipe, fold, *rest)

    monkeypatch.setattr(crossval, "_run_fold", stopped)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(recipe, manifest, tmp_path / "cv", "tone", 3, by=["half"])
    with pytest.raises(ModelError, match="pass --resume"):
        cross_validate(recipe, manifest, tmp_path / "cv", "tone", 3)
    with pytest.raises(ModelError, match="begun with another folds"):
        cross_validate(recipe, manifest, tmp_path / "cv", "tone", 4, resume=True)
    first = (tmp_path / "cv" / "fold-1" / "metrics.json").stat().st_mtime_ns
    tested.pop(0)  # leaves room for the last fold alone
    evaluation = cross_validate(recipe, manifest, tmp_path / "cv", "tone", 3, by=["half"], resume=True)
    assert (tmp_path / "cv" / "fold-1" / "metrics.json").stat().st_mtime_ns == first
    assert sorted(row.id for row in evaluation.rows) == sorted(row.id for row in manifest.rows)
    assert [r.name for r in evaluation.results] == ["chance", "untrained", "linear", "modalign"]
    assert evaluation.protocol == "seen classes, unseen people; 3 folds by group, scores out of fold"
    parts = [pd.read_parquet(tmp_path / "cv" / f"fold-{k}" / "predictions.parquet") for k in (1, 2, 3)]
    right = [(part[["high", "low", "middle"]].idxmax(axis=1) == part["label"]) for part in parts]
    assert evaluation.main.value == pytest.approx(pd.concat(right).mean())
    found = {table.title: table for table in evaluation.tables}
    assert list(found)[:2] == ["Folds", "Groups"]
    assert [row[3] for row in found["Folds"].rows[:3]] == pytest.approx([r.mean() for r in right])
    *groups, mean = found["Groups"].rows
    assert [row[0] for row in groups] == [f"group {k}" for k in range(1, 7)]  # whose tones they are is not said
    assert mean[2] == pytest.approx(np.mean([row[2] for row in groups]))
    assert "Student's t with 6 groups" in found["Groups"].note
    assert "only 6 groups" in evaluation.main.note
    assert "By half" in found
    evaluation.save(tmp_path / "cv")
    saved = json.loads((tmp_path / "cv" / "metrics.json").read_text())
    assert recompute(tmp_path / "cv" / "predictions.parquet") == saved["methods"]["modalign"]
    assert not list((tmp_path / "cv").glob("fold-*/run/checkpoints"))
    assert not (tmp_path / "cv" / "cache").exists()


def test_a_fold_of_one_label_is_refused_before_training(text_checkpoint, manifest, tmp_path):
    rows = [replace(r, labels=("low" if r.group == "p0" else "high",)) for r in manifest.rows]
    with pytest.raises(ManifestError, match=r"have only the label 'high'.*give fewer folds"):
        cross_validate(make_recipe(text_checkpoint), replace(manifest, rows=rows), tmp_path / "cv", "tone", 6)
    assert not (tmp_path / "cv").exists()


def test_the_command(text_checkpoint, manifest_file, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(make_recipe(text_checkpoint, training=SHORT).model_dump(mode="json")))
    arguments = ["crossval", path, "--data", manifest_file, "--out", tmp_path / "cv", "--folds", 3]
    code, output = invoke(*arguments, "--set", "training.epochs=1", "--by", "group")
    assert code == 0, output
    assert "3 folds by group" in " ".join(output.split())
    assert (tmp_path / "cv" / "report.html").is_file()
    code, output = invoke(*arguments, "--modality", "tonne")
    assert code == 2
    assert "did you mean 'tone'" in output
