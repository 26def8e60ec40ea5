"""The ladder of order and mixture, on real clips and on signals of known content."""

import json

import numpy as np
import pytest
import torch

from modalign import ReadError, RecipeError, Signal, build_model, get_modality, read_manifest
from modalign.cli import main
from modalign.datasets.registry import prepare
from modalign.tasks.composition import LADDER, Scorer, draw_duos, evaluate_composition
from modalign.tasks.ladder import recompute_ladder
from tests.conftest import make_recipe


@pytest.fixture(scope="module")
def clips(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fsdd")
    return prepare("fsdd", real_data / "audio_fsdd600", folder / "fsdd.csv", {"rule": "official"})


def audio_model(text_checkpoint, seconds=1.0):
    towers = {
        "text": {"options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen"},
        "audio": {"options": {"channels": [4, 8]}, "processing": {"rate": 8000, "seconds": seconds, "shorter": "pad"}},
    }
    return build_model(make_recipe(text_checkpoint, towers=towers, pairs=[["text", "audio"]])).eval()


def test_the_ladder_on_real_clips(text_checkpoint, clips, tmp_path):
    model = audio_model(text_checkpoint)
    manifest = read_manifest(clips, {name: get_modality(name) for name in ("text", "audio")})
    ladder = evaluate_composition(model, manifest, "audio", pairs=24, seconds=0.5, untrained=model)
    table = ladder.evaluation.tables[0]
    levels = {line[0]: line[1:] for line in table.rows}
    assert list(levels) == [
        "one of 10", "both of a mixture, of 45 pairs",
        "order, text score", "order, recording score", "order, group score", "order, one recording",
        "loudness, text score", "loudness, recording score", "loudness, group score",
        "loudness, one recording",
    ]  # fmt: skip
    assert levels["both of a mixture, of 45 pairs"][0] == pytest.approx(1 / 45)
    for _, twin, own, _ in levels.values():
        assert twin == own  # the same model in both columns
    assert levels["order, group score"][2] <= min(levels["order, text score"][2], levels["order, recording score"][2])
    assert levels["order, one recording"][0] == 0.5
    assert levels["order, text score"][2] <= levels["order, one recording"][2]
    assert "several windows" not in " ".join(ladder.evaluation.notes)
    ladder.save(tmp_path)
    anew = recompute_ladder(tmp_path / "predictions.parquet")
    assert {name: figure["value"] for name, figure in anew.items()} == {name: line[2] for name, line in levels.items()}
    assert {name: "{:.3f} - {:.3f}".format(*f["ci"]) for name, f in anew.items()} == {
        name: line[3] for name, line in levels.items()
    }
    again = evaluate_composition(model, manifest, "audio", pairs=24, seconds=0.5).evaluation
    assert [line[3] for line in again.tables[0].rows] == [line[3] for line in table.rows]
    assert {line[2] for line in again.tables[0].rows} != {0.0}


def test_sequences_that_do_not_fit_a_window_are_told(text_checkpoint, clips):
    model = audio_model(text_checkpoint, seconds=0.5)
    manifest = read_manifest(clips, {name: get_modality(name) for name in ("text", "audio")})
    notes = evaluate_composition(model, manifest, "audio", pairs=4, seconds=0.5).evaluation.notes
    assert "span several windows" in " ".join(notes)


def test_a_model_that_knows_order_has_all_points(monkeypatch, text_checkpoint, clips):
    """Texts and recordings are given embeddings that hold the order of the labels: every order score is 1."""
    model = audio_model(text_checkpoint)
    manifest = read_manifest(clips, {name: get_modality(name) for name in ("text", "audio")})
    labels = manifest.labels
    duos = draw_duos(model, manifest, "audio", 12, 0, None)

    def compose(self, duo, how, swap=False, ratio=0.5):
        order = duo.labels[::-1] if swap else duo.labels
        return Signal(torch.zeros(1, 8), 8000.0, ("mono",), {"order": order})

    def vector(order):
        first, second = (torch.nn.functional.one_hot(torch.tensor(labels.index(x)), len(labels)) for x in order)
        return torch.cat([first, second]).float() / 2**0.5

    monkeypatch.setattr(Scorer, "compose", compose)
    monkeypatch.setattr(Scorer, "signals", lambda self, many: torch.stack([vector(s.meta["order"]) for s in many]))
    monkeypatch.setattr(Scorer, "texts", lambda self, said: torch.stack([vector(k.split("\n")) for k in said]))
    found = LADDER["sequence"][1](Scorer(model, "audio", "text"), duos, labels)
    assert all(right.all() for right in found.right.values())


def test_synthesis(real_data, clips):
    audio = get_modality("audio")
    manifest = read_manifest(clips, {"audio": audio})
    a, b = (audio.load(row.sources["audio"]) for row in manifest.rows[:2])
    sequence, mixture = (audio.compose(a, b, how) for how in ("sequence", "mixture"))
    overlap = int(0.1 * min(a.data.shape[1], b.data.shape[1]))
    assert sequence.data.shape[1] == a.data.shape[1] + b.data.shape[1] - overlap
    assert sequence.data.abs().max().item() == pytest.approx(0.5, abs=1e-6)
    assert mixture.data.shape[1] == max(a.data.shape[1], b.data.shape[1])
    other = Signal(b.data, b.rate * 2, b.channels)
    assert audio.compose(a, other, "mixture").rate == b.rate * 2
    motion = get_modality("motion")
    said = {"columns": "acc_x,acc_y,acc_z", "unit": "g", "rate": 50}
    c, d = (motion.load(np.random.default_rng(k).normal((0, 0, 1), 0.1, (60, 3)), **said) for k in (0, 1))
    joined = motion.compose(c, d, "sequence")
    assert joined.data.shape == (3, 120)
    assert joined.channels == c.channels
    with pytest.raises(ReadError, match="does not go on with"):
        motion.compose(c, motion.load(np.ones((60, 3)), **{**said, "rate": 100}), "sequence")


def test_a_modality_without_compositions_is_refused(text_checkpoint, manifest):
    model = build_model(make_recipe(text_checkpoint))
    with pytest.raises(RecipeError, match="tone cannot be composed"):
        evaluate_composition(model, manifest, "tone")


def test_on_the_command_line(text_checkpoint, clips, tmp_path, monkeypatch, capsys):
    audio_model(text_checkpoint).save_pretrained(tmp_path / "model")
    words = ["compose", str(tmp_path / "model"), str(clips), "--modality", "audio", "--pairs", "6"]
    monkeypatch.setattr("sys.argv", ["modalign", *words, "--seconds", "0.5", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert "The ladder" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["metric"] == "order, text score"
    assert (tmp_path / "out" / "predictions.parquet").is_file()
