"""The benchmark of all real sets: folds put together, and the tables of few labelled rows and of probes."""

import numpy as np
import pytest

from benchmarks.few_and_probe import Learnt, entries, in_order, put_together, tables
from modalign.align.manifest import Row
from modalign.tasks.few_shot.runs import run_episodes
from modalign.tasks.probe.runs import run_probes


def fold(number: int, labels: list[str]) -> Learnt:
    """Rows of two classes told by the first of four features, in another order of labels in each fold."""
    generator = np.random.default_rng(number)
    rows, values = [], []
    for split in ("train", "val", "test"):
        for i in range(12):
            name = f"{number}{split}{i}"
            rows.append(Row(name, split, f"p{number}{split}{i // 4}", name, (("a", "b")[i % 2],), {}, {}))
            values.append([3.0 * (i % 2) - 1.5, *generator.normal(size=3)])
    X = np.array(values) / np.linalg.norm(values, axis=1, keepdims=True)
    methods = {"aligned": ["gda", "prototypes"], "hand": ["logistic"]}
    few = run_episodes({"aligned": X, "hand": X}, rows, labels, [1, 2], 3, methods=methods)
    return Learnt(few, run_probes({"tower": X, "hand": X}, rows, labels, [0.5, 1.0], ["linear"]))


def test_folds_are_put_together_whatever_their_order_of_labels():
    folds = [fold(1, ["a", "b"]), fold(2, ["b", "a", "never"])]
    together = put_together(folds, ["a", "b", "never"], auroc=False)
    for name in ("few", "probe"):
        whole = getattr(together, name)
        assert [row.id for row in whole.rows] == [row.id for f in folds for row in getattr(f, name).rows]
        assert len(whole.runs) == len(getattr(folds[0], name).runs)
    key = ("aligned", "prototypes", 2)
    each = [f.few.summaries()[key].figures for f in folds]
    np.testing.assert_allclose(together.few.summaries()[key].figures, np.mean(each, axis=0))  # folds of one size
    assert put_together(folds, ["a", "b", "never"], auroc=True).few.metric == "macro AUROC"
    columns = in_order(np.array([[1.0, 2.0], [0.5, 3.0]]), ["b", "a"], ["a", "b", "never"])
    assert columns.tolist() == [[2.0, 1.0, 0.5], [3.0, 0.5, 0.5]]


def test_the_tables_say_what_the_entries_hold():
    together = put_together([fold(1, ["a", "b"])], ["a", "b"], auroc=False)
    row = {"dataset": "set", "metric": "accuracy", "value": 0.9, "chance": 0.5, **entries(together, 3)}
    text = "\n".join(tables([row, {"dataset": "other"}]))
    best = next(r for r in row["few_shot"]["results"] if r["best_on_validation"] and r["features"] == "aligned")
    assert f"**{best['value']:.3f}** ± " in text
    probe = next(r for r in row["probe"]["results"] if (r["features"], r["fraction"]) == ("tower", 1.0))
    assert f"| set | accuracy | 100 % | 12 | **{probe['value']:.3f}**" in text
    assert probe["value"] == pytest.approx(together.probe.summaries()["tower", "linear", 1.0].value)
    assert "other" not in text
