"""Explanations find a planted cue, hang on the weights, and leave the model as it was; `modalign explain`."""

import sys

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F
from typer.testing import CliRunner

from modalign import RecipeError, build_model
from modalign.align.config import TowerConfig
from modalign.align.model import Tower
from modalign.errors import MissingExtraError
from modalign.modalities.base import Signal
from modalign.tasks.explain import (
    METHODS,
    Explainer,
    class_target,
    deletion_insertion,
    draw,
    explain,
    explain_fused,
    explain_pair,
    mean_fusion,
    split,
)
from modalign.tasks.explain.explanation import cells_of
from tests.conftest import make_recipe

RATE, SAMPLES, LEADS, LONG = 100.0, 400, ("I", "II", "V1"), 40
CLASSES = torch.eye(2, 8)
TOWERS = {
    "vit1d-tiny": {"channels": 3, "patch": 20, "tokens": 20, "width": 32, "depth": 2, "heads": 2},
    "more_vit": {"channels": 3, "stem": 16, "tokens": 76, "width": 32, "depth": 2, "heads": 2, "drop_key": 0.0},
    "cnn": {"channels": 3, "stages": [16, 24], "dropout": 0.0},
}
SUITED = [
    (encoder, method)
    for encoder in TOWERS
    for method in ("attention", "gradients", "occlusion")
    if (encoder, method) != ("cnn", "attention")
]


def recording(generator, burst, samples=SAMPLES):
    """Noise in three leads, and a burst of 15 Hz somewhere in lead II where it is asked for: (signal, its start)."""
    data = 0.3 * torch.randn(3, samples, generator=generator)
    start = int(torch.randint(20, samples - LONG - 20, (), generator=generator))
    if burst:
        t = torch.arange(LONG) / RATE
        data[1, start : start + LONG] += torch.sin(2 * torch.pi * 15 * t) * torch.hann_window(LONG) * 2.5
    return Signal(data, RATE, LEADS), start


@pytest.fixture(scope="session")
def trained_on_bursts():
    """Encoder name -> a tower that tells recordings with a burst from those without; seconds each."""
    towers = {}
    for name, options in TOWERS.items():
        torch.manual_seed(6)
        processing = {"rate": RATE, "seconds": SAMPLES / RATE, "leads": LEADS, "normalise": "none"}
        tower = Tower("ecg", TowerConfig(encoder=name, options=options, processing=processing), 8)
        optimizer = torch.optim.AdamW(tower.parameters(), 2e-3)
        generator = torch.Generator().manual_seed(1)
        tower.train()
        for _ in range(150):
            truth = torch.arange(32) % 2
            signals = [recording(generator, bool(one))[0] for one in truth]
            inputs = tower.processing.collate([tower.processing(signal) for signal in signals])
            loss = F.cross_entropy(3 * tower(inputs) @ CLASSES.T, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.item() < 0.2, f"{name} has not learnt the bursts: {loss.item():.2f}"
        optimizer.zero_grad()
        towers[name] = tower.eval()
    return towers


def burst_target(kind="score"):
    return class_target(kind, CLASSES, ["none", "burst"], "burst")


@pytest.mark.parametrize(("encoder", "method"), SUITED)
def test_relevance_lies_on_a_planted_burst_and_is_faithful(trained_on_bursts, encoder, method):
    tower, generator = trained_on_bursts[encoder], torch.Generator().manual_seed(77)
    inside, leads, areas = [], [], []
    for _ in range(4):
        signal, start = recording(generator, True)
        found = explain(tower, signal, burst_target(), method)
        assert found.relevance.shape == signal.data.shape
        for_it = found.relevance.clamp_min(0)
        near = for_it[:, max(start - 20, 0) : start + LONG + 20]  # a token more on either side
        inside.append(float(near.sum() / for_it.sum()))
        leads.append(int(near.sum(1).argmax()))
        areas.append(deletion_insertion(found, steps=12, draws=3).areas)
    assert np.mean(inside) > 0.5, f"{np.mean(inside):.2f} of the relevance lies on a fifth of the recording"
    assert leads == [1, 1, 1, 1]
    mean = {key: np.mean([one[key] for one in areas]) for key in areas[0]}
    assert mean["deletion"] < mean["random_deletion"] - 0.05
    assert mean["insertion"] > mean["random_insertion"] + 0.05


@pytest.mark.parametrize(("encoder", "method"), SUITED)
def test_relevance_hangs_on_the_weights(trained_on_bursts, encoder, method):
    tower = trained_on_bursts[encoder]
    signal, _ = recording(torch.Generator().manual_seed(5), True)
    torch.manual_seed(99)
    other = Tower("ecg", tower.config, 8).eval()
    first, again = (explain(tower, signal, burst_target(), method).relevance for _ in range(2))
    assert torch.equal(first, again)
    random = explain(other, signal, burst_target(), method).relevance
    assert abs(spearmanr(first.flatten(), random.flatten())[0]) < 0.6


def test_the_part_that_speaks_for_one_class_speaks_against_the_other(trained_on_bursts):
    signal, start = recording(torch.Generator().manual_seed(8), True)
    against = class_target("margin", CLASSES, ["none", "burst"], "none")
    found = explain(trained_on_bursts["cnn"], signal, against, "gradients")
    assert float(found.relevance[:, start : start + LONG].sum()) < 0
    assert "margin of 'none'" in found.target


def test_a_long_recording_is_put_together_from_its_windows(trained_on_bursts):
    tower = trained_on_bursts["vit1d-tiny"]
    signal, _ = recording(torch.Generator().manual_seed(3), False, 1500)
    t = torch.arange(LONG) / RATE
    signal.data[1, 1430 : 1430 + LONG] += torch.sin(2 * torch.pi * 15 * t) * torch.hann_window(LONG) * 2.5
    for method in ("auto", "occlusion", "attention"):
        found = explain(tower, signal, burst_target(), method)
        assert len(found.parts) == 4
        assert found.relevance.shape == (3, 1500)
        assert float(found.relevance.sum()) == pytest.approx(found.total, rel=1e-3)
        if method == "attention":  # slopes do not compare windows, so that "auto" does not take it here
            continue
        assert found.method == ("gradients" if method == "auto" else method)
        assert 1390 < int(found.relevance.sum(0).unfold(0, 40, 1).sum(1).argmax()) + 20 < 1490


def test_each_window_is_explained_with_the_others_as_they_are(trained_on_bursts):
    signal, _ = recording(torch.Generator().manual_seed(6), True, 800)
    found = explain(trained_on_bursts["cnn"], signal, burst_target(), "gradients")
    assert len(found.parts) == 2
    first, second = found.parts
    for window, mains in ((first, [first.blank, second.main]), (second, [first.main, second.blank])):
        assert float(window.relevance.sum()) == pytest.approx(found.value - found.rescore(mains), rel=0.06, abs=0.02)


def test_gradients_that_would_tell_nothing_are_refused():
    torch.manual_seed(0)
    options = {"channels": 3, "stages": [8, 8], "norm_kind": "group"}
    processing = {"rate": RATE, "seconds": 4, "leads": LEADS, "normalise": "none"}
    tower = Tower("ecg", TowerConfig(encoder="cnn", options=options, processing=processing), 8).eval()
    signal, _ = recording(torch.Generator().manual_seed(2), True)
    assert explain(tower, signal, burst_target()).method == "occlusion"
    with pytest.raises(RecipeError, match="by degrees"):
        explain(tower, signal, burst_target(), "gradients")


def test_integrated_gradients_sum_to_what_the_score_gained(trained_on_bursts):
    signal, _ = recording(torch.Generator().manual_seed(2), True)
    found = explain(trained_on_bursts["cnn"], signal, burst_target(), "gradients")
    nothing = found.rescore([part.blank for part in found.parts])
    assert found.total == pytest.approx(found.value - nothing, rel=0.06)
    assert found.rescore([part.main for part in found.parts]) == pytest.approx(found.value, abs=1e-6)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_model_is_as_it_was(trained_on_bursts, method):
    tower = trained_on_bursts["vit1d-tiny"]
    tower.train()
    tower.encoder.transformer.blocks[0].eval()  # a mode that the user chose
    modes = [part.training for part in tower.modules()]
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    state = torch.get_rng_state()
    signal, _ = recording(torch.Generator().manual_seed(2), True)
    data = signal.data.clone()
    explain(tower, signal, burst_target(), method)
    assert [part.training for part in tower.modules()] == modes
    assert all(parameter.grad is None for parameter in tower.parameters())
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(signal.data, data)
    tower.eval()


def test_cells_cover_the_input_once(trained_on_bursts):
    found = explain(trained_on_bursts["cnn"], recording(torch.Generator().manual_seed(2), True)[0], burst_target())
    part = found.parts[0]
    seen = torch.zeros_like(part.main)
    for box, _ in cells_of(part):
        seen[box] += 1
    assert (seen == 1).all()
    assert sum(value for _, value in cells_of(part)) == pytest.approx(found.total, rel=1e-4)


@pytest.fixture
def tones(text_checkpoint):
    torch.manual_seed(1)
    return build_model(make_recipe(text_checkpoint)).eval()


def tone(low=True, samples=80):
    return Signal(torch.sin(torch.arange(samples) / (9 if low else 2))[None].float(), 100.0, ("tone",))


def test_explainer_takes_prompts_and_the_nearest_label(tones):
    explainer = Explainer(tones, "tone", ["low", "high"])
    found = explainer.explain(tone())
    assert f"'{explainer.classifier.predict([tone()])[0]}'" in found.target
    assert found.value == pytest.approx(explainer.classifier.decision_function([tone()]).max(), abs=1e-6)
    assert found.method == "gradients"  # no attention: the first that suits
    with pytest.raises(RecipeError, match=r"--label 'hihg'.*did you mean 'high'"):
        explainer.explain(tone(), "hihg")
    with pytest.raises(RecipeError, match="needs self-attention"):
        Explainer(tones, "tone", ["low", "high"], method="attention").explain(tone())
    with pytest.raises(RecipeError, match="did you mean 'occlusion'"):
        Explainer(tones, "tone", ["low", "high"], method="oclusion").explain(tone())
    with pytest.raises(RecipeError, match="two labels or more"):
        Explainer(tones, "tone", ["low"], target="margin").explain(tone())


def test_captum_is_asked_for_only_where_it_is_used(tones, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    explainer = Explainer(tones, "tone", ["low", "high"])
    with pytest.raises(MissingExtraError, match=r"modalign\[explain\]"):
        explainer.explain(tone())
    words = tones.tower("text").modality.load("a low tone")
    target = class_target("score", explainer.classifier.class_embeddings, ["low", "high"], "low")
    assert explain(tones.tower("text"), words, target).method == "attention"


@pytest.mark.parametrize("method", ["auto", "gradients", "occlusion"])
def test_both_sides_of_a_pair(tones, method):
    words = "a low tone is heard"
    sound, text = explain_pair(tones, ("tone", tone()), ("text", words), method)
    assert sound.value == pytest.approx(text.value, abs=1e-5)
    assert sound.relevance.shape == (1, 80)
    assert text.relevance.shape == (len(words),)
    assert text.method == ("attention" if method == "auto" else method)
    assert bool(text.relevance.any())
    assert sound.target == f"cosine with '{words}'"
    assert text.target == "cosine with the tone"
    letters = text.relevance.tolist()
    assert letters[2] == letters[3] == letters[4]  # one token
    assert letters[1] == 0  # a space


def test_a_fused_score_is_split_over_its_modalities(tones):
    classes = F.normalize(torch.randn(3, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    sources = {"tone": tone(), "text": "a low tone"}
    found = explain_fused(tones, sources, mean_fusion(classes, 1, 2), "mean of two")
    parts = [tones.embed(name, [source])[0] for name, source in sources.items()]
    mean = F.normalize(sum(parts), dim=0)
    assert found["tone"].share + found["text"].share == pytest.approx(float(mean @ classes[1]), abs=1e-5)
    assert found["tone"].value == pytest.approx(float(mean @ classes[1]), abs=1e-5)
    assert found["tone"].relevance.shape == (1, 80)
    head = torch.nn.Linear(32, 4)
    linear = explain_fused(tones, sources, lambda joined: head(joined)[:, 2], "linear head")
    total = head(torch.cat(parts))[2] - head.bias[2]
    assert linear["tone"].share + linear["text"].share == pytest.approx(total.item(), abs=1e-5)
    assert linear["text"].share == pytest.approx((head.weight[2, 16:] @ parts[1]).item(), abs=1e-5)
    assert head.weight.grad is None


def test_relevance_splits_at_the_borders_of_embeddings():
    assert [part.shape[-1] for part in split(torch.zeros(3, 256), [128, 128])] == [128, 128]
    with pytest.raises(ValueError, match="does not split into"):
        split(torch.zeros(256), [128, 64])


def test_relevance_is_written_and_drawn(tones, tmp_path):
    sound, text = explain_pair(tones, ("tone", tone()), ("text", "a low tone"))
    with np.load(sound.save(tmp_path / "out" / "a.npz"), allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["relevance"], sound.relevance.numpy())
        assert saved["rate"] == 100.0
        assert saved["channels"].tolist() == ["tone"]
        assert str(saved["target"]) == sound.target
    lines = sound.save(tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "tone"
    assert len(lines) == 81
    assert text.save(tmp_path / "b.csv").read_text().splitlines()[0] == "relevance"
    with pytest.raises(RecipeError, match=r"\.npz, \.csv"):
        sound.save(tmp_path / "a.txt")
    pytest.importorskip("matplotlib")
    with pytest.raises(RecipeError, match=r"\.png, \.svg, \.pdf"):
        draw([sound], tmp_path / "a.bmpx")
    assert draw([sound, text], tmp_path / "pictures" / "a.png").stat().st_size > 5000


def test_command(tones, tmp_path, manifest):
    from modalign.cli.app import app

    pytest.importorskip("matplotlib")
    tones.save_pretrained(tmp_path / "model")
    file = str(next(row.sources["tone"] for row in manifest.rows))
    model, out = str(tmp_path / "model"), tmp_path / "why.png"

    def run(*words):
        return CliRunner().invoke(app, ["explain", model, *words, "--out", str(out)])

    result = run(file, "--modality", "tone", "--label", "low", "--labels", "low;high", "--target", "margin",
                 "--check", "--data", str(tmp_path / "why.npz"))  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "margin of 'low'" in result.output
    assert "random order" in result.output
    assert out.stat().st_size > 5000
    assert (tmp_path / "why.npz").is_file()
    both = run(file, "--modality", "tone", "--text", "a low tone", "--method", "occlusion")
    assert both.exit_code == 0, both.output
    assert "text: cosine with the tone" in both.output
    for words, said in (
        (["--text", "a", "--label", "low"], "not both"),
        (["--label", "low", "--labels", "high;middle"], "add it there"),
        ([], "nothing to explain"),
        (["--label", "low", "--method", "attention"], "needs self-attention"),
        (["--text", "a", "--target", "margin"], "are of labels"),
        (["--label", "low", "--data", str(tmp_path / "why.txt")], ".npz, .csv"),
    ):
        refused = run(file, "--modality", "tone", *words)
        assert isinstance(refused.exception, RecipeError)
        assert said in str(refused.exception)
