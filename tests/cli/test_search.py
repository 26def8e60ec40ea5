"""retrieve, index, search and duplicates on the command line."""

import json

import pandas as pd
import pytest

from modalign import AlignmentModel, build_model
from modalign.cli import main
from modalign.tasks.index import Index
from modalign.tasks.retrieval import combine
from tests.conftest import make_recipe


@pytest.fixture
def saved(text_checkpoint, tmp_path):
    build_model(make_recipe(text_checkpoint)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def run(monkeypatch, capsys):
    def runner(*words):
        monkeypatch.setattr("sys.argv", ["modalign", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return stopped.value.code, said.out, said.err

    return runner


def test_index_and_search(run, saved, manifest_file, tmp_path):
    pytest.importorskip("faiss")
    index = tmp_path / "tones"
    code, said, _ = run("index", saved, manifest_file, "--modality", "tone", "--out", index)
    assert code == 0
    assert "36 items (flat)" in said
    code, said, _ = run("search", saved, index, "--text", "a low tone", "--top", 4, "--json")
    hits = [json.loads(line) for line in said.splitlines()]
    assert [h["score"] for h in hits] == sorted((h["score"] for h in hits), reverse=True)
    assert len(hits) == 4
    table = pd.read_csv(manifest_file, dtype=str, keep_default_na=False)
    file = manifest_file.parent / table.loc[7, "tone"]
    code, said, _ = run("search", saved, index, "--file", file, "--modality", "tone", "--where", "split=train")
    assert table.loc[7, "id"] in said
    code, _, error = run("search", saved, index)
    assert code == 2
    assert "nothing to look for" in error
    code, _, error = run("search", saved, index, "--file", file)
    assert (code, "needs --modality" in error) == (2, True)
    code, _, error = run("search", saved, index, "--text", "x", "--where", "split")
    assert (code, "write it as key=value, for example split=test" in error) == (2, True)
    code, _, error = run("search", saved, index, "--text", "x", "--where", "split=nothing")
    assert (code, "no item of the index has split=nothing" in error) == (2, True)
    code, _, error = run("search", saved, index, "--text", "x", "--minus", "x")
    assert (code, "cancel out" in error) == (2, True)


def test_queries_of_weighted_parts(run, saved, manifest_file, tmp_path):
    """Text and files added up and taken away by weight give what `combine` gives."""
    pytest.importorskip("faiss")
    index = tmp_path / "tones"
    run("index", saved, manifest_file, "--modality", "tone", "--out", index)
    files = [manifest_file.parent / name for name in pd.read_csv(manifest_file)["tone"][:2]]
    query = ["--text", "low", "--file", f"tone:{files[0]}", "--minus", "high", "--minus-file", f"tone:{files[1]}"]
    weights = ["--weight", 1, "--weight", 2, "--weight", 0.5, "--weight", 0.25]
    code, said, _ = run("search", saved, index, *query, *weights, "--field", "tone.rate=50", "--json")
    assert code == 0
    model = AlignmentModel.from_pretrained(saved).eval()
    parts = [("text", "low", 1), ("tone", files[0], 2), ("text", "high", -0.5), ("tone", files[1], -0.25)]
    expected = Index.load(index, model).search(combine(model, parts, tone={"rate": 50}))[0]
    hits = [json.loads(line) for line in said.splitlines()]
    assert [h["id"] for h in hits] == expected["id"].tolist()
    assert [h["score"] for h in hits] == pytest.approx(expected["score"].tolist(), abs=1e-5)
    for wrong, complaint in (
        (weights[:2], "1 --weight for 4 parts"),
        (["--field", "ecg.rate=50"], "no file of the query is read by 'ecg'"),
        (["--field", "rate=50"], "no file of the query is read by ''"),
    ):
        code, _, error = run("search", saved, index, *query, *wrong)
        assert code == 2
        assert complaint in " ".join(error.split())


def test_retrieve_writes_its_files(run, saved, manifest_file, tmp_path):
    out = tmp_path / "out"
    code, said, _ = run(
        "retrieve", saved, manifest_file, "--from", "text", "--to", "tone", "--split", "all", "--out", out
    )
    assert code == 0
    assert "median rank" in said
    assert {p.name for p in out.iterdir()} == {
        "metrics.json", "report.html", "text_to_tone_ranks.parquet", "tone_to_text_ranks.parquet",
    }  # fmt: skip
    assert "Retrieval of tone by text" in (out / "report.html").read_text()


def test_duplicates(run, saved, manifest_file, tmp_path):
    code, said, _ = run("duplicates", saved, manifest_file, "--modality", "tone", "--out", tmp_path / "pairs.csv")
    assert code == 0
    assert "cross splits" in said
    assert "cosine" in pd.read_csv(tmp_path / "pairs.csv").columns
