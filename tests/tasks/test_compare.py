"""Two models on the same rows: values, intervals, exact tests, and refusals."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modalign import ManifestError
from modalign.align.metrics import paired_permutation
from modalign.tasks.compare import compare, comparison_table, swapped_units
from modalign.tasks.figures import measure
from tests.cli.test_cli import invoke
from tests.tasks.test_figures import case


@pytest.fixture
def two():
    a = case(groups=7)
    worse = a.scores + 2 * np.random.default_rng(5).normal(size=a.scores.shape).astype(np.float32)
    return a, replace(a, scores=worse)


@pytest.mark.parametrize("several", [False, True])
def test_values_are_those_of_each_and_a_model_does_not_beat_itself(several):
    a = case(several)
    b = case(several, scores=a.scores[:, ::-1].copy())
    compared = compare(a, b, 200, 100)
    for which, p in (("a", a), ("b", b)):
        expected = {name: figure.value for name, figure in measure(p, draws=2).figures.items()}
        assert {name: getattr(c, which) for name, c in compared.items()} == pytest.approx(expected)
    for same in compare(a, a, 200, 100).values():
        assert (same.difference.value, same.difference.interval, same.test.p) == (0, (0, 0), 1)


def test_tests_are_exact_with_few_groups(two):
    a, b = two
    compared = compare(a, b)
    right = [p.scores.argmax(1) == p.indicator().argmax(1) for p in two]
    expected = paired_permutation(*right, a.groups)
    assert compared["accuracy"].test == expected
    assert all(c.test.exact and c.test.groups == 7 for c in compared.values())
    assert compared["accuracy"].difference.interval[0] > 0
    assert max(c.test.p for c in compared.values()) < 0.05


def test_rows_and_labels_may_come_in_another_order(two):
    a, b = two
    order = np.random.default_rng(0).permutation(len(b.ids))
    shuffled = replace(
        b,
        ids=[b.ids[i] for i in order],
        truth=[b.truth[i] for i in order],
        labels=b.labels[::-1],
        scores=b.scores[order][:, ::-1],
    )
    assert compare(a, shuffled) == compare(a, b)


def test_what_is_not_the_same_is_refused(two):
    a, b = two
    with pytest.raises(ManifestError, match="240 and 240, of which 239 are in both"):
        compare(a, replace(b, ids=["other", *b.ids[1:]]))
    with pytest.raises(ManifestError, match="label 'e' has scores in only one"):
        compare(a, replace(b, labels=["a", "b", "c", "d", "e"], scores=np.ones((240, 5))))
    with pytest.raises(ManifestError, match="'r0' has other labels"):
        compare(a, replace(b, truth=[("d",), *b.truth[1:]]))


def test_what_is_swapped():
    assert swapped_units(case(n=2, groups=1)) == ["p0", "p0"]
    assert swapped_units(replace(case(n=2), groups=["", ""])) == ["c0", "c0"]
    assert swapped_units(replace(case(n=2), groups=["", ""], clusters=["", ""])) == ["r0", "r1"]
    few = case(n=30, groups=3)
    table = comparison_table(compare(few, few), "one", "two", few)
    assert "With 3 groups no p can be below 0.25" in table.note


def test_the_code_of_the_page_runs(monkeypatch, capsys):
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    code = (root / "docs" / "tasks" / "evaluate.md").read_text().split("```python\n")[1].split("```")[0]
    exec(compile(code, "evaluate.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("{'value': 0.735,")
    assert second == "1.0"


def test_the_command(two, tmp_path):
    for name, p in zip("ab", two):
        (tmp_path / name).mkdir()
        p.table().to_parquet(tmp_path / name / "predictions.parquet")
    files = [tmp_path / name / "predictions.parquet" for name in "ab"]
    code, output = invoke("compare", *files, "--out", tmp_path / "x" / "c.json")
    assert code == 0, output
    assert "a and b" in output
    saved = json.loads((tmp_path / "x" / "c.json").read_text())
    assert (saved["a"], saved["b"]) == ("a", "b")
    assert saved["figures"]["accuracy"]["p"] == compare(*two)["accuracy"].test.p
    code, output = invoke("compare", files[0], tmp_path / "none.parquet")
    assert code == 2
